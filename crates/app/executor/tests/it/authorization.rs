//! What needs people's signatures waits for them, and goes on with them only.

use felhom_client::Error;
use felhom_model::{BoxId, Digest, OperationId, OperationKind, OperationState};
use felhom_protocol::executor::BoxIdentity;
use felhom_protocol::status::Operation;
use felhom_signing::consent::{Act, Waiting};
use serde_json::json;

use crate::bench::{Bench, provision, within};
use crate::people::{People, challenge, confirmation, waiting};

/// The word of a refusal.
fn word(answer: Result<Operation, Error>) -> String {
    match answer {
        Ok(op) => format!("{}", op.state),
        Err(e) => e.refusal().unwrap_or_default().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_retired_with_one_signature_and_reclaimed_with_all_of_them() {
    let mut bench = Bench::start("grace_s = 1").await;
    let people = People::on(&mut bench, &["anna", "bela"]).await;
    let family = bench.tenant("family").await;
    let vmid = bench.guest(family).await.vmid;

    let retire = bench.ask("r1", "retire_guest", json!({ "guest": family })).await;
    assert_eq!(retire.state, OperationState::PendingAuthorization, "{retire:?}");
    let again = bench.ask("r2", "retire_guest", json!({ "guest": family })).await;
    assert_eq!(again.id, retire.id, "the same question is asked once");
    let (shown, asked) = challenge(&bench, retire.id).await;
    assert_eq!(asked.targets[0].label, "family");
    assert_eq!(asked.targets[0].vmid, Some(vmid));
    assert!(asked.targets[0].bytes >= 1 << 30 && asked.targets[0].config_digest.is_some());
    people.make("mallory");
    let by = |name: &str| people.sign(name, &shown.signed.bytes);
    assert_eq!(word(bench.client.answer(shown.digest, &by("mallory")).await), "unknown_key");
    let altered = [&shown.signed.bytes[..], b" "].concat();
    let elsewhere = people.sign("anna", &altered);
    assert_eq!(word(bench.client.answer(shown.digest, &elsewhere).await), "signature_mismatch");
    assert_eq!(bench.guest(family).await.power, "running", "nothing happens without a good signature");
    bench.client.answer(shown.digest, &by("anna")).await.unwrap();
    let done = bench.end(retire.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}\n{}", bench.log());
    let tombstone = bench.guest(family).await;
    assert_eq!((tombstone.power.as_str(), tombstone.purpose.as_str()), ("stopped", "tombstone"));
    assert!(tombstone.protection);
    let config = std::fs::read_to_string(bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf"))).unwrap();
    assert!(config.contains("link_down=1") && !config.contains("onboot: 1"), "{config}");
    assert_eq!(word(bench.client.answer(shown.digest, &by("anna")).await), "challenge_not_open", "used once");

    let start = bench.ask("s1", "start_guest", json!({ "guest": family })).await;
    assert_eq!(start.state, OperationState::Refused);
    let reclaim = bench.ask("c1", "reclaim_guest", json!({ "guest": family })).await;
    let (shown, asked) = challenge(&bench, reclaim.id).await;
    let needed = &asked.requires[0];
    assert_eq!((needed.operators, needed.customers.clone()), (2, vec![family]), "no backup of it is proven");
    assert!(!asked.evidence.would_be_lost.is_empty() && asked.operation.grace_s == 1);
    let by = |name: &str| people.sign(name, &shown.signed.bytes);
    for name in ["anna", "anna", "bela"] {
        let op = bench.client.answer(shown.digest, &by(name)).await.unwrap();
        assert_eq!(op.state, OperationState::PendingAuthorization, "two operators alone do not suffice");
    }
    let confirmed = confirmation(&shown, &asked, family);
    let op = bench.client.confirm(shown.digest, &confirmed).await.unwrap();
    assert_eq!(op.state, OperationState::Waiting, "{op:?}");
    let done = bench.end(reclaim.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}\n{}", bench.log());
    assert!(!bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf")).exists());
    let waited = done.ended.unwrap().duration_since(op.created);
    assert!(waited >= jiff::SignedDuration::from_secs(1), "not before its grace was over: {waited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_veto_in_the_grace_ends_it_and_a_restart_in_between_forgets_nothing() {
    let mut bench = Bench::start("grace_s = 3600").await;
    let people = People::on(&mut bench, &["anna", "bela"]).await;
    let family = bench.tenant("family").await;
    let retire = bench.ask("r1", "retire_guest", json!({ "guest": family })).await;
    let (shown, _) = challenge(&bench, retire.id).await;
    bench.client.answer(shown.digest, &people.sign("bela", &shown.signed.bytes)).await.unwrap();
    assert_eq!(bench.end(retire.id).await.state, OperationState::Done);

    let reclaim = bench.ask("c1", "reclaim_guest", json!({ "guest": family })).await;
    let (shown, asked) = challenge(&bench, reclaim.id).await;
    bench.client.answer(shown.digest, &people.sign("anna", &shown.signed.bytes)).await.unwrap();
    bench.kill();
    bench.serve().await;
    let (again, _) = challenge(&bench, reclaim.id).await;
    assert_eq!(again.digest, shown.digest, "within one boot a restart of the executor changes nothing");
    assert_eq!(again.consented, ["operator anna"]);
    bench.client.answer(shown.digest, &people.sign("bela", &shown.signed.bytes)).await.unwrap();
    let confirmed = confirmation(&shown, &asked, family);
    let op = bench.client.confirm(shown.digest, &confirmed).await.unwrap();
    assert_eq!(op.state, OperationState::Waiting, "{op:?}");
    bench.kill();
    bench.serve().await;
    assert_eq!(bench.client.operation(reclaim.id).await.unwrap().state, OperationState::Waiting);

    people.make("mallory");
    let forged = people.veto("mallory", reclaim.id);
    assert_eq!(word(bench.client.veto(reclaim.id, &forged).await), "unknown_key");
    let op = bench.client.veto(reclaim.id, &people.veto("anna", reclaim.id)).await.unwrap();
    assert_eq!(op.state, OperationState::Vetoed, "{op:?}");
    assert!(op.reason.unwrap().contains("operator anna"));
    assert_eq!(bench.guest(family).await.purpose, "tombstone");
}

/// A challenge is void after a reboot, and the signatures to it are, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_before_a_reboot_is_asked_for_again() {
    let mut bench = Bench::start("max_guests = 0").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let family = bench.ask("p1", "provision_guest", provision("family")).await;
    let (first, _) = challenge(&bench, family.id).await;
    bench.client.answer(first.digest, &people.sign("anna", &first.signed.bytes)).await.unwrap();
    let family = bench.end(family.id).await.guest.unwrap();
    let retire = bench.ask("r1", "retire_guest", json!({ "guest": family })).await;
    let (shown, _) = challenge(&bench, retire.id).await;
    bench.client.answer(shown.digest, &people.sign("anna", &shown.signed.bytes)).await.unwrap();
    assert_eq!(bench.end(retire.id).await.state, OperationState::Done);
    let reclaim = bench.ask("c1", "reclaim_guest", json!({ "guest": family })).await;
    let (before, _) = challenge(&bench, reclaim.id).await;
    bench.client.answer(before.digest, &people.sign("anna", &before.signed.bytes)).await.unwrap();
    assert_eq!(challenge(&bench, reclaim.id).await.0.consented, ["operator anna"]);

    bench.kill();
    let database = rusqlite::Connection::open(bench.sim.path("executor/executor.db")).unwrap();
    database.execute("UPDATE challenge SET boot = 'the one before' WHERE open = 1", []).unwrap();
    drop(database);
    bench.serve().await;
    let anew = async || {
        let open = bench.client.challenges().await.unwrap();
        open.iter().any(|c| c.operation == reclaim.id && c.digest != before.digest && c.consented.is_empty())
    };
    assert!(within(std::time::Duration::from_secs(20), anew).await, "{}", bench.log());
    let late = bench.client.answer(before.digest, &people.sign("anna", &before.signed.bytes)).await;
    assert_eq!(word(late), "challenge_not_open");
}

/// A new operators' file comes into force after its grace, signed by the thresholds of both; its keys sign nothing before.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_12_operators_follow_each_other_one_by_one() {
    let mut bench = Bench::start("grace_s = 2").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let family = bench.tenant("family").await;
    let next = people.next_file(2, &["anna", "cili"]);
    let params = |version: u64, signers: &[&str]| people.rotation(version, &next, signers);
    let alone = bench.ask("o1", "rotate_operators", params(2, &["cili"])).await;
    assert!(alone.verdict.starts_with("not_signed_by_both"), "{alone:?}");
    let jump = bench.ask("o2", "rotate_operators", params(3, &["anna", "cili"])).await;
    assert!(jump.verdict.starts_with("other_document"), "{jump:?}");
    let rotate = bench.ask("o3", "rotate_operators", params(2, &["anna", "cili"])).await;
    assert_eq!(rotate.state, OperationState::Waiting, "{rotate:?}");
    let retire = bench.ask("r1", "retire_guest", json!({ "guest": family })).await;
    let (shown, _) = challenge(&bench, retire.id).await;
    let early = bench.client.answer(shown.digest, &people.sign("cili", &shown.signed.bytes)).await;
    assert_eq!(word(early), "unknown_key", "not before it is in force");
    assert_eq!(bench.end(rotate.id).await.state, OperationState::Done, "{}", bench.log());
    bench.client.answer(shown.digest, &people.sign("cili", &shown.signed.bytes)).await.unwrap();
    assert_eq!(bench.end(retire.id).await.state, OperationState::Done);
    let again = bench.ask("o4", "rotate_operators", params(2, &["anna", "cili"])).await;
    assert!(again.verdict.starts_with("not_the_next_version"), "never back: {again:?}");
}

/// Invariant 6: what was signed for must still be what is there.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_a_target_that_changed_is_asked_about_anew() {
    let mut bench = Bench::start("grace_s = 3600").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let family = bench.tenant("family").await;
    let vmid = bench.guest(family).await.vmid.to_string();
    let retire = bench.ask("r1", "retire_guest", json!({ "guest": family })).await;
    let (first, _) = challenge(&bench, retire.id).await;
    let changed = bench.ask("m1", "configure_guest", json!({ "guest": family, "memory_mib": 300 })).await;
    assert_eq!(bench.end(changed.id).await.state, OperationState::Done, "waiting holds nothing from others");
    let op = bench.client.answer(first.digest, &people.sign("anna", &first.signed.bytes)).await.unwrap();
    assert_eq!(op.state, OperationState::PendingAuthorization, "{op:?}");
    let anew = async || {
        let open = bench.client.challenges().await.unwrap();
        open.iter().any(|c| c.operation == retire.id && c.digest != first.digest && c.consented.is_empty())
    };
    assert!(within(std::time::Duration::from_secs(20), anew).await, "{}", bench.log());
    assert_eq!(bench.guest(family).await.power, "running", "guest {vmid} was not touched");
    let (second, _) = challenge(&bench, retire.id).await;
    bench.client.answer(second.digest, &people.sign("anna", &second.signed.bytes)).await.unwrap();
    assert_eq!(bench.end(retire.id).await.state, OperationState::Done);
}

/// A rotation asks nobody, so no challenge says what it is: the box signs that, and one key of the version in force stops it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_its_grace_is_vetoed_by_one_operator_without_a_challenge() {
    let mut bench = Bench::start("grace_s = 3600").await;
    let people = People::on(&mut bench, &["anna", "bela"]).await;
    let next = people.next_file(2, &["anna", "cili"]);
    let ask = async |request: &str| {
        let params = people.rotation(2, &next, &["anna", "cili"]);
        bench.ask(request, "rotate_operators", params).await
    };
    let rotate = ask("o1").await;
    assert_eq!(rotate.state, OperationState::Waiting, "{rotate:?}");
    assert!(bench.client.challenges().await.unwrap().is_empty());
    let says = waiting(&bench, rotate.id).await;
    let act = Act {
        enrolment_epoch: says.act.enrolment_epoch,
        kind: OperationKind::RotateOperators,
        what: Digest::of(&next),
    };
    assert_eq!((says.waiting, says.act, says.grace_s), (rotate.id, act, 3600));
    let shown = bench.client.observation().await.unwrap();
    let left = shown.active.iter().find(|op| op.id == rotate.id).unwrap().grace.clone().unwrap().left_s;
    assert!(left <= 3600 && left > 3500, "{left}");

    people.make("mallory");
    let refused = async |name: &str, says: Waiting| {
        word(bench.client.veto(rotate.id, &people.veto_against(name, &says)).await)
    };
    assert_eq!(refused("mallory", says.clone()).await, "unknown_key");
    assert_eq!(
        refused("cili", says.clone()).await,
        "unknown_key",
        "a key of the next version counts not yet"
    );
    let other = Waiting { box_id: BoxId::from_random([4; 16]), ..says.clone() };
    assert_eq!(refused("anna", other).await, "other_box");
    let other = Waiting { waiting: OperationId::from_parts(1, 1), ..says.clone() };
    assert_eq!(refused("anna", other).await, "other_operation");
    let other = Waiting { act: Act { what: Digest::of(b"another file"), ..act }, ..says.clone() };
    assert_eq!(refused("anna", other).await, "other_act");
    let other = Waiting { act: Act { kind: OperationKind::ReclaimGuest, ..act }, ..says.clone() };
    assert_eq!(refused("anna", other).await, "other_act");

    // Enrolled anew: what was signed before counts no more, and the rotation waits with a word of the new enrolment.
    let identity = BoxIdentity { box_id: says.box_id, epoch: 2 };
    bench.client.set_box(&identity).await.unwrap();
    let waits = async || bench.client.operation(rotate.id).await.unwrap().state == OperationState::Waiting;
    assert!(within(std::time::Duration::from_secs(20), waits).await, "{}", bench.log());
    assert_eq!(refused("anna", says.clone()).await, "other_epoch");
    let anew = waiting(&bench, rotate.id).await;
    assert!(anew.act.enrolment_epoch > act.enrolment_epoch);
    let veto = people.veto_against("bela", &anew);
    let op = bench.client.veto(rotate.id, &veto).await.unwrap();
    assert_eq!(op.state, OperationState::Vetoed, "{op:?}");
    assert!(op.reason.unwrap().contains("operator bela") && op.grace.is_none());
    let op = bench.client.veto(rotate.id, &veto).await.unwrap();
    assert_eq!(op.state, OperationState::Vetoed, "said twice, it is the same veto");

    let again = ask("o2").await;
    assert_eq!((again.state, again.id == rotate.id), (OperationState::Waiting, false));
    assert_eq!(
        word(bench.client.veto(again.id, &veto).await),
        "other_operation",
        "it stops one operation only"
    );
    bench.kill();
    bench.serve().await;
    assert_eq!(waiting(&bench, again.id).await.act.what, act.what);
}
