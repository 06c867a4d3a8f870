//! `needs_operator` and its ways out: retry, roll back, accept; each once, each with its own approval.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use felhom_journal::testing::{Fault, FaultyStore, MemoryStore, Trouble, When};
use felhom_journal::{
    BeginError, Begun, Event, JournalStore, Operation, ResolveError, Runner, State, StepState, WayOut,
};

use crate::people::nth;
use crate::toy::{
    Approved, Ended, FailAt, STEPS, Toy, World, approved, approved_for, approved_way, body, decision,
    envelope, id, life, runner, runner_of,
};

/// An operation that stands, and what made it stand.
async fn standing(store: Arc<dyn JournalStore>, world: &World) -> (Arc<Runner<Toy>>, Operation) {
    let runner = runner(store, world);
    runner.begin(envelope(), approved()).unwrap();
    let op = runner.wait(id()).await.unwrap();
    assert_eq!(op.state, State::NeedsOperator);
    (runner, op)
}

fn resolve(runner: &Arc<Runner<Toy>>, way: WayOut, approved: &Approved) -> Result<Operation, ResolveError> {
    runner.resolve(id(), decision(way), approved)
}

/// Failure, point of no return → what is offered.
fn stands() -> Vec<(World, Vec<WayOut>)> {
    use WayOut::{Accept, Retry, RollBack};
    let world = |n, at, no_return| World { fail: Some((n, at)), no_return, ..World::default() };
    vec![
        (world(1, FailAt::Unclear, None), vec![Retry, RollBack, Accept]),
        (world(2, FailAt::Unclear, Some(3)), vec![Retry, RollBack, Accept]),
        (world(2, FailAt::Unclear, Some(2)), vec![Retry, Accept]),
        (world(2, FailAt::BeforeEffect, Some(2)), vec![Retry, Accept]),
        (world(2, FailAt::AfterEffect, Some(2)), vec![Retry, Accept]),
        (world(3, FailAt::Confirm, Some(2)), vec![Retry]),
    ]
}

#[tokio::test]
async fn each_way_that_is_offered_leads_to_its_end_and_no_other_is_taken() {
    for (plan, offered) in stands() {
        for way in [WayOut::Retry, WayOut::RollBack, WayOut::Accept] {
            let world = World { healed: Arc::default(), inside: Arc::default(), ..plan.clone() };
            let (runner, op) = standing(Arc::new(MemoryStore::default()), &world).await;
            assert_eq!(op.ways_out(), offered, "{:?} {:?}", plan.fail, plan.no_return);
            let context = format!("{:?} {:?} {way:?}", plan.fail, plan.no_return);
            if !offered.contains(&way) {
                let refused = resolve(&runner, way, &approved_way(id(), way));
                assert!(matches!(refused, Err(ResolveError::NotOffered { .. })), "{context}");
                assert_eq!(runner.journal().get(id()).unwrap().unwrap(), op, "{context}");
                continue;
            }
            // An approval of the operation itself, of another one, or of another way is none.
            let another = [WayOut::Retry, WayOut::Accept].into_iter().find(|w| *w != way).unwrap();
            for not in [approved(), approved_way(nth(9).id, way), approved_way(id(), another)] {
                assert!(matches!(resolve(&runner, way, &not), Err(ResolveError::NotForThis(_))), "{context}");
            }
            let before = world.things();
            world.healed.store(true, Ordering::SeqCst);
            resolve(&runner, way, &approved_way(id(), way)).unwrap();
            let op = runner.wait(id()).await.unwrap();
            match way {
                WayOut::Retry => {
                    assert_eq!((op.state, world.things().len()), (State::Done, STEPS.len()), "{context}");
                    assert!(op.steps.iter().all(|s| s.failure.is_none()), "{context}");
                    let puts = world.effects().iter().filter(|e| e.starts_with("put")).count();
                    assert_eq!(puts, STEPS.len(), "{context}: the probe found what was there");
                }
                WayOut::RollBack => {
                    assert_eq!((op.state, world.things().len()), (State::RolledBack, 0), "{context}");
                    assert_eq!(op.reason.as_deref(), Some("looked at it"), "{context}");
                }
                WayOut::Accept => {
                    assert_eq!(
                        (op.state, world.things()),
                        (State::RolledBack, before),
                        "{context}: nothing is touched"
                    );
                    assert_eq!(op.reason.as_deref(), Some("cleared by hand: looked at it"), "{context}");
                    assert!(
                        op.steps.iter().all(|s| matches!(s.state, StepState::Undone | StepState::Planned))
                    );
                }
            }
            let again = resolve(&runner, way, &approved_way(id(), way));
            assert!(matches!(again, Err(ResolveError::NotStanding { .. })), "{context}");
        }
    }
}

#[tokio::test]
async fn a_failed_retry_stands_again_and_a_stuck_undo_goes_on() {
    let world = World { fail: Some((2, FailAt::BeforeEffect)), no_return: Some(2), ..World::default() };
    let (runner, _) = standing(Arc::new(MemoryStore::default()), &world).await;
    for _ in 0..3 {
        resolve(&runner, WayOut::Retry, &approved_way(id(), WayOut::Retry)).unwrap();
        let op = runner.wait(id()).await.unwrap();
        assert_eq!((op.state, op.steps[2].state), (State::NeedsOperator, StepState::Failed));
    }

    let world = World { fail: Some((1, FailAt::Undo)), ..World::default() };
    let runner = self::runner(Arc::new(MemoryStore::default()), &world);
    runner.journal_start(envelope(), &approved()).unwrap();
    let canceller = Arc::clone(&runner);
    let act = move || {
        canceller.cancel(id(), "no".to_owned(), serde_json::Value::Null).unwrap();
    };
    *world.meanwhile.lock().unwrap() = Some((12, Box::new(act)));
    let op = runner.run(id(), Some(approved())).await.unwrap();
    assert_eq!((op.state, op.steps[1].state), (State::NeedsOperator, StepState::Undoing));
    assert_eq!(op.ways_out(), [WayOut::RollBack, WayOut::Accept]);
    world.healed.store(true, Ordering::SeqCst);
    resolve(&runner, WayOut::RollBack, &approved_way(id(), WayOut::RollBack)).unwrap();
    assert_eq!(runner.wait(id()).await.unwrap().state, State::RolledBack);
    assert!(world.things().is_empty());
}

/// Each write of the resolution and of what follows fails: the next life ends the same way, each effect at most once.
#[tokio::test]
async fn a_crash_at_each_write_keeps_the_decision_or_the_stand() {
    for (plan, offered) in stands() {
        for (way, when) in offered.into_iter().flat_map(|w| [(w, When::Before), (w, When::After)]) {
            for at in 1.. {
                let store = MemoryStore::default();
                let world = World { healed: Arc::default(), inside: Arc::default(), ..plan.clone() };
                standing(Arc::new(store.clone()), &world).await;
                world.healed.store(true, Ordering::SeqCst);
                let fault = Fault { at, when, trouble: Trouble::Io };
                let faulty = FaultyStore::new(Arc::new(store.clone()), Some(fault));
                let runner = runner(faulty, &world);
                let resolved = runner.journal_resolve(id(), decision(way), &approved_way(id(), way));
                let ended = match resolved {
                    Ok(_) => runner.run(id(), None).await.is_ok(),
                    Err(_) => false,
                };
                let again = life(Arc::new(store.clone()), &world.next_process(None)).await;
                let Ended::Finished(op) = again else { panic!("{again:?}") };
                let decided = store.load(id()).unwrap().unwrap().events;
                let decided = decided.iter().any(|e| matches!(e.event, Event::Resolved { .. }));
                let end = match way {
                    _ if !decided => State::NeedsOperator,
                    WayOut::Retry => State::Done,
                    WayOut::RollBack | WayOut::Accept => State::RolledBack,
                };
                assert_eq!(op.state, end, "{:?} {way:?} {when:?} {at}", plan.fail);
                let puts = world.effects().iter().filter(|e| e.starts_with("put")).count();
                assert!(puts <= STEPS.len());
                if ended {
                    break;
                }
            }
        }
    }
}

/// What stands gave its slot up: it goes on only when that is free again.
#[tokio::test]
async fn it_takes_its_slot_back_before_it_goes_on() {
    let failing = World { fail: Some((1, FailAt::Unclear)), ..World::default() };
    let worlds = vec![failing.clone(), World::default()];
    let runner = runner_of(Arc::new(MemoryStore::default()), worlds);
    let (first, second) = (body(0, &["guest:a", "slot:backup"]), body(1, &["guest:b", "slot:backup"]));
    runner.begin(envelope(), approved_for(first.clone())).unwrap();
    assert_eq!(runner.wait(id()).await.unwrap().state, State::NeedsOperator);
    match runner.begin(nth(5), approved_for(first)) {
        Err(BeginError::Busy { claim, .. }) => assert_eq!(claim, "guest:a"),
        other => panic!("{other:?}"),
    }
    let Ok(Begun::New(other)) = runner.journal_start(nth(6), &approved_for(second.clone())) else { panic!() };
    failing.healed.store(true, Ordering::SeqCst);
    match resolve(&runner, WayOut::Retry, &approved_way(id(), WayOut::Retry)) {
        Err(ResolveError::Busy { by, claim }) => {
            assert_eq!((by, claim.as_str()), (other.id(), "slot:backup"))
        }
        other => panic!("{other:?}"),
    }
    runner.run(other.id(), Some(approved_for(second))).await.unwrap();
    resolve(&runner, WayOut::Retry, &approved_way(id(), WayOut::Retry)).unwrap();
    assert_eq!(runner.wait(id()).await.unwrap().state, State::Done);
}

/// After an update the program may not know a kind's version any more: a person decides, nothing is guessed.
#[tokio::test]
async fn an_unknown_kind_version_needs_an_operator() {
    let store = MemoryStore::default();
    let world = World { crash_at: Some(9), ..World::default() };
    assert!(matches!(life(Arc::new(store.clone()), &world).await, Ended::Crashed));
    let begun = store.load(id()).unwrap().unwrap();
    // The same journal, as a program finds it that knows only another version.
    let other = MemoryStore::default();
    let mut new = begun.new.clone();
    new.body.kind_version = 7;
    let mut op = Operation::pending(new);
    for recorded in &begun.events {
        op.apply(recorded).unwrap();
    }
    let events: Vec<Event> = begun.events.into_iter().map(|e| e.event).collect();
    other.create(&events, &op).unwrap();
    let before = world.effects();
    let runner = runner(Arc::new(other), &world.next_process(None));
    assert_eq!(runner.recover().resumed, [id()]);
    let op = runner.wait(id()).await.unwrap();
    assert_eq!(op.state, State::NeedsOperator);
    assert_eq!(op.reason.as_deref(), Some("kind put version 7 is not known here"));
    assert_eq!(world.effects(), before, "nothing was done");
    assert!(op.ways_out().contains(&WayOut::Accept));
}
