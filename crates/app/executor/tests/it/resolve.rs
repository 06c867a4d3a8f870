//! An operation that stands is led on by an operator's signature, in a way that it offers.

use std::fs;

use felhom_model::OperationState;
use felhom_protocol::status::Operation;
use serde_json::json;

use crate::backup_undo::{archives, standing};
use crate::bench::{Bench, provision};
use crate::crash::nothing_left_over;
use crate::people::{People, challenge};

/// Asks for a way out and signs it.
async fn resolved(bench: &Bench, people: &People, of: &Operation, way: &str) -> Operation {
    let params = json!({ "operation": of.id, "way": way });
    let op = bench.ask(&format!("resolve-{way}"), "resolve_operation", params).await;
    assert_eq!(op.state, OperationState::PendingAuthorization, "{}", op.verdict);
    assert_eq!(bench.client.operation(of.id).await.unwrap().state, OperationState::NeedsOperator);
    let (shown, asked) = challenge(bench, op.id).await;
    let said = |key: &str| {
        asked.evidence.facts.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    };
    assert_eq!(said("what"), Some(format!("{} of family", of.kind).as_str()), "{asked:?}");
    assert_eq!(said("stands_because"), of.reason.as_deref(), "{asked:?}");
    let labels: Vec<&str> = asked.targets.iter().map(|target| target.label.as_str()).collect();
    assert_eq!(labels, ["family"], "it concerns the guest of the operation that stands");
    assert_eq!(asked.evidence.would_be_lost.is_empty(), way != "roll_back", "{asked:?}");
    bench.client.answer(shown.digest, &people.sign("anna", &shown.signed.bytes)).await.unwrap();
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::Done, "{op:?}\n{}", bench.log());
    op
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_rolled_back_once_the_hindrance_is_gone() {
    let mut bench = Bench::start("").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let uuid = bench.tenant("family").await;
    let (stands, archive) = standing(&mut bench, uuid, "b").await;
    let retry = json!({ "operation": stands.id, "way": "retry" });
    let refused = bench.ask("retry", "resolve_operation", retry).await;
    assert_eq!(refused.state, OperationState::Refused);
    assert!(refused.verdict.starts_with("not_offered"), "{}", refused.verdict);
    let nobodys = json!({ "operation": felhom_model::OperationId::from_parts(7, 7), "way": "retry" });
    let refused = bench.ask("nobody's", "resolve_operation", nobodys).await;
    assert!(refused.verdict.contains("knows no operation of this id"), "{}", refused.verdict);
    fs::remove_file(format!("{}.protected", archive.display())).unwrap();
    resolved(&bench, &people, &stands, "roll_back").await;
    let op = bench.end(stands.id).await;
    assert_eq!(op.state, OperationState::RolledBack, "{op:?}\n{}", bench.log());
    assert!(archives(&bench).is_empty(), "its archive went with it");
    nothing_left_over(&bench, "rolled back").await;
    let again = json!({ "operation": stands.id, "way": "roll_back" });
    let again = bench.ask("again", "resolve_operation", again).await;
    assert_eq!(again.state, OperationState::Refused, "it does not stand any more: {}", again.verdict);
    assert!(again.verdict.contains("does not stand"), "{}", again.verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_accepted_as_it_is_and_the_guest_is_free_again() {
    let mut bench = Bench::start("").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let uuid = bench.tenant("family").await;
    let config = fs::read_to_string(bench.sim.path("executor.toml")).unwrap();
    let (stands, archive) = standing(&mut bench, uuid, "b").await;
    resolved(&bench, &people, &stands, "accept").await;
    let op = bench.end(stands.id).await;
    assert!(op.state.is_final() && op.state != OperationState::NeedsOperator, "{op:?}");
    assert!(archive.exists(), "what a person accepted is not touched");
    fs::write(bench.sim.path("executor.toml"), config).unwrap();
    bench.kill();
    bench.serve().await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
    bench.done("next", "backup_guest", ask).await;
    assert!(archive.exists() && archives(&bench).len() == 2);
}

/// Whoever can only ask could otherwise keep operators from the way out.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_ask_people_for_is_not_in_the_way() {
    let mut bench = Bench::start("max_guests = 1").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let uuid = bench.tenant("family").await;
    let (stands, archive) = standing(&mut bench, uuid, "b").await;
    fs::remove_file(format!("{}.protected", archive.display())).unwrap();
    for n in 0..9 {
        let op = bench.ask(&format!("p-{n}"), "provision_guest", provision(&format!("guest-{n}"))).await;
        let wanted = if n < 8 { OperationState::PendingAuthorization } else { OperationState::Refused };
        assert_eq!(op.state, wanted, "{n}: {}", op.verdict);
        assert!(n < 8 || op.verdict.contains("too_many_challenges"), "{}", op.verdict);
    }
    resolved(&bench, &people, &stands, "roll_back").await;
}
