//! `felhom-executor install` as far as it changes nothing; what it does is tested as root, see `lxc`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A command of the executor without a configuration.
pub(crate) fn run(arguments: &[&str]) -> Output {
    // As a careful root's shell has it.
    let script = "umask 077; exec \"$0\" \"$@\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_felhom-executor")]).args(arguments).output().unwrap()
}

/// Outcome and thing of each line.
pub(crate) fn lines(output: &Output) -> Vec<(String, String)> {
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let lines = json["lines"].as_array().unwrap_or_else(|| panic!("{output:?}"));
    lines.iter().map(|line| (text(line, "outcome"), text(line, "what"))).collect()
}

/// A directory with programs of these names.
pub(crate) fn programs(dir: &Path, version: &str) {
    fs::create_dir_all(dir).unwrap();
    for name in ["felhom-executor", "felhom-agent", "felhom-hub", "felhom"] {
        fs::write(dir.join(name), format!("{name} {version}")).unwrap();
    }
}

#[test]
fn a_dry_run_says_everything_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (from, root) = (dir.path().join("from"), dir.path().join("root"));
    programs(&from, "1");
    fs::create_dir_all(&root).unwrap();
    let place = ["--from", from.to_str().unwrap(), "--root", root.to_str().unwrap(), "--dry-run", "--json"];
    let needs = run(&[&["install"], &place[..]].concat());
    assert_eq!(needs.status.code(), Some(2), "{needs:?}");
    assert!(
        String::from_utf8_lossy(&needs.stderr).contains("`pvesm status` shows what there is"),
        "{needs:?}"
    );

    let storages = ["install", "--guest-storage", "tank", "--backup-storage", "local"];
    let needs = run(&[&storages[..], &place[..]].concat());
    assert_eq!(needs.status.code(), Some(2), "{needs:?}");
    assert!(String::from_utf8_lossy(&needs.stderr).contains("--address IP"), "{needs:?}");
    let address = ["--address", "192.168.1.10"];
    let would = run(&[&storages[..], &address, &place[..]].concat());
    assert!(would.status.success(), "{would:?}");
    assert!(lines(&would).iter().all(|(outcome, _)| outcome == "would_create"), "{would:?}");
    for what in [
        "/opt/felhom/slots/A/felhom-agent",
        "user felhom",
        "/etc/felhom/executor.toml",
        "/etc/systemd/system/felhom-agent.service",
    ] {
        assert!(lines(&would).iter().any(|(_, there)| there == what), "{what}: {would:?}");
    }
    let hub = run(&[&["install", "--hub"], &place[..]].concat());
    assert!(lines(&hub).iter().any(|(_, there)| there == "user felhom-hub"), "{hub:?}");
    let nothing = run(&["uninstall", "--root", root.to_str().unwrap(), "--dry-run", "--json"]);
    assert_eq!(lines(&nothing), []);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

#[test]
fn a_persons_user_is_refused_by_name_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (from, root) = (dir.path().join("from"), dir.path().join("root"));
    programs(&from, "1");
    fs::create_dir_all(root.join("etc")).unwrap();
    let place = ["--from", from.to_str().unwrap(), "--root", root.to_str().unwrap(), "--dry-run", "--json"];
    for (user, code) in [
        ("felhom-hub:x:1001:1001::/home/felhom-hub:/usr/sbin/nologin", 1),
        ("felhom-hub:x:900:900::/home/felhom-hub:/bin/bash", 1),
        ("felhom-hub:x:900:900::/:/usr/sbin/nologin", 0),
    ] {
        fs::write(root.join("etc/passwd"), format!("root:x:0:0:root:/root:/bin/bash\n{user}\n")).unwrap();
        let ended = run(&[&["install", "--hub"], &place[..]].concat());
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        let named = String::from_utf8_lossy(&ended.stderr).contains("usermod --login NEW felhom-hub");
        assert_eq!(named, code == 1, "{ended:?}");
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_option() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().to_str().unwrap();
    let ended = run(&["install", "--from", from, "--root", from, "--dry-run"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(text.contains("felhom-executor") && text.contains("--from DIR"), "{text}");
}
