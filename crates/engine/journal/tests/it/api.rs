//! Any sequence of calls, with failures and restarts between them, keeps the invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use felhom_journal::testing::MemoryStore;
use felhom_journal::{
    Body, Event, GraceAsked, JournalStore as _, Operation, OperationId, Runner, State, StepState, WayOut,
    Which,
};
use proptest::prelude::*;
use serde_json::json;

use crate::people::nth;
use crate::toy::{FailAt, Toy, World, approved_for, approved_way, body, decision, runner_of};

const OPERATIONS: usize = 4;

/// Two share a guest, all but one share a slot.
fn asked(n: usize) -> Body {
    let claims: [&[&str]; OPERATIONS] =
        [&["guest:a", "slot:x"], &["guest:a"], &["guest:b", "slot:x"], &["guest:c", "slot:x"]];
    body(n, claims[n])
}

fn id_of(n: usize) -> OperationId {
    nth(n as u64 + 1).id
}

#[derive(Debug, Clone)]
enum Call {
    Begin(usize),
    Propose(usize),
    Authorize(usize, u8, Option<u64>),
    Count(usize, u64),
    Lengthen(usize, u64),
    Start(usize),
    Expire(usize),
    Veto(usize),
    Refuse(usize),
    Back(usize),
    Cancel(usize),
    Resolve(usize, WayOut),
    Heal(usize),
    /// Lets what runs go on for a while.
    Run(u8),
    /// The process dies and starts again.
    Restart,
}

fn call() -> impl Strategy<Value = Call> {
    let n = 0..OPERATIONS;
    let way = prop_oneof![Just(WayOut::Retry), Just(WayOut::RollBack), Just(WayOut::Accept)];
    prop_oneof![
        2 => n.clone().prop_map(Call::Begin),
        4 => n.clone().prop_map(Call::Propose),
        6 => (n.clone(), 0_u8..6, proptest::option::of(0_u64..3)).prop_map(|(n, t, g)| Call::Authorize(n, t, g)),
        3 => (n.clone(), 0_u64..5).prop_map(|(n, s)| Call::Count(n, s)),
        1 => (n.clone(), 0_u64..5).prop_map(|(n, s)| Call::Lengthen(n, s)),
        6 => n.clone().prop_map(Call::Start),
        1 => n.clone().prop_map(Call::Expire),
        1 => n.clone().prop_map(Call::Veto),
        1 => n.clone().prop_map(Call::Refuse),
        1 => n.clone().prop_map(Call::Back),
        2 => n.clone().prop_map(Call::Cancel),
        3 => (n.clone(), way).prop_map(|(n, way)| Call::Resolve(n, way)),
        1 => n.prop_map(Call::Heal),
        8 => (1_u8..60).prop_map(Call::Run),
        1 => Just(Call::Restart),
    ]
}

/// What goes wrong in each operation's world.
fn plan() -> impl Strategy<Value = (Option<(usize, FailAt)>, Option<usize>, bool)> {
    let at = prop_oneof![
        Just(FailAt::Intent),
        Just(FailAt::BeforeEffect),
        Just(FailAt::AfterEffect),
        Just(FailAt::Confirm),
        Just(FailAt::Unclear),
        Just(FailAt::Undo)
    ];
    (proptest::option::of((0_usize..4, at)), proptest::option::of(0_usize..4), any::<bool>())
}

/// The answer is not looked at: whatever it is, the invariants hold.
async fn make(runner: &Arc<Runner<Toy>>, worlds: &[World], call: &Call) {
    let why = || "so".to_owned();
    match *call {
        Call::Begin(n) => drop(runner.begin(nth(n as u64 + 1), approved_for(asked(n)))),
        Call::Propose(n) => drop(runner.propose(nth(n as u64 + 1), asked(n), why(), json!(n))),
        Call::Authorize(n, token, grace) => {
            let grace = grace.map(|seconds| GraceAsked { reason: "so".to_owned(), seconds });
            drop(runner.authorize(id_of(n), json!(token), vec![format!("challenge:{token}")], grace));
        }
        Call::Count(n, seconds) => drop(runner.count_grace(id_of(n), seconds)),
        Call::Lengthen(n, seconds) => drop(runner.lengthen_grace(id_of(n), seconds)),
        Call::Start(n) => drop(runner.start_authorized(id_of(n), approved_for(asked(n)))),
        Call::Expire(n) => drop(runner.expire(id_of(n), why())),
        Call::Veto(n) => drop(runner.veto(id_of(n), why())),
        Call::Refuse(n) => drop(runner.refuse_waiting(id_of(n), why(), json!({}))),
        Call::Back(n) => drop(runner.back_to_authorization(id_of(n), why(), json!({}))),
        Call::Cancel(n) => drop(runner.cancel(id_of(n), why(), json!("customer"))),
        Call::Resolve(n, way) => {
            drop(runner.resolve(id_of(n), decision(way), &approved_way(id_of(n), way)));
        }
        Call::Heal(n) => worlds[n].healed.store(true, std::sync::atomic::Ordering::SeqCst),
        Call::Run(times) => {
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
        }
        Call::Restart => {}
    }
}

/// What was seen earlier and must stay.
#[derive(Default)]
struct Seen {
    ended: BTreeMap<OperationId, Operation>,
    events: usize,
}

fn check(store: &MemoryStore, runner: &Runner<Toy>, seen: &mut Seen) {
    let events = store.events_after(0, usize::MAX).unwrap();
    assert!(events.len() >= seen.events, "the journal only grows");
    seen.events = events.len();

    let mut tokens = BTreeSet::new();
    for (id, recorded) in &events {
        if let Event::Authorized { consumes, .. } = &recorded.event {
            for token in consumes {
                assert!(tokens.insert(token.clone()), "{token} was consumed twice, by {id}");
            }
        }
    }

    let mut held = BTreeSet::new();
    for op in runner.journal().active_operations() {
        for claim in op.claims() {
            assert!(held.insert(claim.clone()), "{claim} is held twice");
        }
        assert!(op.started_at.is_some() || op.claims().count() == 0);
        assert_eq!(op.state == State::NeedsOperator, !op.ways_out().is_empty());
    }

    for op in runner.journal().list(Which::Newest, usize::MAX).unwrap() {
        // What the process holds is what the next one would find.
        assert_eq!(Operation::fold(store.load(op.id()).unwrap().unwrap()).unwrap(), op);
        if let Some(before) = seen.ended.get(&op.id()) {
            assert_eq!(before, &op, "an end is final");
        }
        if !op.state.is_active() {
            seen.ended.insert(op.id(), op.clone());
        }
        let mine: Vec<&Event> =
            events.iter().filter(|(id, _)| *id == op.id()).map(|(_, e)| &e.event).collect();
        check_consent(&mine);
    }
}

/// What was proposed started only after consent that was not forgotten, and after its grace.
fn check_consent(events: &[&Event]) {
    let Some(started) = events.iter().position(|e| matches!(e, Event::Started { .. })) else { return };
    let Some(asked) = events[..started].iter().rposition(|e| matches!(e, Event::AuthorizationNeeded { .. }))
    else {
        return;
    };
    let (mut consent, mut seconds, mut counted) = (false, 0, 0);
    for event in &events[asked..started] {
        match event {
            Event::Authorized { .. } => consent = true,
            Event::Grace { seconds: s, .. } | Event::GraceLengthened { seconds: s } => seconds = *s,
            Event::GraceCounted { seconds: s } => counted = *s,
            _ => {}
        }
    }
    assert!(consent && counted >= seconds, "{events:?}");
}

/// The processes one after the other, each in a runtime that dies with it.
fn live(calls: &[Call], worlds: &[World]) {
    let store = MemoryStore::default();
    let mut seen = Seen::default();
    for life in calls.split_inclusive(|call| matches!(call, Call::Restart)).chain([&[][..]]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let runner = runner_of(Arc::new(store.clone()), worlds.to_vec());
            check(&store, &runner, &mut seen);
            runner.recover();
            for call in life {
                make(&runner, worlds, call).await;
                check(&store, &runner, &mut seen);
            }
            if life.is_empty() {
                settle(&runner).await;
                check(&store, &runner, &mut seen);
            }
        });
    }
    for (n, world) in worlds.iter().enumerate() {
        let Some(stored) = store.load(id_of(n)).unwrap() else { continue };
        let op = Operation::fold(stored).unwrap();
        let things = world.things().len();
        match op.state {
            State::Done => assert_eq!(things, op.steps.len()),
            State::Refused | State::Expired | State::Vetoed => assert_eq!(things, 0),
            // Cleared by hand: nobody did in this world.
            State::RolledBack if op.reason.as_ref().is_some_and(|r| r.starts_with("cleared by hand")) => {}
            State::RolledBack => assert_eq!(things, 0),
            State::Pending | State::PendingAuthorization | State::Waiting => assert_eq!(things, 0),
            State::NeedsOperator => assert!(op.steps.iter().any(|s| s.state != StepState::Planned)),
            State::Running | State::RollingBack => panic!("{} never ended", op.id()),
        }
    }
}

/// Whatever runs comes to an end, or to a person.
async fn settle(runner: &Arc<Runner<Toy>>) {
    for op in runner.journal().active_operations() {
        if matches!(op.state, State::Running | State::RollingBack) {
            tokio::time::timeout(Duration::from_secs(20), runner.wait(op.id())).await.unwrap().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn any_calls_keep_the_invariants(
        calls in proptest::collection::vec(call(), 1..80),
        plans in proptest::collection::vec(plan(), OPERATIONS),
    ) {
        let worlds: Vec<World> = plans
            .into_iter()
            .map(|(fail, no_return, cancellable)| World { fail, no_return, cancellable, ..World::default() })
            .collect();
        live(&calls, &worlds);
    }
}
