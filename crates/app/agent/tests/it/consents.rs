//! Challenges, confirmations, vetoes and rollbacks of guests: carried for the guest itself and for nobody else.

use crate::agent::World;
use crate::executor::{attestation_key, uuid};
use crate::guests::{archive, client, world};
use felhom_client::Error;
use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind, OperationState};
use felhom_protocol::local_api::{RollbackPhase, RollbackRequest, RollbackStatus};
use felhom_protocol::{SignedBytes, status};
use felhom_signing::Key;
use felhom_signing::challenge::{Asked, CHALLENGE_VERSION, Challenge, Signers, Stakes, Target};
use felhom_signing::consent::{Armored, Confirmation, Veto, confirm};
use jiff::Timestamp;
use serde_json::json;

/// A challenge with these targets, which these customers may confirm.
pub(crate) fn challenge(
    operation: OperationId,
    targets: &[GuestUuid],
    customers: &[GuestUuid],
) -> status::Challenge {
    let target = |guest: &GuestUuid| Target {
        uuid: Some(*guest),
        vmid: None,
        volids: vec![],
        durable_id: None,
        bytes: 1,
        label: "family".to_owned(),
        config_digest: None,
    };
    let document = Challenge {
        v: CHALLENGE_VERSION,
        box_id: BoxId::from_random([4; 16]),
        enrolment_epoch: 1,
        challenge_id: Digest::of(operation.to_string().as_bytes()),
        seq: 1,
        issued_at: Timestamp::now(),
        expires_at: Timestamp::now(),
        boot_id: "boot".to_owned(),
        operation: Asked {
            id: operation,
            kind: OperationKind::RetireGuest,
            params: json!({}),
            asked_by: "local".to_owned(),
            reason: "test".to_owned(),
            grace_s: 0,
        },
        targets: targets.iter().map(target).collect(),
        evidence: Stakes::default(),
        requires: vec![Signers { operators: 1, customers: customers.to_vec() }],
        operators_version: 1,
    };
    let key = Key::from_seed(&[3; 32]);
    assert_eq!(key.public(), attestation_key());
    let signed: SignedBytes = document.issue(&key).unwrap().into();
    let digest = Digest::of(&signed.bytes);
    // What is not signed is not looked at: all say that they concern the first guest.
    status::Challenge { digest, operation, guest: Some(uuid(1)), signed, left_s: 60, consented: vec![] }
}

pub(crate) fn confirmation(challenge: Digest, object: GuestUuid) -> Armored {
    let document = Confirmation {
        v: 1,
        challenge,
        object,
        typed: "family".to_owned(),
        at: Timestamp::now(),
        boottime_ms: 1,
        boot_id: "boot".to_owned(),
    };
    confirm(&Key::from_seed(&[1; 32]), &document).unwrap()
}

pub(crate) fn veto(operation: OperationId, object: Option<GuestUuid>) -> Armored {
    let box_id = BoxId::from_random([4; 16]);
    let veto = Veto {
        v: 1,
        box_id,
        veto: operation,
        object,
        act: None,
        reason: String::new(),
        at: Timestamp::now(),
    };
    veto.sign(&Key::from_seed(&[1; 32])).unwrap()
}

/// Status and word of a refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> (Option<u16>, Option<String>) {
    let error = answer.unwrap_err();
    (error.status(), error.refusal().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_and_answers_only_what_names_it() {
    let world = world("").await;
    world.executor.lock().slow = vec!["backup_guest", "stop_guest"];
    let (id, other) = (OperationId::from_parts(7, 1), OperationId::from_parts(7, 2));
    let mine = challenge(id, &[uuid(1)], &[uuid(1)]);
    let heir = challenge(id, &[uuid(8)], &[uuid(1)]);
    let theirs = challenge(other, &[uuid(2)], &[uuid(2)]);
    let unreadable = status::Challenge {
        signed: SignedBytes { bytes: b"{}".to_vec(), signature: mine.signed.signature },
        ..mine.clone()
    };
    world.executor.lock().challenges = vec![mine.clone(), theirs.clone(), heir.clone(), unreadable];
    let guest = client(&world, "token-1");
    assert_eq!(guest.challenges().await.unwrap(), [mine.clone(), heir.clone()]);
    assert_eq!(client(&world, "token-2").challenges().await.unwrap(), std::slice::from_ref(&theirs));

    // The answers pass as they are.
    world.hub.job(1, "stop_guest", json!({ "guest": "family" }));
    let of_job = || world.executor.asked("stop_guest").pop();
    world.until("the job is asked for", of_job).await;
    let good = confirmation(mine.digest, uuid(1));
    guest.confirm(mine.digest, &good).await.unwrap();
    let no = veto(id, Some(uuid(1)));
    guest.veto(id, &no).await.unwrap();
    let answered = std::mem::take(&mut world.executor.lock().answered);
    assert_eq!(answered, [(mine.digest.to_string(), good.clone()), (id.to_string(), no)]);

    // Nothing else does, and what exists gets the same words as what does not.
    let not_yours = (Some(403), Some("not_yours".to_owned()));
    let nothing = Digest::of(b"nothing");
    for (digest, signed) in [
        (theirs.digest, confirmation(theirs.digest, uuid(1))),
        (nothing, confirmation(nothing, uuid(1))),
        (mine.digest, confirmation(mine.digest, uuid(2))),
        (mine.digest, confirmation(theirs.digest, uuid(1))),
        (theirs.digest, good.clone()),
        (mine.digest, veto(id, Some(uuid(1)))),
    ] {
        assert_eq!(refused(guest.confirm(digest, &signed).await), not_yours);
    }
    let stranger = client(&world, "token-2");
    assert_eq!(refused(stranger.confirm(mine.digest, &good).await), not_yours);
    for (operation, signed) in [
        (other, veto(other, Some(uuid(1)))),
        (OperationId::from_parts(9, 9), veto(OperationId::from_parts(9, 9), Some(uuid(1)))),
        (id, veto(id, Some(uuid(2)))),
        (id, veto(id, None)),
        (id, veto(other, Some(uuid(1)))),
        (id, good),
    ] {
        assert_eq!(refused(guest.veto(operation, &signed).await), not_yours);
    }
    assert!(world.executor.lock().answered.is_empty(), "the executor was not bothered");
}

/// In its grace an operation has no challenge any more: it is known by the guest that it concerns.
#[tokio::test(flavor = "multi_thread")]
async fn a_veto_in_the_grace_concerns_the_guest_or_its_tombstone() {
    let world = world("").await;
    world.executor.lock().asking = vec!["reclaim_guest", "retire_guest"];
    let mut tombstone = crate::executor::tenant(5, "old");
    tombstone.purpose = "tombstone".to_owned();
    tombstone.succeeded_by = Some(uuid(1));
    world.executor.add(tombstone);
    world.hub.job(1, "retire_guest", json!({ "guest": uuid(5) }));
    world.until("asked for", || world.executor.asked("retire_guest").pop()).await;
    let id = *world.executor.lock().operations.keys().next_back().unwrap();
    let (heir, stranger) = (client(&world, "token-1"), client(&world, "token-2"));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while let Err(error) = heir.veto(id, &veto(id, Some(uuid(1)))).await {
        assert!(std::time::Instant::now() < end, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(refused(stranger.veto(id, &veto(id, Some(uuid(2)))).await).0, Some(403));
    assert_eq!(world.executor.lock().answered.len(), 1);
}

async fn reaches(world: &World, phase: RollbackPhase) -> RollbackStatus {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(15);
    loop {
        // An agent that was started again serves elsewhere.
        let guest = client(world, "token-1");
        if let Ok(Some(status)) = guest.rollback().await
            && status.phase == phase
        {
            return status;
        }
        assert!(std::time::Instant::now() < end, "{phase:?}: {:?}\n{}", guest.rollback().await, world.log());
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_one_thing_through_restarts_and_waits_for_the_customer() {
    let mut world = world("").await;
    {
        let mut inner = world.executor.lock();
        (inner.slow, inner.asking) = (vec!["restore_guest"], vec!["cutover_guest"]);
        let volid = "local:backup/a.tar.zst".parse().unwrap();
        inner.archives.push(archive(volid, OperationId::from_parts(1, 1)));
    }
    let guest = client(&world, "token-1");
    assert_eq!(guest.rollback().await.unwrap(), None);
    let volid = "local:backup/a.tar.zst";
    let ask = RollbackRequest { archive: Some(volid.parse().unwrap()) };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while guest.roll_back(&ask).await.is_err() {
        assert!(std::time::Instant::now() < end, "the archive is soon known");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let foreign = RollbackRequest { archive: Some("local:backup/b.tar.zst".parse().unwrap()) };
    assert_eq!(refused(guest.roll_back(&foreign).await).0, Some(403));
    assert_eq!(refused(client(&world, "token-2").roll_back(&ask).await).0, Some(403), "another's archive");
    assert_eq!(client(&world, "token-2").rollback().await.unwrap(), None);
    let restore = world.until("the restore", || world.executor.asked("restore_guest").pop()).await;
    assert_eq!(restore.params, json!({ "guest": uuid(1), "archive": volid }));
    assert_eq!(restore.asked_by, "guest");
    assert_eq!(guest.roll_back(&ask).await.unwrap().phase, RollbackPhase::Restoring, "asked twice is once");
    let other = RollbackRequest { archive: None };
    assert_eq!(refused(guest.roll_back(&other).await).1, Some("another_under_way".to_owned()));

    world.kill();
    let id = *world.executor.lock().operations.keys().next_back().unwrap();
    world.executor.end(id, OperationState::Done);
    world.start();
    let waits = reaches(&world, RollbackPhase::Confirm).await;
    let cutover = world.until("the cutover", || world.executor.asked("cutover_guest").pop()).await;
    assert_eq!(cutover.params, json!({ "guest": uuid(1), "copy": uuid(9) }));
    world.kill();
    world.start();
    let asked = world.until("known", || world.executor.lock().operations.keys().next_back().copied()).await;
    reaches(&world, RollbackPhase::Confirm).await;
    assert_eq!(waits.restore, Some(id));
    world.executor.end(asked, OperationState::Done);
    let done = reaches(&world, RollbackPhase::Done).await;
    assert_eq!((done.cutover, done.message), (Some(asked), None));
    for kind in ["restore_guest", "cutover_guest"] {
        assert_eq!(world.executor.asked(kind).len(), 1, "{kind}");
    }
    assert!(world.executor.asked("discard_restored_copy").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_nobody_confirms_leaves_no_copy_and_the_next_one_is_another() {
    let world = world("").await;
    world.executor.lock().asking = vec!["cutover_guest"];
    let guest = client(&world, "token-1");
    guest.roll_back(&RollbackRequest::default()).await.unwrap();
    let waits = world.until("the cutover", || world.executor.asked("cutover_guest").pop()).await;
    let id = *world.executor.lock().operations.keys().next_back().unwrap();
    world.executor.end(id, OperationState::Expired);
    reaches(&world, RollbackPhase::Failed).await;
    let discard = world.executor.asked("discard_restored_copy");
    assert_eq!(discard.len(), 1);
    assert_eq!(discard[0].params, json!({ "guest": uuid(9) }));
    guest.roll_back(&RollbackRequest::default()).await.unwrap();
    let again = world
        .until("another cutover", || {
            world.executor.asked("cutover_guest").pop().filter(|again| again.request_id != waits.request_id)
        })
        .await;
    assert!(again.request_id.contains(":rollback:1:"), "{again:?}");
}
