//! operation × failure × crash point, a second crash during recovery included.

use std::sync::{Arc, Mutex};

use felhom_journal::testing::{Fault, FaultyStore, MemoryStore, Trouble, When};
use felhom_journal::{BeginError, Begun, JournalStore as _, Operation, State, StepState};

use crate::toy::{Ended, FailAt, STEPS, World, approved, envelope, id, life, runner};

fn plans() -> Vec<World> {
    let mut plans = Vec::new();
    for blind in [false, true] {
        for no_return in [None, Some(0), Some(2), Some(3)] {
            let base = World { blind, no_return, ..World::default() };
            plans.push(base.clone());
            for n in 0..STEPS.len() {
                for at in [FailAt::Intent, FailAt::BeforeEffect, FailAt::AfterEffect, FailAt::Confirm] {
                    plans.push(World { fail: Some((n, at)), ..base.clone() });
                }
            }
        }
    }
    plans
}

/// A world of its own with the same plan.
fn fresh(plan: &World) -> World {
    World { fail: plan.fail, no_return: plan.no_return, blind: plan.blind, ..World::default() }
}

fn expected(plan: &World) -> State {
    match (plan.fail, plan.no_return) {
        (None, _) => State::Done,
        (Some((n, at)), Some(point)) if n > point || (n == point && at != FailAt::Intent) => {
            State::NeedsOperator
        }
        (Some(_), _) => State::RolledBack,
    }
}

fn judge(op: &Operation, world: &World, plan: &World, what: &str) {
    let context =
        format!("{what}: fail {:?}, no return {:?}, blind {}", plan.fail, plan.no_return, plan.blind);
    // A crash right after the effect forgets the injected failure: the probe finds the effect, and it goes on.
    let forgotten = matches!(plan.fail, Some((_, FailAt::AfterEffect))) && !plan.blind;
    if !(forgotten && op.state == State::Done) {
        assert_eq!(op.state, expected(plan), "{context}");
    }
    match op.state {
        State::Done => {
            assert_eq!(world.things().len(), STEPS.len(), "{context}");
            assert!(op.steps.iter().all(|s| s.state == StepState::Confirmed), "{context}");
        }
        State::RolledBack => assert!(world.things().is_empty(), "{context}: {:?}", world.things()),
        other => assert_eq!(other, State::NeedsOperator, "{context}"),
    }
    if !plan.blind {
        for thing in STEPS {
            let puts = world.effects().iter().filter(|e| **e == format!("put thing-{thing}")).count();
            assert!(puts <= 1, "{context}: {thing} acted {puts} times");
        }
    }
}

async fn finish(store: &MemoryStore, world: &World) -> Operation {
    match life(Arc::new(store.clone()), &world.next_process(None)).await {
        Ended::Finished(op) => *op,
        other => panic!("the last life ended as {other:?}"),
    }
}

#[tokio::test]
async fn each_failure_unwinds_and_each_crash_recovers_to_the_same_end() {
    for plan in plans() {
        let mut first = 1;
        loop {
            let mut second = 1;
            let mut first_crashed;
            loop {
                let store = MemoryStore::default();
                let world = World { crash_at: Some(first), ..fresh(&plan) };
                let ended = life(Arc::new(store.clone()), &world).await;
                first_crashed = matches!(ended, Ended::Crashed);
                let again = world.next_process(Some(second));
                let ended = life(Arc::new(store.clone()), &again).await;
                let op = finish(&store, &again).await;
                judge(&op, &world, &plan, &format!("crash at {first}, then at {second}"));
                // A second crash is enumerated for a part of the plans only, for time.
                let deep = !plan.blind && matches!(plan.no_return, None | Some(2));
                if !deep || !matches!(ended, Ended::Crashed) {
                    break;
                }
                second += 1;
            }
            if !first_crashed {
                break;
            }
            first += 1;
        }
    }
}

#[tokio::test]
async fn a_failed_journal_write_stops_all_side_effects_and_recovery_ends_it() {
    for plan in plans() {
        for (when, trouble) in [(When::Before, Trouble::NoSpace), (When::After, Trouble::Io)] {
            let mut at = 1;
            loop {
                let store = MemoryStore::default();
                let faulty = FaultyStore::new(Arc::new(store.clone()), Some(Fault { at, when, trouble }));
                let world = fresh(&plan);
                let ended = life(faulty.clone(), &world).await;
                if matches!(ended, Ended::JournalBroke) {
                    let before = world.effects().len();
                    tokio::task::yield_now().await;
                    assert_eq!(world.effects().len(), before, "no effect after the failed write");
                    assert_eq!(faulty.writes().len() as u64, at, "no write after the failed one");
                }
                let op = finish(&store, &world).await;
                judge(&op, &world, &plan, &format!("write {at} fails {when:?}"));
                let found = store.events_after(0, usize::MAX).unwrap();
                let there = |(id, seq): &(_, u64)| found.iter().any(|(i, e)| i == id && e.seq == *seq);
                assert!(faulty.acknowledged().iter().all(there), "an acknowledged event is never lost");
                if !matches!(ended, Ended::JournalBroke) {
                    break;
                }
                at += 1;
            }
        }
    }
}

#[tokio::test]
async fn the_gate_is_asked_again_after_a_restart() {
    for no_return in [None, Some(0)] {
        for at in 1.. {
            let store = MemoryStore::default();
            let world =
                World { crash_at: Some(at), no_return, gate_closed_after_restart: true, ..World::default() };
            if !matches!(life(Arc::new(store.clone()), &world).await, Ended::Crashed) {
                assert!(at > 20);
                break;
            }
            let before = world.effects();
            let op = finish(&store, &world).await;
            let begun = Operation::fold(store.load(id()).unwrap().unwrap()).unwrap().past_no_return();
            match op.state {
                // Past the point of no return only forward is left; else the crash was inside the last step, which had been
                // intended.
                State::Done => assert!(begun || before.len() + 1 >= STEPS.len(), "crash at {at}"),
                State::RolledBack => {
                    assert!(!begun && world.things().is_empty(), "crash at {at}");
                    let puts = world.effects().iter().filter(|e| e.starts_with("put")).count();
                    assert!(puts <= before.len() + 1, "crash at {at}");
                }
                state => panic!("crash at {at}: {state:?}"),
            }
        }
    }
}

#[tokio::test]
async fn transient_trouble_is_tried_again() {
    let world = World { transient_once: Some(Arc::new(Mutex::default())), ..World::default() };
    let store = MemoryStore::default();
    match life(Arc::new(store), &world).await {
        Ended::Finished(op) => assert_eq!(op.state, State::Done),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn same_key_is_the_same_operation_and_claims_exclude() {
    let world = World::default();
    let runner = runner(Arc::new(MemoryStore::default()), &world);
    assert!(matches!(runner.journal_start(envelope(), &approved()), Ok(Begun::New(_))));
    assert!(matches!(runner.journal_start(envelope(), &approved()), Ok(Begun::Existing(_))));
    let mut other = envelope();
    other.request_key = "request-2".to_owned();
    other.id = felhom_journal::OperationId(ulid::Ulid::from_parts(2, 2));
    match runner.journal_start(other, &approved()) {
        Err(BeginError::Busy { by, .. }) => assert_eq!(by, id()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn begin_runs_in_the_background_and_wait_sees_the_end() {
    let world = World::default();
    let runner = runner(Arc::new(MemoryStore::default()), &world);
    let mut notices = runner.journal().subscribe();
    assert!(matches!(runner.begin(envelope(), approved()), Ok(Begun::New(_))));
    let op = runner.wait(id()).await.unwrap();
    assert_eq!(op.state, State::Done);
    assert_eq!(op.result, Some(serde_json::json!(3)));
    let first = notices.recv().await.unwrap();
    assert_eq!(first.operation, id());
}
