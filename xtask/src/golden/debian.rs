//! The golden archive that customers' guests are made from: Debian 13 with systemd and Docker, built by `mmdebstrap` from Debian's own
//! packages, with our controller in slot A and no secret. The same packages and the same controller give the same bytes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{
    archive,
    entry::{CONFIG, Entry, folder, sample_app, slot, sort, text},
};
use crate::run;

const SUITE: &str = "trixie";
/// What is installed beside Debian's own minimum.
const PACKAGES: [&str; 16] = [
    "ca-certificates",
    "containerd",
    "dbus",
    "dhcpcd-base",
    "docker-cli",
    "docker-compose",
    "docker.io",
    "ifupdown",
    "iproute2",
    "iptables",
    "openssh-server",
    "procps",
    "runc",
    "systemd",
    "systemd-sysv",
    "tzdata",
];
/// Nobody reads manuals in a guest; the licences stay.
const LEFT_OUT: [&str; 6] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
];

/// What goes in.
pub(crate) struct Contents<'a> {
    /// The controller, linked statically.
    pub(crate) controller: &'a Path,
    /// The demo's app, linked statically, if it is for a demo.
    pub(crate) sample_app: Option<&'a Path>,
    /// The mirror, if not Debian's own.
    pub(crate) mirror: Option<&'a str>,
}

/// What came out.
pub(crate) struct Built {
    /// SHA-256 of the archive, 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// All packages with their versions.
    pub(crate) packages: PathBuf,
}

/// Builds it at `path`; the list of packages goes beside it.
pub(crate) fn build(contents: &Contents<'_>, path: &Path) -> Result<Built> {
    let folder = path.parent().context("an archive has a folder")?;
    let work = tempfile::Builder::new().prefix("golden-").tempdir_in(folder)?;
    let overlay = work.path().join("overlay.tar");
    fs::write(&overlay, archive::plain(&entries(contents))?)?;
    let finish = work.path().join("finish.sh");
    fs::write(&finish, include_str!("../../golden/guest/finish.sh"))?;
    let packages = path.with_file_name("packages.txt");
    let system = work.path().join("system.tar");
    run::check(&mut mmdebstrap(contents, (&overlay, &finish, &packages), &system))?;
    let config = text(CONFIG, 0o644, include_str!("../../golden/guest/pct.conf"));
    let (sha256, bytes) = archive::compose(path, &config, &mut File::open(&system)?)?;
    Ok(Built { sha256, bytes, packages })
}

fn mmdebstrap(
    contents: &Contents<'_>,
    (overlay, finish, packages): (&Path, &Path, &Path),
    system: &Path,
) -> Command {
    let mut command = Command::new("mmdebstrap");
    command.env("SOURCE_DATE_EPOCH", archive::TIME.to_string());
    command.args(["--variant=minbase", "--format=tar", "--quiet"]);
    command.arg(format!("--include={}", PACKAGES.join(",")));
    command.arg("--aptopt=Acquire::Languages \"none\"");
    for line in LEFT_OUT {
        command.arg(format!("--dpkgopt={line}"));
    }
    let hook = |words: &str| format!("--customize-hook={words}");
    command.arg(hook(&format!("tar-in {} /", overlay.display())));
    command.arg(hook(&format!("sh {} \"$1\"", finish.display())));
    let list = "chroot \"$1\" dpkg-query -W -f '${Package}\\t${Version}\\t${Architecture}\\n' >";
    command.arg(hook(&format!("{list} {}", packages.display())));
    command.arg(SUITE).arg(system).args(contents.mirror);
    command
}

/// What of ours goes over Debian's files.
fn entries(contents: &Contents<'_>) -> Vec<Entry> {
    let unit = |name: &str| format!("etc/systemd/system/{name}");
    let mut entries = vec![
        folder("etc/docker", 0o755),
        folder("etc/felhom", 0o755),
        folder("etc/systemd/journald.conf.d", 0o755),
        text("etc/docker/daemon.json", 0o644, include_str!("../../golden/guest/docker.json")),
        text("etc/felhom/controller.toml", 0o644, include_str!("../../golden/guest/controller.toml")),
        text(
            "etc/systemd/journald.conf.d/felhom.conf",
            0o644,
            include_str!("../../golden/guest/journald.conf"),
        ),
        text(
            &unit("felhom-controller.service"),
            0o644,
            include_str!("../../golden/guest/felhom-controller.service"),
        ),
        text(
            &unit("felhom-first-boot.service"),
            0o644,
            include_str!("../../golden/guest/felhom-first-boot.service"),
        ),
    ];
    entries.extend(slot(contents.controller));
    entries.extend(contents.sample_app.into_iter().flat_map(sample_app));
    sort(&mut entries);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_asks_for_nothing_that_a_restore_must_refuse() {
        let config = include_str!("../../golden/guest/pct.conf");
        for key in ["hookscript", "dev0", "entrypoint", "env", "lxc.", "mp0", "net1"] {
            assert!(!config.lines().any(|line| line.starts_with(key)), "{key}");
        }
        assert!(config.contains("unprivileged: 1\n") && config.contains("features: nesting=1,keyctl=1\n"));
        assert!(!config.contains("hwaddr"), "each guest gets a fresh one");
    }

    #[test]
    fn our_files_stand_in_folders_that_debian_has_or_we_make() {
        let program = Path::new("/p");
        let entries = entries(&Contents { controller: program, sample_app: Some(program), mirror: None });
        let debians = ["etc", "etc/systemd", "etc/systemd/system", "opt", "usr/bin", "var/lib", "var/log"];
        for (n, entry) in entries.iter().enumerate() {
            let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let ours = entries[..n].iter().any(|before| before.path == parent);
            assert!(ours || debians.contains(&parent), "{}", entry.path);
        }
        assert!(entries.iter().any(|entry| entry.path == "opt/felhom/apps/sample/bin/sample-app"));
    }

    #[test]
    fn the_packages_are_sorted_and_named_once() {
        assert!(PACKAGES.is_sorted_by(|a, b| a < b));
    }
}
