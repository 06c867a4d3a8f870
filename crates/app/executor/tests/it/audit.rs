//! The audit log: what was asked for, answered and destroyed is in it, and each reader can verify the part that is his.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use felhom_model::{BoxId, Digest, GuestUuid, OperationState};
use felhom_protocol::audit::AuditEnd;
use felhom_protocol::executor::BoxIdentity;
use felhom_signing::PublicKey;
use felhom_signing::audit::{Chain, Entry, Head, verify};
use serde_json::{Value, json};

use crate::bench::Bench;

/// The whole log, or a guest's part, verified.
pub(crate) async fn log(bench: &Bench, key: &PublicKey, guest: Option<GuestUuid>) -> Vec<Entry> {
    let (mut bytes, mut after) = (Vec::new(), 0);
    loop {
        let page = bench.client.audit(after, guest).await.unwrap();
        for entry in page.entries {
            assert_eq!(entry.hash, Digest::of(&entry.bytes));
            after = entry.seq;
            bytes.push(entry.bytes);
        }
        if !page.more {
            let head = Head::open(page.head.into(), key).unwrap();
            return verify(&bytes, &head, guest.map_or(Chain::Whole, Chain::Guest)).unwrap();
        }
    }
}

/// The kinds of entries that a test names, in the log's order.
fn kinds(entries: &[Entry]) -> Vec<(&str, Value)> {
    let of = |entry: &Entry| match entry.kind.as_str() {
        "refused" => entry.data["code"].clone(),
        "destroying" | "destroyed" => entry.data["permit"].clone(),
        "deleting_archive" | "deleted_archive" => entry.data["archive"].clone(),
        _ => Value::Null,
    };
    entries.iter().map(|entry| (entry.kind.as_str(), of(entry))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_and_destroyed_is_written_down_before_and_after() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let token = bench.cat(bench.guest(uuid).await.vmid, "/run/felhom/token").unwrap();
    let secret = json!({ "guest": uuid, "recovery_code": "canary-recovery-code" });
    for kind in ["destroy_guest", "stop_guest"] {
        assert_eq!(bench.ask(kind, kind, secret.clone()).await.state, OperationState::Refused);
    }
    bench.done("b1", "backup_guest", json!({ "guest": uuid, "target": "local", "quiesced": false })).await;
    bench.done("t1", "restore_test", json!({ "guest": uuid, "level": "L1" })).await;
    let copy = bench.done("c1", "restore_guest", json!({ "guest": uuid })).await.guest.unwrap();
    bench.done("d1", "discard_restored_copy", json!({ "guest": copy })).await;

    let seen = bench.client.observation().await.unwrap();
    let key = seen.attestation_key;
    let all = log(&bench, &key, None).await;
    let expected = [
        ("refused", json!("unknown_operation")),
        ("refused", json!("malformed_parameters")),
        ("destroying", json!("scratch")),
        ("destroyed", json!("scratch")),
        ("destroying", json!("for_good")),
        ("destroyed", json!("for_good")),
    ];
    assert_eq!(kinds(&all), expected);
    assert_eq!((&all[4].data["guest"], &all[0].who), (&json!(copy), &Some("local".to_owned())));
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains("canary-recovery-code") && !text.contains(std::str::from_utf8(&token).unwrap()));

    // What became of the customer's backups and copies is the customer's to read; another guest has nothing here.
    let own = log(&bench, &key, Some(uuid)).await;
    assert_eq!(own.len(), 6, "{own:?}");
    assert_eq!(log(&bench, &key, Some(GuestUuid::from_random([1; 16]))).await, []);

    let head = Head::open(seen.audit_head.unwrap().into(), &key).unwrap();
    assert_eq!((head.get().tip.seq, head.get().guest), (6, None));
    let kept = bench.sim.path("run/head");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!(kept["audit"], serde_json::to_value(head.get().tip).unwrap());
    exported(&bench, &all, &key);
}

fn exported(bench: &Bench, all: &[Entry], key: &PublicKey) {
    let output = Command::new(env!("CARGO_BIN_EXE_felhom-executor"))
        .arg("--config")
        .arg(bench.sim.path("executor.toml"))
        .args(["audit", "export"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let end: Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
    let end: AuditEnd = serde_json::from_value(end["end"].clone()).unwrap();
    assert_eq!(end.attestation_key, *key);
    let head = Head::open(end.head.into(), key).unwrap();
    assert_eq!(verify(&lines, &head, Chain::Whole).unwrap(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_taken_back_is_written_down() {
    let mut bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
    let kept = bench.done("b1", "backup_guest", ask.clone()).await;
    // The archive is made, and cannot be read back: the operation takes it back.
    bench.kill();
    crate::backup_undo::break_verify(&bench);
    bench.serve().await;
    let undone = bench.ask("b2", "backup_guest", ask).await;
    assert_eq!(bench.end(undone.id).await.state, OperationState::RolledBack);
    let key = bench.client.observation().await.unwrap().attestation_key;
    let all = log(&bench, &key, Some(uuid)).await;
    let [(first, a), (second, b)] = &kinds(&all)[..] else { panic!("{all:?}") };
    assert_eq!((*first, *second), ("deleting_archive", "deleted_archive"));
    assert!(a == b && *a != kept.result["volid"], "{all:?}");
    assert_eq!(all[0].operation, Some(undone.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_local_root_and_the_enrolment_change_is_written_down() {
    let mut bench = Bench::start("").await;
    let box_id = BoxId::from_random([4; 16]);
    let identity = BoxIdentity { box_id, epoch: 1 };
    bench.client.set_box(&identity).await.unwrap();
    bench.client.set_box(&identity).await.unwrap();
    let key = bench.client.observation().await.unwrap().attestation_key;
    bench.kill();
    let file = bench.sim.path("operators.json");
    std::fs::write(&file, crate::rollback::operators()).unwrap();
    for outcome in ["installed", "unchanged"] {
        let done = bench.sim.executor(&["operators", "install", file.to_str().unwrap()]);
        assert_eq!((done.code, done.json["outcome"].as_str()), (0, Some(outcome)), "{}", done.stderr);
    }
    assert_eq!(bench.sim.executor(&["forget-box"]).json["forgotten"], json!(true));
    assert_eq!(bench.sim.executor(&["forget-box"]).json["forgotten"], json!(false));
    bench.serve().await;
    let all = log(&bench, &key, None).await;
    let names: Vec<&str> = all.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(names, ["box_enrolled", "operators_installed", "box_forgotten"]);
    assert_eq!(all[1].data["digest"], json!(Digest::of(&crate::rollback::operators())));
    assert_eq!((&all[2].data["box"], &all[2].who), (&json!(box_id), &Some("local root".to_owned())));
}
