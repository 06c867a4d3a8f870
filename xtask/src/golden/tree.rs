//! What is in the golden archive: names, modes, contents.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// One entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path from the guest's root, without a leading slash; empty for the root itself.
    pub(crate) path: String,
    /// Permission bits.
    pub(crate) mode: u32,
    /// What it is.
    pub(crate) content: Content,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A folder.
    Folder,
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A file with that file's bytes.
    File(PathBuf),
    /// A symbolic link to that path.
    Link(String),
}

const FOLDERS: [(&str, u32); 27] = [
    ("", 0o755),
    ("bin", 0o755),
    ("etc", 0o755),
    ("etc/felhom", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("opt/felhom", 0o755),
    ("opt/felhom/apps", 0o755),
    ("opt/felhom/apps/sample", 0o755),
    ("opt/felhom/apps/sample/bin", 0o755),
    ("opt/felhom/slots", 0o755),
    ("opt/felhom/slots/A", 0o755),
    ("opt/felhom/slots/B", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/lib/felhom", 0o755),
    ("var/log", 0o755),
    ("var/log/felhom", 0o755),
    ("var/tmp", 0o1777),
];

/// The configuration that vzdump puts first.
pub(crate) const CONFIG: &str = "etc/vzdump/pct.conf";

/// All entries: the configuration, then the tree sorted by path, folders before what is in them.
pub(crate) fn entries(controller: &Path, app: &Path, shell: &Path) -> Vec<Entry> {
    let entry = |path: &str, mode, content| Entry { path: path.to_owned(), mode, content };
    let text = |path, mode, text: &str| entry(path, mode, Content::Bytes(text.as_bytes().to_vec()));
    let link = |path, to: &str| entry(path, 0o777, Content::Link(to.to_owned()));
    let mut tree = vec![
        text("etc/hostname", 0o644, "golden\n"),
        text("etc/os-release", 0o644, "ID=debian\nPRETTY_NAME=\"Felhom's demo guest (processes)\"\n"),
        text("sbin/init", 0o755, include_str!("../../golden/init.sh")),
        entry("bin/sh", 0o755, Content::File(shell.to_owned())),
        text("bin/cat", 0o755, include_str!("../../golden/cat.sh")),
        text("opt/felhom/apps/sample/compose.yaml", 0o644, include_str!("../../golden/compose.yaml")),
        text("opt/felhom/apps/sample/felhom.yaml", 0o644, include_str!("../../golden/felhom.yaml")),
        entry("opt/felhom/apps/sample/bin/sample-app", 0o755, Content::File(app.to_owned())),
        entry("opt/felhom/slots/A/felhom-controller", 0o755, Content::File(controller.to_owned())),
        link("opt/felhom/current", "slots/A"),
        link("usr/bin/felhom-controller", "../../opt/felhom/current/felhom-controller"),
    ];
    tree.extend(FOLDERS.iter().map(|(path, mode)| entry(path, *mode, Content::Folder)));
    tree.sort_by(|a, b| a.path.cmp(&b.path));
    tree.insert(0, text(CONFIG, 0o644, include_str!("../../golden/pct.conf")));
    tree
}

/// Files that make an archive as large as a real system's: half of each compresses well, half not at all.
pub(crate) fn ballast(mib: usize) -> Vec<Entry> {
    const HALF: usize = 512 << 10;
    let folder = |path: &str| Entry { path: path.to_owned(), mode: 0o755, content: Content::Folder };
    let mut entries = Vec::new();
    if mib > 0 {
        entries.extend([folder("usr/share"), folder("usr/share/ballast")]);
    }
    for n in 0..mib {
        let mut bytes = vec![u8::try_from(n % 251).unwrap_or_default(); HALF];
        let mut block = Sha256::digest(n.to_le_bytes());
        while bytes.len() < 2 * HALF {
            bytes.extend_from_slice(&block);
            block = Sha256::digest(block);
        }
        let path = format!("usr/share/ballast/{n:04}");
        entries.push(Entry { path, mode: 0o644, content: Content::Bytes(bytes) });
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_folder_comes_before_what_is_in_it_and_nothing_twice() {
        let entries = entries(Path::new("c"), Path::new("a"), Path::new("s"));
        assert_eq!(entries[0].path, CONFIG);
        let mut seen = BTreeSet::new();
        for entry in &entries[1..] {
            if let Some((parent, _)) = entry.path.rsplit_once('/') {
                assert!(seen.contains(parent), "{} before {parent}", entry.path);
            }
            assert!(seen.insert(entry.path.clone()), "{} twice", entry.path);
        }
    }

    #[test]
    fn the_archive_asks_for_nothing_that_a_restore_must_refuse() {
        let config = include_str!("../../golden/pct.conf");
        for key in ["hookscript", "dev0", "entrypoint", "env", "lxc.", "mp0", "net1"] {
            assert!(!config.lines().any(|line| line.starts_with(key)), "{key}");
        }
        assert!(config.contains("unprivileged: 1\n") && config.contains("features: nesting=1,keyctl=1\n"));
        assert!(!config.contains("hwaddr"), "each guest gets a fresh one");
    }
}
