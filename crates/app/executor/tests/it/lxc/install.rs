//! `install` and `uninstall` with the host's own tools, into a directory that stands for a host.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::install::{lines, programs, run};

struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    /// As Debian is before anything of ours: users, and the tools' own directories.
    fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        programs(&host.dir.path().join("from"), "1");
        for (name, text) in [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
            ("etc/group", "root:x:0:\n"),
            ("etc/shadow", "root:*:20000:0:99999:7:::\n"),
            ("etc/gshadow", "root:*::\n"),
            ("etc/hostname", "box-1.home.example\n"),
            ("etc/login.defs", "USERGROUPS_ENAB yes\n"),
        ] {
            let path = host.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let (from, root) = (self.dir.path().join("from"), self.path(""));
        let mut all = arguments.to_vec();
        all.extend(["--root", root.to_str().unwrap(), "--json"]);
        if arguments[0] == "install" {
            all.extend(["--from", from.to_str().unwrap()]);
        }
        let output = run(&all);
        assert!(output.status.success(), "{output:?}");
        output
    }

    fn install(&self) -> Output {
        self.run(&[
            "install",
            "--guest-storage",
            "tank",
            "--backup-storage",
            "local",
            "--address",
            "192.168.1.10",
        ])
    }

    /// Every path with its mode, owner and content.
    fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        walk(&self.path(""), &mut all);
        all
    }
}

fn walk(dir: &Path, all: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let found = entry.path().symlink_metadata().unwrap();
        let content = match (found.is_dir(), found.is_symlink()) {
            (true, _) => String::new(),
            (_, true) => fs::read_link(entry.path()).unwrap().display().to_string(),
            _ => fs::read_to_string(entry.path()).unwrap_or_default(),
        };
        all.insert(entry.path(), format!("{:o} {}:{} {content}", found.mode(), found.uid(), found.gid()));
        if found.is_dir() {
            walk(&entry.path(), all);
        }
    }
}

fn outcomes(output: &Output, wanted: &str) -> Vec<String> {
    lines(output).into_iter().filter(|(outcome, _)| outcome == wanted).map(|(_, what)| what).collect()
}

#[test]
#[ignore = "needs root: cargo xtask test lxc"]
fn twice_is_once_and_a_newer_program_replaces_the_older() {
    let host = Host::new();
    let first = host.install();
    assert!(lines(&first).iter().all(|(outcome, _)| outcome == "created"), "{first:?}");
    let passwd = host.text("etc/passwd");
    let felhom: Vec<&str> = passwd.lines().find(|l| l.starts_with("felhom:")).unwrap().split(':').collect();
    let (uid, gid): (u32, u32) = (felhom[2].parse().unwrap(), felhom[3].parse().unwrap());
    let config = host.text("etc/felhom/executor.toml");
    assert!(config.contains(&format!("allowed_uids = [{uid}]\nsocket_gid = {gid}\n")), "{config}");
    assert!(config.contains("node = \"box-1\"\n"), "{config}");
    for (name, mode, owner) in [
        ("var/lib/felhom/executor", 0o700, (0, 0)),
        ("var/lib/felhom/agent", 0o700, (uid, gid)),
        ("run/felhom", 0o750, (0, gid)),
        ("opt/felhom/slots/A/felhom-agent", 0o755, (0, 0)),
        ("opt/felhom/slots/A", 0o755, (0, 0)),
    ] {
        let found = fs::metadata(host.path(name)).unwrap();
        assert_eq!(
            (found.permissions().mode() & 0o7777, (found.uid(), found.gid())),
            (mode, owner),
            "{name}"
        );
    }
    // The link is the host's, so it is followed by hand.
    let link = fs::read_link(host.path("usr/local/bin/felhom-agent")).unwrap();
    assert_eq!(link, Path::new("/opt/felhom/current/felhom-agent"));
    assert_eq!(host.text("opt/felhom/current/felhom-agent"), "felhom-agent 1");

    let tree = host.tree();
    let again = host.install();
    assert!(lines(&again).iter().all(|(outcome, _)| outcome == "unchanged"), "{again:?}");
    let plain = host.run(&["install"]);
    assert!(lines(&plain).iter().all(|(outcome, _)| outcome == "unchanged"), "{plain:?}");
    assert_eq!(host.tree(), tree);

    programs(&host.dir.path().join("from"), "2");
    let newer = host.run(&["install"]);
    let slot = |name: &str| format!("/opt/felhom/slots/A/{name}");
    assert_eq!(outcomes(&newer, "changed"), [slot("felhom-executor"), slot("felhom-agent")]);
    assert_eq!(host.text("opt/felhom/current/felhom-agent"), "felhom-agent 2");
}

#[test]
#[ignore = "needs root: cargo xtask test lxc"]
fn what_was_edited_is_left_alone_and_what_holds_data_stays() {
    let host = Host::new();
    host.install();
    let unit = "etc/systemd/system/felhom-agent.service";
    let config = "etc/felhom/executor.toml";
    let edited = host.text(config) + "# a person's line\n";
    fs::write(host.path(config), &edited).unwrap();
    fs::write(host.path(unit), "[Service]\n").unwrap();
    let again = host.install();
    assert_eq!(outcomes(&again, "kept"), [format!("/{config}"), format!("/{unit}")]);
    assert_eq!((host.text(config), host.text(unit)), (edited.clone(), "[Service]\n".to_owned()));

    fs::write(host.path("var/lib/felhom/executor/executor.db"), "data").unwrap();
    let tree = host.tree();
    let would = host.run(&["uninstall", "--dry-run"]);
    assert_eq!(host.tree(), tree);
    let gone = host.run(&["uninstall"]);
    let kept = [&format!("/{config}"), &format!("/{unit}"), "/var/lib/felhom/executor", "user felhom"]
        .map(str::to_owned);
    assert_eq!(outcomes(&gone, "kept"), kept);
    assert!(kept.iter().all(|what| outcomes(&would, "kept").contains(what)), "{would:?}");
    assert_eq!(host.text(config), edited);
    assert!(host.path("var/lib/felhom/executor/executor.db").exists());
    assert!(!host.path("usr/local/bin/felhom-agent").exists() && !host.path("opt").join("felhom").exists());
}

#[test]
#[ignore = "needs root: cargo xtask test lxc"]
fn a_user_that_was_there_before_stays() {
    let host = Host::new();
    let theirs = "felhom:x:900:900::/:/usr/sbin/nologin\n";
    fs::write(host.path("etc/passwd"), host.text("etc/passwd") + theirs).unwrap();
    fs::write(host.path("etc/group"), host.text("etc/group") + "felhom:x:900:\n").unwrap();
    host.install();
    assert!(host.text("etc/felhom/executor.toml").contains("allowed_uids = [900]\n"));
    let gone = host.run(&["uninstall"]);
    assert_eq!(outcomes(&gone, "kept"), ["user felhom"], "{gone:?}");
    assert!(host.text("etc/passwd").ends_with(theirs));
    assert_eq!(lines(&host.run(&["uninstall"])), []);
}

#[test]
#[ignore = "needs root: cargo xtask test lxc"]
fn what_takes_the_token_back_stays_as_long_as_the_token() {
    let host = Host::new();
    host.install();
    let token = host.path("etc/felhom/executor.token");
    fs::write(&token, "secret").unwrap();
    let gone = host.run(&["uninstall"]);
    let kept =
        ["/etc/felhom/executor.toml", "/opt/felhom/slots/A/felhom-executor", "/etc/felhom/executor.token"];
    assert_eq!(outcomes(&gone, "kept"), kept, "{gone:?}");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("`felhom-executor teardown`"), "{gone:?}");
    assert!(host.path("usr/local/bin/felhom-executor").is_symlink());
    assert!(host.path("opt/felhom/current/felhom-executor").exists());
    assert!(!host.path("opt/felhom/slots/A/felhom-agent").exists());
    fs::remove_file(token).unwrap();
    assert_eq!(outcomes(&host.run(&["uninstall"]), "kept"), [""; 0]);
    assert!(!host.path("opt/felhom").exists() && !host.path("etc/felhom").exists());
}

#[test]
#[ignore = "needs root: cargo xtask test lxc"]
fn the_user_goes_after_its_files_and_choices_stay_until_they_are_made_anew() {
    let host = Host::new();
    let key = host.dir.path().join("release.pub");
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f release";
    fs::write(&key, line).unwrap();
    host.install();
    host.run(&["install", "--release-key", key.to_str().unwrap()]);
    assert_eq!(outcomes(&host.install(), "kept"), [""; 0]);
    let config = host.text("etc/felhom/executor.toml");
    assert!(config.contains(line) && config.contains("guest = \"tank\""), "{config}");
    host.run(&["install", "--guest-storage", "fast"]);
    let config = host.text("etc/felhom/executor.toml");
    assert!(config.contains(line) && config.contains("guest = \"fast\""), "{config}");

    fs::write(host.path("var/lib/felhom/agent/agent.db"), "data").unwrap();
    let gone = host.run(&["uninstall"]);
    let command = "rm -r /var/lib/felhom/agent && userdel felhom";
    assert!(String::from_utf8_lossy(&gone.stderr).contains(command), "{gone:?}");
    fs::remove_dir_all(host.path("var/lib/felhom/agent")).unwrap();
    assert_eq!(outcomes(&host.run(&["uninstall"]), "removed"), ["user felhom"]);
    assert!(!host.path("var/lib/felhom").exists());
}

#[test]
#[ignore = "needs root: cargo xtask test lxc"]
fn it_can_be_undone() {
    let host = Host::new();
    for folder in ["etc/systemd/system", "etc/tmpfiles.d", "opt", "usr/local/bin", "var/lib", "run"] {
        fs::create_dir_all(host.path(folder)).unwrap();
    }
    let own = |tree: BTreeMap<PathBuf, String>| -> Vec<String> {
        // The tools keep a lock, and copies of what they changed.
        let tools = |path: &Path| path.to_str().unwrap().ends_with('-') || path.ends_with("etc/.pwd.lock");
        tree.into_iter()
            .filter(|(path, _)| !tools(path))
            .map(|(path, all)| format!("{} {all}", path.display()))
            .collect()
    };
    let before = own(host.tree());
    host.install();
    host.run(&["install", "--hub"]);
    assert!(host.path("opt/felhom/slots/A/felhom-hub").exists());
    let gone = host.run(&["uninstall"]);
    assert_eq!(outcomes(&gone, "kept"), [""; 0], "{gone:?}");
    assert!(host.path("opt/felhom/current").is_symlink(), "the hub is still behind it");
    let hub = host.run(&["uninstall", "--hub"]);
    assert_eq!(outcomes(&hub, "kept"), [""; 0], "{hub:?}");
    assert_eq!(own(host.tree()), before);
    assert_eq!(lines(&host.run(&["uninstall"])), []);
}
