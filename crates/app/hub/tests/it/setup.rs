//! `init`, `operator`, configuration: what an operator of the hub types.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{Hub, command, run, token_file};

#[test]
fn init_makes_everything_once_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let (ok, _, err) = run(dir.path(), &["serve"]);
    assert!(!ok && err.contains("felhom-hub init"), "{err}");
    let (ok, first, err) = run(dir.path(), &["init", "--json"]);
    assert!(ok, "{err}");
    let (ok, second, _) = run(dir.path(), &["init", "--json"]);
    assert!(ok);
    let (first, second): (Value, Value) =
        (serde_json::from_str(&first).unwrap(), serde_json::from_str(&second).unwrap());
    assert_eq!(first["tls_fingerprint"], second["tls_fingerprint"]);
    assert_eq!(first["hub_public_key"], second["hub_public_key"]);
    assert_eq!((&first["new"], &second["new"]), (&true.into(), &false.into()));
    for file in std::fs::read_dir(dir.path().join("hub")).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run(dir.path(), &["init"]).0);
    let key = dir.path().join("hub/hub.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (ok, _, err) = run(dir.path(), &["serve"]);
    assert!(!ok && err.contains("chmod 600"), "{err}");
}

#[tokio::test]
async fn a_new_token_voids_the_old_one() {
    let hub = Hub::new();
    let status = async |token: &str| {
        let request = hub.http.get(format!("{}/api/v1/boxes", hub.url)).bearer_auth(token);
        request.send().await.unwrap().status()
    };
    assert_eq!(status(&hub.token).await, StatusCode::OK);
    let file = token_file(hub.dir.path());
    let (ok, out, err) =
        run(hub.dir.path(), &["operator", "add", "ada", "--token-file", file.to_str().unwrap()]);
    assert!(ok, "{err}");
    let token = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(!out.contains(&token) && !err.contains(&token), "the token is in the file only");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(status(&hub.token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&token).await, StatusCode::OK);
    let (ok, out, _) = run(hub.dir.path(), &["operator", "list"]);
    assert!(ok && out.contains("ada"), "{out}");
    assert!(run(hub.dir.path(), &["operator", "remove", "ada"]).0);
    assert_eq!(status(&token).await, StatusCode::UNAUTHORIZED);
    let (ok, _, err) = run(hub.dir.path(), &["operator", "remove", "ada"]);
    assert!(!ok && err.contains("no operator `ada`"), "{err}");
    let (ok, _, err) = run(hub.dir.path(), &["operator", "add", "Ada Lovelace"]);
    assert!(!ok && err.contains("operator's name"), "{err}");
}

#[test]
fn a_second_hub_on_the_same_directory_does_not_begin() {
    let hub = Hub::new();
    let (ok, _, err) = run(hub.dir.path(), &["serve"]);
    assert!(!ok && err.contains("another felhom-hub"), "{err}");
}

#[test]
fn configuration_mistakes_are_shown_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hub.toml");
    std::fs::write(&file, "next_sync_s = 30\nlissten = \"x\"\n").unwrap();
    let path = file.to_str().unwrap();
    let (ok, _, err) = run(dir.path(), &["--check-config", "--config", path]);
    assert!(!ok && err.contains("line 2") && err.contains("lissten"), "{err}");
    std::fs::write(&file, "late_after_s = 30\n").unwrap();
    let (ok, out, err) = run(dir.path(), &["--check-config", "--config", path, "--json"]);
    assert!(ok, "{err}");
    let config: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(config["late_after_s"], 30);
    assert_eq!(config["listen"], "127.0.0.1:0", "the environment wins");
    let (ok, _, err) = run(dir.path(), &["serve", "--config", "/nowhere/hub.toml"]);
    assert!(!ok && err.contains("/nowhere/hub.toml"), "{err}");
}

#[test]
fn sigterm_ends_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run(dir.path(), &["init"]).0);
    let mut child = command(dir.path()).args(["serve", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let kill = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    assert!(child.wait().unwrap().success());
}
