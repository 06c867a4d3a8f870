//! Local root stops what runs: it is taken back, and what cannot be taken back goes on.

use felhom_model::{GuestUuid, OperationState};
use serde_json::json;

use crate::bench::{Bench, within};
use crate::crash::nothing_left_over;
use crate::killed::fault;
use crate::people::People;

/// A backup whose worker stands still while it writes the archive.
async fn held_backup(bench: &Bench, uuid: GuestUuid) -> String {
    fault(bench, &["set", r#"{"at": "vzdump.archive", "do": "hold"}"#]);
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
    let op = bench.ask("b", "backup_guest", ask).await;
    let dumping = async || {
        let op = bench.client.operation(op.id).await.unwrap();
        op.steps.iter().any(|step| step.name == "vzdump" && step.state == "running")
    };
    assert!(within(std::time::Duration::from_secs(30), dumping).await);
    op.id.to_string()
}

fn cancel(bench: &Bench, id: &str) -> (i32, String) {
    let ended = bench.sim.executor(&["ops", "cancel", id, "--reason", "the disk is wanted"]);
    (ended.code, ended.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_backup_is_taken_back_and_twice_is_once() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let id = held_backup(&bench, uuid).await;
    for _ in 0..2 {
        let (code, said) = cancel(&bench, &id);
        assert_eq!(code, 0, "{said}");
    }
    // Its worker still stands where it is held: nobody waits for the archive.
    let op = bench.end(id.parse().unwrap()).await;
    fault(&bench, &["clear"]);
    assert_eq!(op.state, OperationState::RolledBack, "{op:?}");
    let reason = op.reason.unwrap();
    assert!(reason.contains("cancelled by local root: the disk is wanted"), "{reason}");
    nothing_left_over(&bench, "cancelled").await;
    let (code, said) = cancel(&bench, &id);
    assert_eq!(code, 0, "it is taken back already: {said}");
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
    let good = bench.done("again", "backup_guest", ask).await;
    let (code, said) = cancel(&bench, &good.id.to_string());
    assert!(code == 1 && said.contains("is done"), "{said}");
    let (code, said) = cancel(&bench, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    assert!(code == 1 && said.contains("not in the journal"), "{said}");
}

/// What waits for people is ended by a veto that is signed, not by an unsigned word.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_people_is_not_cancelled() {
    let mut bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    People::on(&mut bench, &["ada"]).await;
    let op = bench.ask("r", "retire_guest", json!({ "guest": uuid })).await;
    assert_eq!(op.state, OperationState::PendingAuthorization);
    let (code, said) = cancel(&bench, &op.id.to_string());
    assert!(code == 1 && said.contains("waits_for_people") && said.contains("felhom veto"), "{said}");
    assert_eq!(bench.client.operation(op.id).await.unwrap().state, OperationState::PendingAuthorization);
}
