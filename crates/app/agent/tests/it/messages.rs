//! Challenges go up, what people say goes down, and what the executor makes of it comes back; nothing is judged in between.

use crate::agent::World;
use crate::executor::tenant;
use crate::people::{ada, signed_by, veto};
use felhom_model::{Digest, MessageId, OperationId};
use felhom_protocol::hub_sync::{Outcome, Said};
use felhom_protocol::status;
use felhom_signing::Key;
use serde_json::json;

/// A box whose guest is to be retired, and waits for it.
async fn asked() -> (World, status::Challenge) {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.executor.lock().asks_people = vec!["retire_guest"];
    world.hub.job(1, "retire_guest", json!({ "guest": "family" }));
    let told = || world.hub.last_report()?.challenges.first().cloned();
    let challenge = world.until("the challenge at the hub", told).await;
    (world, challenge)
}

async fn judged(world: &World, id: MessageId) -> Outcome {
    world.until("the box's word", || world.hub.lock().judged.iter().find(|o| o.id == id).cloned()).await
}

async fn job_is(world: &World, state: &str) {
    let in_state =
        |report: felhom_protocol::hub_sync::Report| report.jobs.iter().any(|job| job.state == state);
    let seen = || {
        let over = world.hub.lock().finished.iter().any(|job| job.state == state);
        (over || world.hub.last_report().is_some_and(in_state)).then_some(())
    };
    world.until(state, seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_reaches_the_hub_as_it_is_and_its_answer_the_executor() {
    let (world, challenge) = asked().await;
    assert_eq!(challenge.signed, world.executor.lock().people.challenges[0].signed, "byte for byte");
    assert_eq!(challenge.digest, Digest::of(&challenge.signed.bytes));
    job_is(&world, "pending_authorization").await;
    let signature = signed_by(&ada(), &challenge.signed.bytes);
    let id = world.hub.say(1, Said::Answer { challenge: challenge.digest, signature });
    let outcome = judged(&world, id).await;
    assert!(outcome.accepted && outcome.code.is_none(), "{outcome:?}");
    job_is(&world, "waiting").await;
    let gone = || world.hub.last_report().is_some_and(|r| r.challenges.is_empty() && r.outcomes.is_empty());
    world.until("what the hub knows is forgotten", || gone().then_some(())).await;
    let operation = *world.executor.lock().operations.keys().next_back().unwrap();
    let id = world.hub.say(2, Said::Veto { operation, signed: veto(operation) });
    assert!(judged(&world, id).await.accepted);
    job_is(&world, "vetoed").await;
}

/// Whoever sits in between can drop what people say; it cannot change it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_or_forged_on_the_way_is_refused_and_the_challenge_stays_open() {
    let (world, challenge) = asked().await;
    let digest = challenge.digest;
    let good = signed_by(&ada(), &challenge.signed.bytes);
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    let middle = lines.len() / 2;
    let flipped = if lines[middle].starts_with('A') { "B" } else { "A" };
    lines[middle].replace_range(..1, flipped);
    let altered = lines.join("\n") + "\n";
    let of_other_bytes = signed_by(&ada(), b"another challenge");
    let by_stranger = signed_by(&Key::from_seed(&[1; 32]), &challenge.signed.bytes);
    for (n, signature, code) in [
        (1, altered, None),
        (2, of_other_bytes, Some("signature_mismatch")),
        (3, by_stranger, Some("unknown_key")),
        (4, "no signature".to_owned(), None),
    ] {
        let id = world.hub.say(n, Said::Answer { challenge: digest, signature });
        let outcome = judged(&world, id).await;
        assert!(!outcome.accepted, "{n}");
        assert!(outcome.code.is_some() && !outcome.message.is_empty(), "{outcome:?}");
        assert!(code.is_none_or(|code| outcome.code.as_deref() == Some(code)), "{outcome:?}");
    }
    let other = Digest::of(b"not issued");
    let id = world.hub.say(5, Said::Answer { challenge: other, signature: good.clone() });
    assert_eq!(judged(&world, id).await.code.as_deref(), Some("challenge_not_open"));
    let nobody = OperationId::from_parts(9, 9);
    let operation = challenge.operation;
    let id = world.hub.say(6, Said::Veto { operation, signed: veto(nobody) });
    assert_eq!(judged(&world, id).await.code.as_deref(), Some("other_operation"));
    let id = world.hub.say(7, Said::Unknown);
    assert_eq!(judged(&world, id).await.code.as_deref(), Some("unknown_message"));
    assert_eq!(world.executor.lock().people.challenges[0].digest, digest, "still open");
    assert!(world.executor.lock().people.counted.is_empty());
    let id = world.hub.say(8, Said::Answer { challenge: digest, signature: good });
    assert!(judged(&world, id).await.accepted, "the real one counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_counted_unheard_is_told_as_one_that_counts() {
    let (mut world, challenge) = asked().await;
    world.executor.lock().people.fail = 1;
    let signature = signed_by(&ada(), &challenge.signed.bytes);
    let id = world.hub.say(1, Said::Answer { challenge: challenge.digest, signature });
    let counted = || (!world.executor.lock().people.counted.is_empty()).then_some(());
    world.until("it counts", counted).await;
    world.kill();
    world.start();
    assert!(judged(&world, id).await.accepted);
    assert_eq!(world.executor.lock().people.counted.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_lived_challenge_replaces_the_open_one() {
    let (world, challenge) = asked().await;
    let id = world.hub.say(1, Said::Renew { challenge: challenge.digest });
    let outcome = judged(&world, id).await;
    let new = outcome.challenge.unwrap();
    assert_ne!(new, challenge.digest);
    let told = || {
        let report = world.hub.last_report()?;
        report.challenges.into_iter().find(|c| c.digest == new).filter(|c| c.left_s > 3600)
    };
    world.until("the new one at the hub", told).await;
    let id = world.hub.say(2, Said::Renew { challenge: challenge.digest });
    assert_eq!(judged(&world, id).await.code.as_deref(), Some("challenge_not_open"));
}
