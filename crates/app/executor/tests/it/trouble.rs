//! Things go wrong: no heartbeat, a death during undo, no freeze, a host that is gone, somebody else's restart.

use std::time::Duration;

use felhom_model::{GuestUuid, OperationState};
use felhom_protocol::executor::OperationRequest;
use felhom_protocol::local_api::BackupPhase;
use felhom_pve::{Endpoint, NodeName, Polling, Pve};
use serde_json::{Value, json};

use crate::bench::{Bench, provision, within};
use crate::sim::PASSWORD;

const SOON: &str = "timeouts.first_heartbeat_s = 1\ntimeouts.frozen_s = 1\n";

async fn nothing_stands(bench: &Bench, what: &str) {
    let seen = bench.client.observation().await.unwrap();
    assert!(seen.guests.is_empty() && seen.used_names.is_empty(), "{what}: {:?}", seen.guests);
    let left = std::fs::read_dir(bench.sim.path("pve/etc/pve/lxc")).unwrap().count();
    assert_eq!(left, 0, "{what}: configurations on the host");
    let volumes = std::fs::read_dir(bench.sim.path("pve/mnt/tank/images")).map(|d| {
        d.flatten()
            .filter(|e| std::fs::read_dir(e.path()).is_ok_and(|mut inside| inside.next().is_some()))
            .count()
    });
    assert_eq!(volumes.unwrap_or(0), 0, "{what}: volumes on the host");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_heartbeat_all_is_taken_back_also_across_a_death_at_each_call() {
    let mut bench = Bench::start(SOON).await;
    bench.silence();
    let op = bench.ask("p0", "provision_guest", provision("family")).await;
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::RolledBack);
    assert!(op.reason.unwrap().contains("no heartbeat"), "the reason stays");
    nothing_stands(&bench, "no heartbeat").await;

    // Restore and start are calls 1 and 2, then come stop and destroy of the undo.
    for (n, when) in [(3, "before"), (3, "after"), (4, "before"), (4, "after")] {
        let what = format!("dying {when} call {n}");
        bench.kill();
        bench.serve_crashing(n, when).await;
        let op = bench.ask(&format!("p-{n}-{when}"), "provision_guest", provision("family")).await;
        assert_ne!(op.state, OperationState::Refused, "{what}: the name is free again: {}", op.verdict);
        assert!(bench.died(op.id).await, "{what}");
        bench.serve().await;
        let op = bench.end(op.id).await;
        assert_eq!(op.state, OperationState::RolledBack, "{what}: {:?}", op.reason);
        nothing_stands(&bench, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_on_without_a_controller_and_says_so() {
    let bench = Bench::start(SOON.replace("timeouts.first_heartbeat_s = 1", "").as_str()).await;
    let uuid = bench.tenant("family").await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": true });
    let op = bench.ask("b", "backup_guest", ask).await;
    let granted = bench.client.backup(op.id, Some(BackupPhase::Requested), 20).await.unwrap();
    assert_eq!(granted.phase, BackupPhase::Granted);
    let request = OperationRequest {
        request_id: "s".to_owned(),
        kind: "stop_guest".to_owned(),
        params: json!({ "guest": uuid }),
        reason: "test".to_owned(),
        asked_by: "local".to_owned(),
    };
    let busy = bench.client.request(&request).await.unwrap_err();
    assert_eq!(busy.status().map(|s| s.to_owned()), Some(409), "{busy}");
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::Done);
    assert_eq!(op.result["consistency"], "crash_consistent");
    assert_eq!(op.result["without_freeze"], "the controller did not freeze in time");
    let test = bench.done("t", "restore_test", json!({ "guest": uuid })).await;
    assert_eq!((&test.result["verdict"], &test.result["level"]), (&json!("passed"), &json!("L3")));
    assert_eq!(bench.client.request(&request).await.unwrap().kind, "stop_guest", "not busy any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_gone_is_said_and_nothing_is_lost() {
    let mut bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    bench.client.observation().await.unwrap();
    bench.sim.gone();
    let seen = bench.client.observation().await.unwrap();
    assert!(!seen.pve_reachable && seen.guests.len() == 1, "{seen:?}");
    assert!(seen.error.unwrap().contains("cannot reach the server"));
    let request = OperationRequest {
        request_id: "s".to_owned(),
        kind: "stop_guest".to_owned(),
        params: json!({ "guest": uuid }),
        reason: "test".to_owned(),
        asked_by: "local".to_owned(),
    };
    let error = bench.client.request(&request).await.unwrap_err();
    assert_eq!(error.status(), Some(503), "{error}");
    bench.sim.again();
    assert_eq!(bench.end(bench.client.request(&request).await.unwrap().id).await.state, OperationState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_operation_outlives_a_host_that_is_gone_for_a_while() {
    let mut bench = Bench::start("timeouts.frozen_s = 2").await;
    let uuid = bench.tenant("family").await;
    let op =
        bench.ask("b", "backup_guest", json!({ "guest": uuid, "target": "local", "quiesced": true })).await;
    bench.client.backup(op.id, Some(BackupPhase::Requested), 20).await.unwrap();
    bench.sim.gone();
    bench.kill();
    bench.serve().await;
    let stalled = async || bench.log().contains("waits and tries again");
    assert!(within(Duration::from_secs(180), stalled).await);
    bench.sim.again();
    assert_eq!(bench.end(op.id).await.state, OperationState::Done);
}

/// Stops and starts a guest as root would.
async fn restart_by_root(bench: &Bench, uuid: GuestUuid) {
    let endpoint = Endpoint::new(&bench.sim.url, bench.sim.fingerprint.parse().unwrap()).unwrap();
    let root = Pve::login(endpoint, &"root@pam".parse().unwrap(), &PASSWORD.to_owned().into()).await.unwrap();
    let vmid = bench.guest(uuid).await.vmid;
    let guest = root.node(&NodeName::new("pve").unwrap()).guest(vmid);
    let upid = guest.stop().await.unwrap();
    root.task(&upid).wait(Polling::default()).await.unwrap();
    let upid = guest.start().await.unwrap();
    root.task(&upid).wait(Polling::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_somebody_else_restarted_gets_its_token_again() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let vmid = bench.guest(uuid).await.vmid;
    let read = || -> Value {
        serde_json::from_slice(&bench.cat(vmid, "/run/felhom/bootstrap.json").unwrap_or_default())
            .unwrap_or_default()
    };
    let (first, token) = (read(), bench.cat(vmid, "/run/felhom/token"));
    restart_by_root(&bench, uuid).await;
    let again = async || read()["boot_nonce"].is_string() && bench.cat(vmid, "/run/felhom/token") == token;
    assert!(within(Duration::from_secs(40), again).await, "{}", bench.log());
    assert_ne!(read()["boot_nonce"], first["boot_nonce"]);
}

/// What two operations choose at the same time is each one's own.
#[tokio::test(flavor = "multi_thread")]
async fn guests_that_are_made_at_once_stand_apart() {
    let bench = Bench::start("max_guests = 9").await;
    let names = ["attic", "family", "office"];
    let asked = names.map(|name| async {
        let op = bench.ask(name, "provision_guest", provision(name)).await;
        bench.end(op.id).await
    });
    for op in futures_util::future::join_all(asked).await {
        assert_eq!(op.state, OperationState::Done, "{:?}", op.reason);
    }
    let guests = bench.client.observation().await.unwrap().guests;
    let vmids: std::collections::BTreeSet<_> = guests.iter().map(|guest| guest.vmid).collect();
    assert_eq!(vmids.len(), names.len(), "{guests:?}");
}
