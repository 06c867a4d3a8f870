//! A small fleet as boxes would report it: one fine, one in danger, one at work, one that refused, one that waits.

use felhom_model::backup::Level;
use felhom_model::{Digest, Generation, GuestUuid, OperationId};
use felhom_protocol::hub_sync::{JobReport, Report, SyncRequest};
use felhom_protocol::receipt::SignedReceipt;
use felhom_signing::sshsig::{self, Namespace};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Hub, TestBox, document_digest, empty_report, idle};

/// Minutes before now.
fn ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_mins(minutes)
}

fn id(minutes: i64, n: u8) -> OperationId {
    OperationId::from_parts(ago(minutes).as_millisecond().unsigned_abs(), n.into())
}

fn uuid(n: u8) -> GuestUuid {
    GuestUuid::from_random([n; 16])
}

/// The spec of a guest named `family` with an app.
pub(crate) fn spec() -> Value {
    json!({"schema": "felhom.desired/v1", "guest": [{
        "name": "family", "state": "running", "cores": 2, "memory_mib": 4096, "apps": ["notes"],
        "backup": {"schedule": "30 2 * * *", "target": "backup"}, "restore_test": {"schedule": "0 4 * * 0"}
    }]})
}

fn guest(n: u8, state: &str, memory: u32) -> Value {
    json!({
        "uuid": uuid(n), "vmid": 2000, "name": "family", "purpose": "tenant", "provenance": "proven",
        "power": "running", "cores": 2, "memory_mib": memory, "swap_mib": 0, "apps": ["notes"],
        "made_by": id(60 * 24 * 30, n), "addresses": ["10.0.0.21"],
        "heartbeat": {"version": "0.1.0", "slot": "A", "url": "http://10.0.0.21:8080", "received": ago(0),
            "apps": [{"app": "notes", "state": state, "url": "http://10.0.0.21:3000",
                "message": (state == "failed").then_some("exit status 1: database is locked")}]}
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "since": ago(95)})
}

fn archive(n: u8, minutes: i64, proven: bool) -> Value {
    json!({
        "volid": format!("backup:backup/vzdump-lxc-2000-{minutes}.tar.zst"), "guest": uuid(n),
        "guest_name": "family", "operation": id(minutes, n), "target": "backup", "taken_at": ago(minutes),
        "bytes": 734_003_200, "digest": Digest::of(&minutes.to_be_bytes()), "consistency": "quiesced",
        "downtime_ms": 212, "proven_level": proven.then_some("L4"), "proven_at": proven.then(|| ago(minutes - 5))
    })
}

fn receipt(home: &TestBox, n: u8, minutes: i64, failed: bool) -> SignedReceipt {
    let check = |level, name: &str, passed, detail: &str| json!({"level": level, "name": name, "passed": passed, "detail": detail});
    let document = json!({
        "schema": "felhom.receipt/v1", "box_id": home.id, "operation": id(minutes - 5, n + 50), "guest": uuid(n),
        "archive": format!("backup:backup/vzdump-lxc-2000-{minutes}.tar.zst"),
        "archive_digest": Digest::of(&minutes.to_be_bytes()), "taken_at": ago(minutes), "asked_level": Level::L4,
        "level": if failed { Level::L3 } else { Level::L4 },
        "checks": [
            check("L1", "archive digest", true, "as recorded when the backup was made"),
            check("L2", "probe answers as the right guest", true, "identity of family"),
            check("L3", "notes: database notes.db", true, "integrity_check: ok, 812 rows"),
            check("L4", "notes: files", !failed,
                if failed { "uploads/a.jpg differs from its digest at freeze time" } else { "64 of 64 files equal" }),
        ],
        "verdict": if failed { "failed" } else { "passed" }, "not_tested": ["bulk: not tested"],
        "started": ago(minutes - 5), "took_ms": 14_310, "bytes": 734_003_200
    })
    .to_string();
    let signature = sshsig::sign(&home.attestation, Namespace::Receipt, document.as_bytes()).unwrap();
    SignedReceipt { document, signature }
}

fn operation(n: u8, kind: &str, state: &str, minutes: i64) -> Value {
    json!({
        "id": id(minutes, n), "kind": kind, "state": state, "guest": uuid(n), "guest_name": "family",
        "asked_for": "desired state generation 1: a backup is due", "asked_by": "schedule",
        "verdict": "allowed: reversible", "evidence": [{"key": "provenance", "value": "proven"}],
        "created": ago(minutes), "ended": (state != "running").then(|| ago(minutes - 1)),
        "steps": [{"name": "freeze", "state": "done", "outcome": "212 ms"}, {"name": "archive", "state": "done"}]
    })
}

fn storages() -> Value {
    json!([
        {"id": "local", "active": true, "free": 91_268_055_040_u64, "total": 214_748_364_800_u64, "is_target": false},
        {"id": "backup", "active": true, "free": 612_032_839_680_u64, "total": 1_000_204_886_016_u64, "is_target": true}
    ])
}

/// A report from its parts.
fn report(parts: Value) -> Report {
    let mut whole =
        serde_json::to_value(Report { observed_generation: Generation(1), ..empty_report() }).unwrap();
    whole["storages"] = storages();
    for (key, value) in parts.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).unwrap()
}

async fn box_with_spec(hub: &Hub, name: &str, seed: u8) -> TestBox {
    let home = hub.enrolled(name, seed).await;
    let body = json!({"spec": spec(), "message": "first guest"});
    let (status, answer) = hub.call(Method::PUT, &format!("/boxes/{name}/desired"), body).await;
    assert!(status.is_success(), "{answer}");
    home
}

async fn tell(hub: &Hub, home: &TestBox, report: Report) {
    let digest = document_digest(&home.sync(hub, &idle()).await);
    let generation = Generation(1);
    let request = SyncRequest { report: Some(report), generation, document_digest: digest, ..idle() };
    home.sync(hub, &request).await;
}

/// All is well.
pub(crate) async fn fine(hub: &Hub) -> TestBox {
    let home = box_with_spec(hub, "kovacs", 11).await;
    let mut report = report(json!({
        "conditions": [
            condition("Converged", "true", "AsDesired", "everything is as desired state says"),
            condition("GuestConverged/family", "true", "AsDesired", "as desired state says"),
            condition("ExecutorReachable", "true", "Answers", "the executor answers"),
        ],
        "guests": [guest(1, "running", 4096)],
        "archives": [archive(1, 60 * 9, true), archive(1, 60 * 33, true)],
        "operations": [operation(1, "backup_guest", "done", 60 * 9), operation(1, "restore_test", "done", 60 * 8)],
    }));
    report.receipts = vec![receipt(&home, 1, 60 * 9, false), receipt(&home, 1, 60 * 33, false)];
    tell(hub, &home, report).await;
    home
}

/// A backup is running, the memory is being changed.
pub(crate) async fn at_work(hub: &Hub) -> TestBox {
    let home = box_with_spec(hub, "nagy", 12).await;
    tell(hub, &home, at_work_report(126)).await;
    home
}

/// That box's report with so many MiB done.
pub(crate) fn at_work_report(mib: u64) -> Report {
    let mut running = operation(2, "backup_guest", "running", 1);
    running["id"] = json!(OperationId::from_parts(1_790_000_000_000, 2));
    running["steps"] = json!([
        {"name": "freeze", "state": "done", "outcome": "apps stood still for 212 ms"},
        {"name": "archive", "state": "running"}, {"name": "verify", "state": "pending"}
    ]);
    running["progress"] = json!({"done": mib << 20, "total": 400 << 20, "unit": "bytes"});
    report(json!({
        "conditions": [condition("GuestConverged/family", "false", "InProgress", "`backup_guest` is under way")],
        "guests": [guest(2, "running", 2048)],
        "archives": [archive(2, 60 * 30, false)],
        "operations": [running],
    }))
}

/// A hostile hub asked for destruction; the box refused.
pub(crate) async fn refused(hub: &Hub) -> TestBox {
    let home = box_with_spec(hub, "szabo", 13).await;
    let ask = async |kind: &str, params: Value| {
        let body = json!({"kind": kind, "params": params});
        hub.call(Method::POST, "/boxes/szabo/jobs", body).await.1
    };
    let reclaim = ask("reclaim_guest", json!({"guest": "family"})).await;
    let destroy = ask("destroy_guest", json!({"guest": "family", "force": true})).await;
    let mut operation = operation(3, "reclaim_guest", "refused", 12);
    operation["steps"] = json!([]);
    operation["asked_for"] = json!("job of ada");
    operation["asked_by"] = json!(format!("job:{}", reclaim["id"].as_str().unwrap()));
    operation["verdict"] = json!("refused: not a tombstone");
    operation["reason"] =
        json!("guest family is a tenant, not a tombstone; only a retired guest can be reclaimed");
    operation["evidence"] = json!([
        {"key": "uuid", "value": uuid(3)}, {"key": "VMID", "value": "2000"}, {"key": "purpose", "value": "tenant"},
        {"key": "provenance", "value": "row and mark agree"}
    ]);
    let word = |job: &Value, message: &str, operation: Option<OperationId>| JobReport {
        id: serde_json::from_value(job["id"].clone()).unwrap(),
        state: "refused".into(),
        message: message.into(),
        operation,
    };
    let mut report = report(json!({
        "guests": [guest(3, "running", 4096)],
        "archives": [archive(3, 60 * 4, true)],
        "operations": [operation],
    }));
    report.receipts = vec![receipt(&home, 3, 60 * 4, false)];
    report.jobs = vec![
        word(&reclaim, "guest family is a tenant, not a tombstone", Some(id(12, 3))),
        word(&destroy, "there is no operation `destroy_guest`; unknown means destructive", None),
    ];
    tell(hub, &home, report).await;
    home
}

/// The app failed, the restore test failed, the backup is old.
pub(crate) async fn in_danger(hub: &Hub) -> TestBox {
    let home = box_with_spec(hub, "toth", 14).await;
    let mut failed = operation(4, "restore_guest", "needs_operator", 200);
    failed["reason"] = json!(
        "the copy 2800 holds `lock: create` and no task makes it any more; ways out: `retry`, `discard`"
    );
    let mut report = report(json!({
        "conditions": [condition("GuestConverged/family", "false", "LimitsDiffer", "memory 2048 → 4096 MiB")],
        "guests": [guest(4, "failed", 2048)],
        "archives": [archive(4, 60 * 71, false)],
        "operations": [failed],
    }));
    report.receipts = vec![receipt(&home, 4, 60 * 71, true)];
    tell(hub, &home, report).await;
    home
}

/// All of them, and one that was never enrolled; the one that is at work.
pub(crate) async fn fleet(hub: &Hub) -> TestBox {
    fine(hub).await;
    refused(hub).await;
    in_danger(hub).await;
    hub.ticket("varga", false).await;
    at_work(hub).await
}
