//! The golden archive for guests that are processes: controller, app and a shell.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::entry::{CONFIG, Content, Entry, file, folder, sample_app, slot, sort, text};

const FOLDERS: [(&str, u32); 18] = [
    ("", 0o755),
    ("bin", 0o755),
    ("etc", 0o755),
    ("etc/felhom", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// All entries: the configuration, then the tree sorted by path, folders before what is in them.
pub(crate) fn entries(controller: &Path, app: &Path, shell: &Path) -> Vec<Entry> {
    let mut tree = vec![
        text("etc/hostname", 0o644, "golden\n"),
        text("etc/os-release", 0o644, "ID=debian\nPRETTY_NAME=\"Felhom's demo guest (processes)\"\n"),
        text("sbin/init", 0o755, include_str!("../../golden/init.sh")),
        file("bin/sh", 0o755, shell),
        text("bin/cat", 0o755, include_str!("../../golden/cat.sh")),
    ];
    tree.extend(slot(controller));
    tree.extend(sample_app(app));
    tree.extend(FOLDERS.iter().map(|(path, mode)| folder(path, *mode)));
    sort(&mut tree);
    tree.insert(0, text(CONFIG, 0o644, include_str!("../../golden/pct.conf")));
    tree
}

/// Files that make an archive as large as a real system's: half of each compresses well, half not at all.
pub(crate) fn ballast(mib: usize) -> Vec<Entry> {
    const HALF: usize = 512 << 10;
    let mut entries = Vec::new();
    if mib > 0 {
        entries.extend([folder("usr/share", 0o755), folder("usr/share/ballast", 0o755)]);
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
