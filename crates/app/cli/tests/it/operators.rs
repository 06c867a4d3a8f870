//! The operators' file from its first version to a rotation, signed with real keys.

use crate::ssh::{Agent, keygen, public};
use crate::{felhom, text};
use assert_cmd::assert::Assert;
use felhom_signing::operators::{OperatorsFile, SignedOperators};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn operators(home: &Path, args: &[&str]) -> Assert {
    let mut command = felhom(home);
    command.current_dir(home).env("PATH", std::env::var("PATH").unwrap());
    command.args(["operators", "--json"]).args(args).assert()
}

fn json(run: &Assert) -> Value {
    let out = text(&run.get_output().stdout);
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

fn said(run: &Assert) -> String {
    text(&run.get_output().stderr)
}

/// Ada's first version, and a proposal with Bela in which two have to sign.
fn proposed(home: &Path) {
    keygen(home, "ada", &["-t", "ed25519"]);
    keygen(home, "ada2", &["-t", "ecdsa", "-b", "256"]);
    keygen(home, "bela", &["-t", "rsa", "-b", "2048"]);
    operators(home, &["init", "--name", "ada", "--key", "ada.pub", "--key", "ada2.pub"]).success();
    operators(home, &["add", "operators.json", "--name", "bela", "--key", "bela.pub", "--threshold", "2"])
        .success();
}

#[test]
fn a_rotation_needs_names_of_both_versions() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    proposed(home);
    let bare = operators(home, &["verify", "operators.json", "operators-2.json"]).code(5);
    assert_eq!(json(&bare)["of_new"]["signed"], serde_json::json!([]));
    operators(home, &["rotate", "operators-2.json", "--sign-with", "ada"]).success();
    operators(home, &["rotate", "operators-2.json", "--sign-with", "ada2"]).success();
    let short = operators(home, &["verify", "operators.json", "operators-2.signed.json"]).code(5);
    assert!(said(&short).contains("signed by ada; 2 needed: 1 name(s) missing"), "{}", said(&short));
    assert!(said(&short).contains("+ bela (operator)"), "{}", said(&short));
    let signed = operators(home, &["rotate", "operators-2.signed.json", "--sign-with", "bela"]).success();
    assert_eq!((&json(&signed)["name"], &json(&signed)["signatures"]), (&"bela".into(), &3.into()));
    let again = operators(home, &["rotate", "operators-2.signed.json", "--sign-with", "bela"]).success();
    assert_eq!(json(&again)["signatures"], 3);
    let complete = operators(home, &["verify", "operators.json", "operators-2.signed.json"]).success();
    assert_eq!(json(&complete)["complete"], true);
    let bundle = SignedOperators::parse(&fs::read(home.join("operators-2.signed.json")).unwrap()).unwrap();
    let current = OperatorsFile::parse(&fs::read(home.join("operators.json")).unwrap()).unwrap();
    assert_eq!(bundle.rotate(&current).unwrap().get().version(), 2);
    let stale = operators(home, &["verify", "operators-2.json", "operators-2.signed.json"]).code(5);
    assert_eq!(json(&stale)["reason"], "not_next_version");
}

#[test]
fn an_agent_signs_where_only_the_public_half_is_given() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    proposed(home);
    let without = operators(home, &["rotate", "operators-2.json", "--sign-with", "ada.pub"]).code(1);
    assert!(said(&without).contains("SSH_AUTH_SOCK"), "{}", said(&without));
    let agent = Agent::with(home, &home.join("ada"));
    fs::remove_file(home.join("ada")).unwrap();
    let mut command = felhom(home);
    command.current_dir(home).env("PATH", std::env::var("PATH").unwrap()).env("SSH_AUTH_SOCK", &agent.socket);
    let run = command
        .args(["operators", "rotate", "operators-2.json", "--sign-with", "ada.pub"])
        .assert()
        .success();
    assert!(text(&run.get_output().stdout).contains("Signed as ada"));
}

#[test]
fn nothing_is_overwritten_and_a_dry_run_writes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let key = keygen(home, "ada", &["-t", "ed25519"]);
    let init = ["init", "--name", "ada", "--key", "ada.pub"];
    operators(home, &[&init[..], &["--dry-run"]].concat()).success();
    assert!(!home.join("operators.json").exists());
    operators(home, &init).success();
    let refused = operators(home, &init).code(1);
    assert!(said(&refused).contains("--force"), "{}", said(&refused));
    operators(home, &[&init[..], &["--force"]].concat()).success();
    fs::copy(public(&key), home.join("again.pub")).unwrap();
    let twice = operators(home, &["add", "operators.json", "--name", "bela", "--key", "again.pub"]).code(1);
    assert!(said(&twice).contains("stands there twice"), "{}", said(&twice));
    let private = operators(home, &["add", "operators.json", "--name", "bela", "--key", "ada"]).code(1);
    assert!(said(&private).contains("private key"), "{}", said(&private));
    keygen(home, "vault", &["-t", "ed25519"]);
    let vault = ["add", "operators.json", "--name", "vault", "--key", "vault.pub", "--role", "recovery"];
    let over = operators(home, &[&vault[..], &["-o", "operators.json", "--force"]].concat()).code(1);
    assert!(said(&over).contains("not overwritten by a proposal"), "{}", said(&over));
    operators(home, &vault).success();
    let dry = operators(home, &["rotate", "operators-2.json", "--sign-with", "ada", "--dry-run"]).success();
    assert_eq!(json(&dry)["written"], false);
    assert!(!home.join("operators-2.signed.json").exists());
}

#[test]
fn a_key_is_taken_out_again() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    proposed(home);
    let shown = json(&operators(home, &["show", "operators-2.json"]).success());
    let ada = shown["keys"][0]["key"].as_str().unwrap().to_owned();
    operators(home, &["remove", "operators-2.json", "--key", &ada]).success();
    let next = OperatorsFile::parse(&fs::read(home.join("operators-3.json")).unwrap()).unwrap();
    assert_eq!((next.version(), next.keys().len()), (3, 2));
    operators(home, &["remove", "operators-2.json", "--key", "SHA256:none"]).code(1);
}
