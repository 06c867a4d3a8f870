//! The fold: arbitrary events never break its rules.

use felhom_journal::{Body, Event, Operation, Recorded, State, StepClass, StepSpec, StepState, WayOut};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use crate::toy::envelope;

fn pending() -> Operation {
    Operation::pending(felhom_journal::NewOperation {
        envelope: envelope(),
        body: Body { kind: "put".to_owned(), kind_version: 1, params: Value::Null, claims: vec![] },
        created_at: Timestamp::UNIX_EPOCH,
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let text = || "x".to_owned();
    let n = 0_usize..4;
    let class = prop_oneof![
        3 => Just(StepClass::Undoable),
        1 => Just(StepClass::PointOfNoReturn)
    ];
    let steps = proptest::collection::vec(class, 0..4).prop_map(|classes| Event::Started {
        steps: classes
            .into_iter()
            .enumerate()
            .map(|(i, class)| StepSpec { name: format!("step-{i}"), class })
            .collect(),
    });
    prop_oneof![
        1 => Just(Event::Refused { reason: text(), evidence: Value::Null }),
        1 => Just(Event::AuthorizationNeeded { reason: text(), evidence: Value::Null }),
        1 => Just(Event::Expired { reason: text() }),
        2 => Just(Event::Authorized { authorization: Value::Null, consumes: vec![] }),
        2 => (0_u64..3).prop_map(|seconds| Event::Grace { reason: "x".to_owned(), seconds }),
        2 => (0_u64..4).prop_map(|seconds| Event::GraceCounted { seconds }),
        1 => (0_u64..4).prop_map(|seconds| Event::GraceLengthened { seconds }),
        1 => Just(Event::Vetoed { reason: text() }),
        4 => steps,
        8 => n.clone().prop_map(|n| Event::StepIntended { n, intent: Value::Null, owns: vec![] }),
        2 => n.clone().prop_map(|n| Event::StepHandle { n, handle: Value::Null }),
        8 => n.clone().prop_map(|n| Event::StepConfirmed { n, outcome: Value::Null }),
        2 => n.clone().prop_map(|n| Event::StepFailed { n, reason: "x".to_owned() }),
        2 => n.clone().prop_map(|n| Event::Noted { n, name: "x".to_owned(), data: Value::Null }),
        2 => Just(Event::RollingBack { reason: text() }),
        4 => n.clone().prop_map(|n| Event::UndoIntended { n }),
        4 => n.prop_map(|n| Event::Undone { n }),
        2 => Just(Event::RolledBack),
        2 => Just(Event::Done { result: Value::Null }),
        1 => Just(Event::NeedsOperator { reason: text() }),
        1 => Just(Event::CancelRequested { by: Value::Null, reason: text() }),
        3 => prop_oneof![Just(WayOut::Retry), Just(WayOut::RollBack), Just(WayOut::Accept)]
            .prop_map(|way| Event::Resolved { way, by: Value::Null, reason: "x".to_owned() }),
    ]
}

proptest! {
    #[test]
    fn an_illegal_event_changes_nothing_and_ends_are_final(events in proptest::collection::vec(any_event(), 0..80)) {
        let mut op = pending();
        for (i, event) in events.into_iter().enumerate() {
            let before = op.clone();
            let recorded = Recorded { seq: i as u64 + 1, at: Timestamp::UNIX_EPOCH, event };
            let applied = op.apply(&recorded);
            if applied.is_err() {
                prop_assert_eq!(&before, &op);
            }
            if !before.state.is_active() {
                prop_assert!(applied.is_err());
            }
            if before.state == State::NeedsOperator {
                prop_assert!(!before.ways_out().is_empty());
                let offered = match &recorded.event {
                    Event::Resolved { way, .. } => before.ways_out().contains(way),
                    _ => false,
                };
                prop_assert_eq!(applied.is_ok(), offered);
            }
            if before.started_at.is_none() && op.started_at.is_some() {
                prop_assert!(before.state == State::Pending || before.authorization.is_some());
                prop_assert!(before.grace_is_over());
            }
            if before.cancel.is_some() {
                let begun = |op: &Operation| op.steps.iter().filter(|s| s.state != StepState::Planned).count();
                prop_assert_eq!(begun(&before), begun(&op));
                prop_assert!(op.state != State::Done && !op.past_no_return());
            }
            if let (Some(was), Some(is)) = (before.grace, op.grace) {
                prop_assert!(is.seconds >= was.seconds && is.counted >= was.counted);
            }
            match op.state {
                State::Done => prop_assert!(op.steps.iter().all(|s| s.state == StepState::Confirmed)),
                State::RolledBack => prop_assert!(
                    op.steps.iter().all(|s| matches!(s.state, StepState::Planned | StepState::Undone))
                ),
                State::RollingBack => prop_assert!(!op.past_no_return()),
                _ => {}
            }
            let done = op.steps.iter().take_while(|s| s.state == StepState::Confirmed).count();
            if op.state == State::Running {
                prop_assert!(op.steps.iter().skip(done + 1).all(|s| s.state == StepState::Planned));
            }
        }
    }

    #[test]
    fn events_survive_json(event in any_event()) {
        let text = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

#[test]
fn what_waits_for_a_person_keeps_its_guest_and_no_slot() {
    let mut op = pending();
    op.new.body.claims = vec!["guest:a".to_owned(), "slot:backup".to_owned()];
    assert_eq!(op.claims().count(), 0, "what has not started keeps nothing");
    let event = Event::Started { steps: vec![] };
    op.apply(&Recorded { seq: 1, at: Timestamp::UNIX_EPOCH, event }).unwrap();
    assert_eq!(op.claims().count(), 2);
    let event = Event::NeedsOperator { reason: "x".to_owned() };
    op.apply(&Recorded { seq: 2, at: Timestamp::UNIX_EPOCH, event }).unwrap();
    assert_eq!(op.claims().collect::<Vec<_>>(), ["guest:a"]);
}
