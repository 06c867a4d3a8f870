//! The whole way: provision, refuse, back up, prove, restore, change.

use std::fs;

use felhom_model::backup::Level;
use felhom_model::{Digest, OperationId, OperationState};
use felhom_protocol::local_api::{BackupPhase, Bootstrap, Frozen, Thawed};
use felhom_protocol::probe::{Sample, SampleId};
use felhom_protocol::receipt::{Receipt, Verdict};
use felhom_signing::sshsig::{Namespace, SshPublicKey, verify};
use felhom_signing::{Context, Key, Signed};
use serde_json::json;

use crate::bench::{Bench, guest_key, heartbeat, provision};

fn sample(path: &str, bytes: &[u8]) -> Sample {
    let id = SampleId {
        app: "sample".parse().unwrap(),
        volume: "data".to_owned(),
        path: path.to_owned(),
        offset: None,
        length: None,
    };
    Sample { id, kind: "file".to_owned(), digest: Some(Digest::of(bytes)), message: None }
}

/// The controller's part of a quiesced backup.
/// Waits until the stub guest has kept who it is, as the controller does before its first heartbeat.
async fn knows_itself(bench: &Bench, guest: felhom_model::GuestUuid) {
    let vmid = bench.guest(guest).await.vmid;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while bench.cat(vmid, "/var/lib/stub/guest") != Some(guest.to_string().into_bytes()) {
        assert!(tokio::time::Instant::now() < deadline, "the guest never kept its identity");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// The controller could not freeze: the backup goes on at once, and says what it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_thaw_without_a_freeze_ends_the_wait() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": true });
    let backup = bench.ask("b1", "backup_guest", ask).await;
    bench.client.backup(backup.id, Some(BackupPhase::Requested), 20).await.unwrap();
    let thawed = Thawed { downtime_ms: 0, apps: vec![], held: false };
    bench.client.thawed(backup.id, &thawed).await.unwrap();
    let backup = bench.end(backup.id).await;
    assert_eq!(backup.state, OperationState::Done, "{backup:?}");
    assert_eq!(backup.result["consistency"], "crash_consistent", "{backup:?}");
    assert!(format!("{:?}", backup.steps).contains("could not freeze"), "{backup:?}");
    assert!(backup.result["downtime_ms"].is_null(), "nobody measured any: {backup:?}");
    assert_eq!(bench.client.observation().await.unwrap().archives[0].downtime_ms, None);
}

async fn quiesce(bench: &Bench, id: OperationId, guest: felhom_model::GuestUuid) {
    knows_itself(bench, guest).await;
    let granted = bench.client.backup(id, Some(BackupPhase::Requested), 20).await.unwrap();
    assert_eq!(granted.phase, BackupPhase::Granted);
    let key = bench.client.observation().await.unwrap().attestation_key;
    let signature = granted.signature.unwrap();
    key.verify(Context::BackupPhase, format!("{id} granted").as_bytes(), &signature).unwrap();
    let frozen = Frozen {
        id,
        guest,
        apps: vec!["sample".parse().unwrap()],
        samples: vec![sample("notes.db", b"ok, notes"), sample("photo.jpg", b"a photo")],
        lease_ms: 60_000,
    };
    let document = serde_json::to_vec(&frozen).unwrap();
    let forged = Signed::new(&Key::from_seed(&[1; 32]), Context::Frozen, document.clone());
    assert!(bench.client.frozen(id, &forged.into()).await.is_err(), "signed by another key");
    let signed = Signed::new(&guest_key(), Context::Frozen, document);
    let mut phase = bench.client.frozen(id, &signed.into()).await.unwrap().phase;
    while phase < BackupPhase::Snapshotted {
        phase = bench.client.backup(id, Some(phase), 20).await.unwrap().phase;
    }
    let thawed = Thawed { downtime_ms: 12, apps: vec![], held: true };
    bench.client.thawed(id, &thawed).await.unwrap();
}

fn receipt_of(
    bench_key: &felhom_signing::PublicKey,
    signed: &felhom_protocol::receipt::SignedReceipt,
) -> Receipt {
    let accepted = [SshPublicKey::from(bench_key)];
    let bytes = signed.document.clone().into_bytes();
    let (verified, _) = verify(&signed.signature, Namespace::Receipt, bytes, &accepted).unwrap();
    serde_json::from_slice(verified.get()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_provisioned_backed_up_proven_and_restored() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let guest = bench.guest(uuid).await;
    assert_eq!(
        (guest.power.as_str(), guest.provenance.as_str(), guest.purpose.as_str()),
        ("running", "proven", "tenant")
    );
    let token = bench.cat(guest.vmid, "/run/felhom/token").unwrap();
    assert_eq!(guest.token_digest, Some(Digest::of(&token)));
    assert!(!bench.log().contains(std::str::from_utf8(&token).unwrap()), "the token is in the log");
    let config = String::from_utf8(bench.pct(&["config", &guest.vmid.to_string()]).stdout).unwrap();
    assert!(config.is_empty() || config.contains("onboot: 1"), "{config}");

    let backup =
        bench.ask("b1", "backup_guest", json!({ "guest": uuid, "target": "local", "quiesced": true })).await;
    quiesce(&bench, backup.id, uuid).await;
    let backup = bench.end(backup.id).await;
    assert_eq!(backup.state, OperationState::Done, "{backup:?}\n{}", bench.log());
    assert_eq!(backup.result["consistency"], "quiesced", "{backup:?}");
    assert_eq!(backup.result["downtime_ms"], 12);

    let test = bench.done("t1", "restore_test", json!({ "guest": uuid })).await;
    let seen = bench.client.observation().await.unwrap();
    let receipts = bench.client.receipts(Some(uuid)).await.unwrap();
    let receipt = receipt_of(&seen.attestation_key, &receipts[0]);
    assert_eq!((receipt.verdict, receipt.level), (Verdict::Passed, Some(Level::L4)), "{receipt:?}\n{test:?}");
    assert_eq!(seen.archives[0].proven_level, Some(Level::L4));
    assert_eq!(seen.guests.len(), 1, "the scratch guest is gone: {:?}", seen.guests);

    let copy = bench.done("c1", "restore_guest", json!({ "guest": uuid })).await;
    let copy = bench.guest(copy.guest.unwrap()).await;
    assert_eq!(
        (copy.purpose.as_str(), copy.power.as_str(), copy.restored_from),
        ("copy", "running", Some(uuid))
    );
    assert_eq!(bench.cat(copy.vmid, "/data/photo.jpg").unwrap(), b"a photo");
    assert!(bench.cat(copy.vmid, "/run/felhom/token").is_none(), "a copy has no token");
    let refused = bench.ask("c2", "start_guest", json!({ "guest": copy.uuid })).await;
    assert_eq!(refused.state, OperationState::Refused);
    assert!(refused.verdict.starts_with("start_outside_own_operation"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_fails_at_its_level_with_a_signed_receipt() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": true });
    let backup = bench.ask("b1", "backup_guest", ask).await;
    quiesce(&bench, backup.id, uuid).await;
    let backup = bench.end(backup.id).await;
    let volid = backup.result["volid"].as_str().unwrap().to_owned();
    let file = bench.sim.path("pve/var/lib/vz/dump").join(volid.rsplit('/').next().unwrap());
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&file, flipped).unwrap();
    bench.done("t1", "restore_test", json!({ "guest": uuid })).await;
    let seen = bench.client.observation().await.unwrap();
    let newest = bench.client.receipts(None).await.unwrap().remove(0);
    let receipt = receipt_of(&seen.attestation_key, &newest);
    assert_eq!((receipt.verdict, receipt.level), (Verdict::Failed, None), "{receipt:?}");
    assert_eq!(receipt.checks.iter().find(|c| !c.passed).unwrap().name, "archive digest");
    let refused = bench.ask("c1", "restore_guest", json!({ "guest": uuid })).await;
    let refused = bench.end(refused.id).await;
    assert_eq!(refused.state, OperationState::RolledBack, "{refused:?}");
    assert!(refused.reason.unwrap().contains("digest_differs"));
    assert_eq!(seen.guests.len(), 1, "{:?}", seen.guests);

    fs::write(&file, whole).unwrap();
    let test = bench.done("t2", "restore_test", json!({ "guest": uuid })).await;
    assert_eq!(test.result["verdict"], "passed", "{test:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_are_refused_with_evidence_and_nothing_happens() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let vmid = bench.guest(uuid).await.vmid.to_string();
    for (kind, params, code) in [
        ("destroy_guest", json!({ "guest": uuid }), "unknown_operation"),
        ("reclaim_guest", json!({ "guest": uuid }), "not_a_tombstone"),
        ("destroy_scratch", json!({ "guest": uuid }), "not_scratch"),
        ("retire_guest", json!({ "guest": uuid }), "needs_authorization"),
        ("discard_restored_copy", json!({ "guest": uuid }), "not_a_copy"),
        ("cutover_guest", json!({ "guest": uuid, "copy": uuid }), "not_a_copy"),
        ("reverse_cutover_guest", json!({ "guest": uuid }), "no_tombstone"),
        ("format_disk", json!({ "disk": "fs-1", "role": "user_data" }), "not_built_yet"),
        ("format_disk", json!({}), "malformed_parameters"),
        ("stop_guest", json!({ "guest": uuid, "force": true }), "malformed_parameters"),
        ("provision_guest", provision("family"), "name_used_before"),
        ("provision_guest", provision("second"), "needs_authorization"),
        ("restore_guest", json!({ "guest": uuid }), "no_archive"),
        ("backup_guest", json!({ "guest": uuid, "target": "tank" }), "not_a_target"),
    ] {
        let key = format!("hostile-{kind}-{params}");
        let op = bench.ask(&key, kind, params.clone()).await;
        assert_eq!(op.state, OperationState::Refused, "{op:?}");
        assert!(op.verdict.starts_with(code), "{kind}: {}", op.verdict);
        assert_eq!(op.kind, kind);
        assert_eq!(bench.ask(&key, kind, params).await.id, op.id, "the same request is the same operation");
        if kind == "reclaim_guest" {
            assert!(op.evidence.iter().any(|e| e.key == "vmid" && e.value == vmid), "{op:?}");
        }
    }
    let guest = bench.guest(uuid).await;
    assert_eq!(guest.power, "running");
    assert_eq!(bench.cat(guest.vmid, "/data/photo.jpg").unwrap(), b"a photo");

    let bootstrap = bench.cat(guest.vmid, "/run/felhom/bootstrap.json").unwrap();
    let bootstrap: Bootstrap = serde_json::from_slice(&bootstrap).unwrap();
    bench.client.heartbeat(&heartbeat(&bootstrap, &guest_key()).into()).await.unwrap();
    let stranger = heartbeat(&bootstrap, &Key::from_seed(&[1; 32]));
    assert!(bench.client.heartbeat(&stranger.into()).await.is_err());
    let old = Bootstrap { boot_nonce: "old".to_owned(), ..bootstrap };
    assert!(bench.client.heartbeat(&heartbeat(&old, &guest_key()).into()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_stopped_started_rebooted_and_configured() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let first = bench.cat(bench.guest(uuid).await.vmid, "/run/felhom/token").unwrap();
    bench.done("s1", "stop_guest", json!({ "guest": uuid })).await;
    assert_eq!(bench.guest(uuid).await.power, "stopped");
    bench.done("s2", "start_guest", json!({ "guest": uuid })).await;
    let guest = bench.guest(uuid).await;
    assert_eq!(guest.power, "running");
    assert_eq!(bench.cat(guest.vmid, "/run/felhom/token"), Some(first.clone()), "the token again");
    bench.done("s3", "reboot_guest", json!({ "guest": uuid })).await;
    assert_eq!(bench.cat(guest.vmid, "/run/felhom/token"), Some(first));
    let ask = json!({ "guest": uuid, "memory_mib": 512, "cores": 2, "disk_gib": 2 });
    bench.done("s4", "configure_guest", ask).await;
    let guest = bench.guest(uuid).await;
    assert_eq!((guest.memory_mib, guest.cores), (512, 2));
    let smaller = bench.ask("s5", "configure_guest", json!({ "guest": uuid, "disk_gib": 1 })).await;
    assert_eq!(smaller.state, OperationState::Refused);
    // It could never be made smaller again, and its backups could not be restored here.
    let beyond = bench.ask("s6", "configure_guest", json!({ "guest": uuid, "disk_gib": 4_000_000 })).await;
    assert_eq!(beyond.state, OperationState::Refused);
    assert!(beyond.verdict.starts_with("not_enough_space"), "{}", beyond.verdict);
}
