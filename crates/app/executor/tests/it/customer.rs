//! The customer's side: told past hub and agent, confirming and vetoing with the guest's key.

use std::time::Duration;

use felhom_client::Error;
use felhom_model::{BoxId, GuestUuid, OperationId, OperationState};
use felhom_protocol::SignedBytes;
use felhom_protocol::notices::{Acknowledged, Answers, NOTICES_VERSION, Notice, NoticeStage, Notices};
use felhom_protocol::status::Operation;
use felhom_signing::challenge::Challenge;
use felhom_signing::consent::{Armored, Confirmation, Veto, confirm};
use felhom_signing::{Context, Key, Signed};
use serde_json::{Value, json};

use crate::bench::{Bench, guest_key, within};
use crate::people::{People, challenge, confirmation};

const SOON: Duration = Duration::from_secs(60);

fn word(answer: Result<Operation, Error>) -> String {
    match answer {
        Ok(op) => format!("{}", op.state),
        Err(e) => e.refusal().unwrap_or_default().to_owned(),
    }
}

/// What the guest is told now, checked with the box's key.
async fn told(bench: &Bench, guest: GuestUuid) -> Option<Vec<Notice>> {
    let seen = bench.client.observation().await.unwrap();
    let vmid = seen.guests.iter().find(|g| g.uuid == Some(guest))?.vmid;
    let signed: SignedBytes = serde_json::from_slice(&bench.cat(vmid, "/run/felhom/notices.json")?).unwrap();
    let bytes = Signed::from(signed).verify(&seen.attestation_key, Context::Notices).unwrap();
    let notices: Notices = serde_json::from_slice(bytes.get()).unwrap();
    assert_eq!((notices.v, notices.guest), (NOTICES_VERSION, guest));
    Some(notices.notices)
}

/// Waits until the newest notice in the guest is of this operation at this stage.
async fn until_told(bench: &Bench, guest: GuestUuid, of: OperationId, stage: NoticeStage) -> Notice {
    let mut last = None;
    let there = async || {
        let notices = told(bench, guest).await.unwrap_or_default();
        last = notices.into_iter().rfind(|n| n.operation == of && n.stage == stage);
        last.is_some()
    };
    assert!(within(SOON, there).await, "{stage:?} was never told: {}", bench.log());
    last.unwrap()
}

/// What the customer says in the guest, for the executor to fetch.
async fn say(bench: &Bench, (guest, key): (GuestUuid, &Key), seen: Vec<Acknowledged>, vetoes: Vec<Armored>) {
    let answers = Answers { v: NOTICES_VERSION, guest, acknowledged: seen, vetoes };
    let signed = Signed::new(key, Context::Answers, serde_json::to_vec(&answers).unwrap());
    let file = bench.sim.path("answers.json");
    std::fs::write(&file, serde_json::to_vec(&SignedBytes::from(signed)).unwrap()).unwrap();
    let vmid = bench.guest(guest).await.vmid.to_string();
    let pushed = bench.pct(&["push", &vmid, file.to_str().unwrap(), "/run/felhom/answers.json"]);
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
}

fn veto(guest: GuestUuid, operation: OperationId, key: &Key) -> Armored {
    let veto = Veto {
        v: 1,
        box_id: BoxId::from_random([3; 16]),
        veto: operation,
        object: Some(guest),
        act: None,
        reason: "I need it".to_owned(),
        at: jiff::Timestamp::now(),
    };
    veto.sign(key).unwrap()
}

/// Changes a confirmation before it is signed, by whatever key.
fn changed(good: &Armored, key: &Key, change: impl FnOnce(&mut Confirmation)) -> Armored {
    let mut document: Confirmation = serde_json::from_slice(&good.bytes).unwrap();
    change(&mut document);
    confirm(key, &document).unwrap()
}

async fn waits(bench: &Bench, key: &str, kind: &str, params: Value) -> Operation {
    let op = bench.ask(key, kind, params).await;
    assert_eq!(op.state, OperationState::PendingAuthorization, "{op:?}");
    op
}

#[tokio::test(flavor = "multi_thread")]
async fn the_customer_alone_retires_the_own_guest_and_nobody_elses() {
    let mut bench = Bench::start("max_guests = 2").await;
    let _people = People::on(&mut bench, &["anna"]).await;
    let (family, others) = (bench.tenant("family").await, bench.tenant("others").await);
    let retire = waits(&bench, "r1", "retire_guest", json!({ "guest": family })).await;
    let (shown, asked) = challenge(&bench, retire.id).await;
    let notice = until_told(&bench, family, retire.id, NoticeStage::Consent).await;
    assert_eq!((notice.about, notice.label.as_str(), notice.reason.as_str()), (family, "family", "test"));
    assert_eq!(told(&bench, others).await, None, "it is not the other customer's business");

    let good = confirmation(&shown, &asked, family);
    let (own, stolen) = (guest_key(), Key::from_seed(&[1; 32]));
    for (hostile, code) in [
        (changed(&good, &own, |c| c.object = others), "other_object"),
        (changed(&good, &stolen, |c| c.object = others), "unknown_key"),
        (changed(&good, &stolen, |_| ()), "unknown_key"),
        (changed(&good, &own, |c| c.typed = "others".to_owned()), "typed_other"),
        (changed(&good, &own, |c| c.boottime_ms -= 601_000), "confirmation_expired"),
        (changed(&good, &own, |c| c.boot_id = "other".to_owned()), "other_boot"),
        (veto(family, retire.id, &own), "confirmation_malformed"),
    ] {
        assert_eq!(word(bench.client.confirm(shown.digest, &hostile).await), code);
    }
    // Whoever has no say counts as nobody's customer, and is no operator.
    assert_eq!(word(bench.client.veto(retire.id, &veto(others, retire.id, &own)).await), "other_namespace");
    assert_eq!(word(bench.client.veto(retire.id, &veto(family, retire.id, &stolen)).await), "unknown_key");
    assert_eq!(bench.guest(family).await.power, "running");

    bench.client.confirm(shown.digest, &good).await.unwrap();
    let done = bench.end(retire.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}\n{}", bench.log());
    assert_eq!(done.steps[0].name, "tell", "{done:?}");
    assert!(done.steps[0].outcome.as_ref().unwrap().contains(&family.to_string()), "{done:?}");
    let tombstone = bench.guest(family).await;
    assert_eq!((tombstone.purpose.as_str(), tombstone.power.as_str()), ("tombstone", "stopped"));
    assert_eq!(bench.guest(others).await.power, "running");
    assert_eq!(word(bench.client.confirm(shown.digest, &good).await), "challenge_not_open", "used once");
}

/// A tombstone with a successor: family's earlier container.
async fn tombstone(bench: &Bench, family: GuestUuid) -> GuestUuid {
    bench.done("b1", "backup_guest", json!({ "guest": family, "target": "local" })).await;
    let copy = bench.done("r1", "restore_guest", json!({ "guest": family })).await.guest.unwrap();
    let cutover = waits(bench, "c1", "cutover_guest", json!({ "guest": family, "copy": copy })).await;
    let (shown, asked) = challenge(bench, cutover.id).await;
    bench.client.confirm(shown.digest, &confirmation(&shown, &asked, family)).await.unwrap();
    let done = bench.end(cutover.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}\n{}", bench.log());
    copy
}

/// Everybody signs the reclaim; it is in its grace then.
async fn signed_by_all(bench: &Bench, people: &People, key: &str, tombstone: GuestUuid) -> Operation {
    let reclaim = waits(bench, key, "reclaim_guest", json!({ "guest": tombstone })).await;
    let (shown, asked): (_, Challenge) = challenge(bench, reclaim.id).await;
    let customer = asked.requires[0].customers[0];
    for name in ["anna", "bela"] {
        bench.client.answer(shown.digest, &people.sign(name, &shown.signed.bytes)).await.unwrap();
    }
    let op = bench.client.confirm(shown.digest, &confirmation(&shown, &asked, customer)).await.unwrap();
    assert_eq!(op.state, OperationState::Waiting, "{op:?}");
    op
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heir_of_a_tombstone_is_told_and_vetoes_its_reclaim_in_the_grace_without_an_agent() {
    let mut bench = Bench::start("grace_s = 3600\ntimeouts.ask_guest_s = 1").await;
    let people = People::on(&mut bench, &["anna", "bela"]).await;
    let family = bench.tenant("family").await;
    let tombstone = tombstone(&bench, family).await;
    let reclaim = signed_by_all(&bench, &people, "x1", tombstone).await;
    let grace = until_told(&bench, family, reclaim.id, NoticeStage::Grace).await;
    assert_eq!((grace.about, grace.label.as_str()), (tombstone, "family"));
    assert!(grace.grace_s > 3000 && grace.grace_s <= 3600, "{grace:?}");

    let own = guest_key();
    let stolen = Key::from_seed(&[1; 32]);
    // Neither another key's answers nor a veto that another key signed within good ones does anything.
    say(&bench, (family, &stolen), vec![grace.acknowledged()], vec![veto(family, reclaim.id, &own)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    say(&bench, (family, &own), vec![], vec![veto(family, reclaim.id, &stolen)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.client.operation(reclaim.id).await.unwrap().state, OperationState::Waiting);
    assert!(told(&bench, family).await.unwrap().contains(&grace), "still to be seen");

    // What was seen can still be vetoed.
    say(&bench, (family, &own), vec![grace.acknowledged()], vec![]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(told(&bench, family).await.unwrap().contains(&grace), "it can still be vetoed");
    say(&bench, (family, &own), vec![], vec![veto(family, reclaim.id, &own)]).await;
    let vetoed = async || bench.client.operation(reclaim.id).await.unwrap().state == OperationState::Vetoed;
    assert!(within(SOON, vetoed).await, "{}", bench.log());
    let op = bench.client.operation(reclaim.id).await.unwrap();
    assert!(op.reason.unwrap().contains(&format!("vetoed by customer {family}")));
    assert_eq!(bench.guest(tombstone).await.purpose, "tombstone");

    let last = until_told(&bench, family, reclaim.id, NoticeStage::Vetoed).await;
    say(&bench, (family, &own), vec![last.acknowledged()], vec![]).await;
    let quiet = async || {
        let left = told(&bench, family).await.unwrap_or_default();
        !left.iter().any(|notice| notice.operation == reclaim.id)
    };
    assert!(within(SOON, quiet).await, "an acknowledged notice goes: {}", bench.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_was_started_again_is_told_again_and_one_that_does_not_run_holds_nothing_up() {
    let mut bench = Bench::start("").await;
    let _people = People::on(&mut bench, &["anna"]).await;
    let family = bench.tenant("family").await;
    let retire = waits(&bench, "r1", "retire_guest", json!({ "guest": family })).await;
    until_told(&bench, family, retire.id, NoticeStage::Consent).await;
    bench.done("s1", "reboot_guest", json!({ "guest": family })).await;
    until_told(&bench, family, retire.id, NoticeStage::Consent).await;
    bench.done("s2", "stop_guest", json!({ "guest": family })).await;
    let (shown, asked) = challenge(&bench, retire.id).await;
    bench.client.confirm(shown.digest, &confirmation(&shown, &asked, family)).await.unwrap();
    let done = bench.end(retire.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}\n{}", bench.log());
    assert!(done.steps[0].outcome.as_ref().unwrap().contains("it does not run"), "{done:?}");
}
