//! Enrolment: what is made, pinned and printed, and each way to fail in plain words.

use crate::agent::World;
use crate::executor::attestation_key;
use crate::hub::box_id;
use felhom_model::Digest;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_is_enrolled_with_a_key_of_its_own() {
    let world = World::new().await;
    let output = world.enroll().await;
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let fingerprint = attestation_key().fingerprint();
    assert_eq!(
        (line["name"].as_str(), line["attestation_key"].as_str()),
        (Some("home"), Some(&*fingerprint))
    );
    assert!(said(&output).contains(&format!("felhom box pin home {fingerprint}")));
    assert_eq!(world.hub.lock().attestation_key, Some(attestation_key()));
    assert_eq!(world.executor.lock().box_id, Some(box_id()));
    for file in ["agent/device.key", "agent/enrolment.json"] {
        let mode = std::fs::metadata(world.path(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let again = world.run(&["enroll", &world.hub.ticket().encode()]).await;
    assert!(!again.status.success() && said(&again).contains("--again"), "{}", said(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_can_come_from_standard_input() {
    let world = World::new().await;
    let mut command = world.command(&["enroll", "-"]);
    let ticket = world.hub.ticket().encode();
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(ticket.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    assert!(output.await.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_says_what_and_what_to_do() {
    let world = World::new().await;
    let ticket = world.hub.ticket();
    let fails = async |ticket: String, words: &[&str]| {
        let output = world.run(&["enroll", &ticket]).await;
        assert!(!output.status.success());
        let said = said(&output);
        for word in words {
            assert!(said.contains(word), "`{word}` is missing in: {said}");
        }
        assert!(!said.contains(&world.hub.ticket().token), "the token is a secret: {said}");
    };
    fails("hello".to_owned(), &["felhom1.", "felhom box add"]).await;
    fails(ticket.encode()[..60].to_owned(), &["cut or altered"]).await;
    let mut other = ticket.clone();
    other.hub_fingerprint = Digest::of(b"other");
    fails(other.encode(), &["certificate", "nothing was sent"]).await;
    let mut other = ticket.clone();
    other.hub_key = attestation_key();
    fails(other.encode(), &["not from the", "hub"]).await;
    let mut other = ticket.clone();
    other.hub_url = "https://127.0.0.1:1".to_owned();
    fails(other.encode(), &["cannot be reached", "firewall"]).await;
    world.hub.lock().refuse_tickets = true;
    fails(ticket.encode(), &["was used already", "Make a new one"]).await;
    assert!(!world.path("agent/enrolment.json").exists());
    std::fs::remove_file(world.path("executor.sock")).unwrap();
    fails(ticket.encode(), &["executor", "felhom-executor running"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_is_checked() {
    let world = World::with("nonsense = 1").await;
    let output = world.run(&["serve"]).await;
    assert!(!output.status.success() && said(&output).contains("nonsense"), "{}", said(&output));
    let world = World::with("heartbeat_s = 7").await;
    let output = world.run(&["--check-config"]).await;
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("heartbeat_s = 7"));
}
