//! Cancelling: heeded at the next safe moment, also after a crash, and never past a point of no return.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use felhom_journal::testing::{Fault, FaultyStore, MemoryStore, Trouble, When};
use felhom_journal::{
    CancelError, Event, JournalStore as _, NoticeBody, Operation, RetryPolicy, State, StepState,
};
use serde_json::{Value, json};

use crate::people::nth;
use crate::toy::{Ended, FailAt, STEPS, World, approved, body, envelope, id, life, runner, runner_with};

type Answer = Arc<Mutex<Option<Result<Operation, CancelError>>>>;

/// Begins and runs the operation; at a point of the world somebody cancels it.
async fn run_cancelled(
    store: Arc<dyn felhom_journal::JournalStore>,
    world: &World,
    at: u64,
) -> (Ended, Answer) {
    let runner = runner(store, world);
    let answer: Answer = Arc::default();
    let (canceller, answered) = (Arc::clone(&runner), Arc::clone(&answer));
    let act = move || {
        *answered.lock().unwrap() =
            Some(canceller.cancel(id(), "changed my mind".to_owned(), json!("customer")));
    };
    *world.meanwhile.lock().unwrap() = Some((at, Box::new(act)));
    if runner.journal_start(envelope(), &approved()).is_err() {
        return (Ended::JournalBroke, answer);
    }
    let ended = tokio::select! {
        ended = runner.run(id(), Some(approved())) => {
            ended.map_or(Ended::JournalBroke, |op| Ended::Finished(Box::new(op)))
        }
        () = world.crashed.notified() => Ended::Crashed,
    };
    (ended, answer)
}

fn intended_after_cancel(store: &MemoryStore) -> usize {
    let events = store.load(id()).unwrap().unwrap().events;
    let cancelled = events.iter().position(|e| matches!(e.event, Event::CancelRequested { .. }));
    let after = cancelled.map_or(&[][..], |n| &events[n..]);
    after.iter().filter(|e| matches!(e.event, Event::StepIntended { .. })).count()
}

#[tokio::test]
async fn at_each_point_it_is_undone_or_too_late() {
    for cancellable in [false, true] {
        for no_return in [None, Some(0), Some(2), Some(3)] {
            for at in 1.. {
                let store = MemoryStore::default();
                let world = World { cancellable, no_return, ..World::default() };
                let (ended, answer) = run_cancelled(Arc::new(store.clone()), &world, at).await;
                let Ended::Finished(op) = ended else { panic!("{ended:?}") };
                let context = format!("at {at}, no return {no_return:?}, cancellable {cancellable}");
                let answer = answer.lock().unwrap().take();
                match answer {
                    None => {
                        assert_eq!(op.state, State::Done, "{context}");
                        break;
                    }
                    Some(Ok(_)) => {
                        assert_eq!(op.state, State::RolledBack, "{context}");
                        assert_eq!(op.reason.as_deref(), Some("cancelled: changed my mind"));
                        assert_eq!(op.cancel.unwrap().by, json!("customer"));
                        assert!(world.things().is_empty(), "{context}: {:?}", world.things());
                        assert_eq!(intended_after_cancel(&store), 0, "{context}");
                    }
                    Some(Err(CancelError::PastNoReturn { step, .. })) => {
                        assert_eq!(no_return.map(|n| STEPS[n]), Some(step.as_str()), "{context}");
                        assert_eq!((op.state, op.cancel.as_ref()), (State::Done, None), "{context}");
                    }
                    Some(Err(other)) => panic!("{context}: {other}"),
                }
            }
        }
    }
}

/// The wish is journaled first: whatever dies after it, the next life undoes.
#[tokio::test]
async fn a_crash_after_the_wish_still_cancels() {
    let mut seen = 0;
    for cancel_at in 1..=20 {
        for crash_at in cancel_at.. {
            let store = MemoryStore::default();
            let world = World { crash_at: Some(crash_at), ..World::default() };
            let (ended, answer) = run_cancelled(Arc::new(store.clone()), &world, cancel_at).await;
            assert!(matches!(*answer.lock().unwrap(), Some(Ok(_))));
            let crashed = matches!(ended, Ended::Crashed);
            let again = life(Arc::new(store.clone()), &world.next_process(None)).await;
            let Ended::Finished(op) = again else { panic!("{again:?}") };
            assert_eq!(op.state, State::RolledBack, "cancelled at {cancel_at}, crash at {crash_at}");
            assert!(world.things().is_empty());
            assert_eq!(intended_after_cancel(&store), 0);
            seen += 1;
            if !crashed {
                break;
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

/// Each write fails, the one of the wish included: after it, the end is one of the two.
#[tokio::test]
async fn a_failed_write_leaves_it_cancelled_or_not_asked() {
    for when in [When::Before, When::After] {
        for at in 1.. {
            let store = MemoryStore::default();
            let fault = Fault { at, when, trouble: Trouble::NoSpace };
            let world = World::default();
            let faulty = FaultyStore::new(Arc::new(store.clone()), Some(fault));
            let (ended, _) = run_cancelled(faulty, &world, 8).await;
            let again = life(Arc::new(store.clone()), &world.next_process(None)).await;
            let Ended::Finished(op) = again else { panic!("{again:?}") };
            match op.cancel {
                Some(_) => assert_eq!((op.state, world.things().len()), (State::RolledBack, 0)),
                None => assert_eq!((op.state, world.things().len()), (State::Done, STEPS.len())),
            }
            if !matches!(ended, Ended::JournalBroke) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn asking_again_changes_nothing_and_what_has_not_started_is_vetoed() {
    let world = World::default();
    let runner = runner(Arc::new(MemoryStore::default()), &world);
    let cancel = |id| runner.cancel(id, "no".to_owned(), json!("customer"));
    let waiting = nth(7).id;
    runner.propose(nth(7), body(0, &["world"]), "needs it".to_owned(), Value::Null).unwrap();
    let vetoed = cancel(waiting).unwrap();
    assert_eq!((vetoed.state, vetoed.reason.as_deref()), (State::Vetoed, Some("no")));
    assert_eq!(cancel(waiting).unwrap(), vetoed);

    runner.journal_start(envelope(), &approved()).unwrap();
    let asked = cancel(id()).unwrap();
    assert_eq!(asked.state, State::Running);
    assert_eq!(cancel(id()).unwrap(), asked);
    let op = runner.run(id(), Some(approved())).await.unwrap();
    assert_eq!((op.state, world.effects().len()), (State::RolledBack, 0));
    assert_eq!(cancel(id()).unwrap(), op);

    runner.journal_start(nth(8), &approved()).unwrap();
    runner.run(nth(8).id, Some(approved())).await.unwrap();
    assert!(matches!(cancel(nth(8).id), Err(CancelError::Done(_))));
    assert!(matches!(cancel(nth(9).id), Err(CancelError::Journal(_))));
}

/// A step that waits for something outside is not waited for.
#[tokio::test]
async fn a_pause_between_two_tries_ends_when_somebody_cancels() {
    let world = World { away: true, ..World::default() };
    let hour = Duration::from_secs(3600);
    let retry = RetryPolicy { first: hour, longest: hour, give_up: hour };
    let runner = runner_with(Arc::new(MemoryStore::default()), vec![world], retry);
    let mut notices = runner.journal().subscribe();
    runner.begin(envelope(), approved()).unwrap();
    while !matches!(notices.recv().await.unwrap().body, NoticeBody::Stalled { .. }) {}
    runner.cancel(id(), "enough".to_owned(), json!("customer")).unwrap();
    let op = runner.wait(id()).await.unwrap();
    assert_eq!((op.state, op.steps[0].state), (State::RolledBack, StepState::Undone));
}

/// An act that never ends by itself: one that may be dropped is, the other one sees the wish and ends.
#[tokio::test]
async fn an_act_is_dropped_only_if_it_may_be() {
    for cancellable in [true, false] {
        let world = World { cancellable, endless: Some(1), ..World::default() };
        let runner = runner(Arc::new(MemoryStore::default()), &world);
        runner.begin(envelope(), approved()).unwrap();
        world.acting.notified().await;
        runner.cancel(id(), "enough".to_owned(), json!("customer")).unwrap();
        let op = runner.wait(id()).await.unwrap();
        assert_eq!((op.state, world.things().len()), (State::RolledBack, 0));
        let said = op.steps[1].failure.as_deref();
        assert_eq!(said, if cancellable { None } else { Some("two: saw the wish to cancel") });
        assert_eq!(op.reason.as_deref(), Some("cancelled: enough"));
    }
}

#[tokio::test]
async fn what_stands_offers_its_ways_out_instead() {
    let world = World { fail: Some((2, FailAt::Unclear)), ..World::default() };
    let runner = runner(Arc::new(MemoryStore::default()), &world);
    runner.begin(envelope(), approved()).unwrap();
    assert_eq!(runner.wait(id()).await.unwrap().state, State::NeedsOperator);
    let error = runner.cancel(id(), "no".to_owned(), json!("customer")).unwrap_err();
    assert!(error.to_string().ends_with("choose one of retry, roll_back, accept"), "{error}");
}
