//! The command line as its user meets it: help, mistakes, exit codes. What needs a hub is walked by the demo.
#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

mod approve;
mod audit;
mod hub;
mod man;
mod operators;
mod rotation;
mod ssh;

use assert_cmd::Command;
use std::path::Path;

const PIN: &str = "SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE";

/// `felhom` with a configuration directory of its own.
fn felhom(home: &Path) -> Command {
    let mut command = Command::cargo_bin("felhom").unwrap();
    command.env_clear().env("HOME", home);
    command
}

/// A token file as `felhom-hub operator add` makes it.
fn token(home: &Path) {
    std::fs::write(home.join("token"), "x").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.join("token"), private).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_has_examples_and_exit_codes() {
    let home = tempfile::tempdir().unwrap();
    let help = felhom(home.path()).arg("--help").assert().success();
    assert!(text(&help.get_output().stdout).contains("Exit codes:"));
    let help = felhom(home.path()).args(["desired", "set", "--help"]).assert().success();
    assert!(text(&help.get_output().stdout).contains("felhom.desired/v1"));
    felhom(home.path()).args(["completion", "bash"]).assert().success();
    felhom(home.path()).arg("nonsense").assert().code(2);
}

#[test]
fn without_a_hub_it_says_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let run = felhom(home.path()).args(["box", "list"]).assert().code(1);
    let message = text(&run.get_output().stderr);
    assert!(message.contains("hub_url") && message.contains("config.toml"), "{message}");
}

#[test]
fn an_unreachable_hub_is_exit_code_4_in_words_and_json() {
    let home = tempfile::tempdir().unwrap();
    token(home.path());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fingerprint = format!("sha256:{}", "0".repeat(64));
    let run = felhom(home.path())
        .args(["--json", "box", "list", "--hub-url", &format!("https://{free}")])
        .args(["--hub-fingerprint", &fingerprint, "--token-file"])
        .arg(home.path().join("token"))
        .assert()
        .code(4);
    let out = text(&run.get_output().stdout);
    let json: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(json["exit_code"], 4);
    assert!(text(&run.get_output().stderr).contains("cannot be reached"));
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join(".config/felhom");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), "\nhub_ulr = 'x'\n").unwrap();
    let run = felhom(home.path()).args(["box", "list"]).assert().code(1);
    let message = text(&run.get_output().stderr);
    assert!(message.contains("hub_ulr") && message.contains("line 2"), "{message}");
}

#[test]
fn pinning_needs_no_hub_and_is_never_changed_silently() {
    let home = tempfile::tempdir().unwrap();
    let other = PIN.replace("mVP", "aVP");
    let run = |args: &[&str]| felhom(home.path()).args(["box", "--json"]).args(args).assert();
    run(&["pin", "kovacs", PIN]).success();
    run(&["pin", "kovacs", PIN]).success();
    let changed = run(&["pin", "kovacs", &other]).code(5);
    assert!(text(&changed.get_output().stderr).contains("ALARM"));
    run(&["pin", "kovacs", &other, "--replace", &other]).code(5);
    run(&["pin", "kovacs", "SHA256:short"]).code(1);
    let known = home.path().join(".config/felhom/known_boxes");
    assert_eq!(std::fs::read_to_string(&known).unwrap(), format!("kovacs {PIN}\n"));
    run(&["pin", "kovacs", &other, "--replace", PIN]).success();
    let pins = run(&["pins"]).success();
    assert!(text(&pins.get_output().stdout).contains(&other));
    run(&["unpin", "kovacs", PIN]).code(5);
    run(&["unpin", "kovacs", &other]).success();
    assert_eq!(std::fs::read_to_string(&known).unwrap(), "");
}

#[test]
fn a_wrong_desired_state_is_refused_before_the_hub_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("desired.toml");
    std::fs::write(&file, "schema = \"felhom.desired/v1\"\n[[guest]]\nname = \"Family\"\n").unwrap();
    token(home.path());
    let run = felhom(home.path())
        .args(["desired", "set", "kovacs"])
        .arg(&file)
        .args(["--hub-url", "https://127.0.0.1:1", "--hub-fingerprint"])
        .arg(format!("sha256:{}", "0".repeat(64)))
        .arg("--token-file")
        .arg(home.path().join("token"))
        .assert()
        .code(1);
    let message = text(&run.get_output().stderr);
    assert!(message.contains("desired.toml") && message.contains("Family"), "{message}");
}

#[test]
fn a_token_that_others_can_read_is_refused() {
    let home = tempfile::tempdir().unwrap();
    token(home.path());
    let loose = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(home.path().join("token"), loose).unwrap();
    let run = felhom(home.path())
        .args(["box", "list", "--hub-url", "https://127.0.0.1:1", "--hub-fingerprint"])
        .arg(format!("sha256:{}", "0".repeat(64)))
        .arg("--token-file")
        .arg(home.path().join("token"))
        .assert()
        .code(1);
    assert!(text(&run.get_output().stderr).contains("chmod 600"));
}
