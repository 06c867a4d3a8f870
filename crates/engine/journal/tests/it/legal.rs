//! Each event in each situation: what is legal is written down here, all else is refused.

use felhom_journal::{Event, NewOperation, Operation, Recorded, State, StepClass, StepSpec, WayOut};
use jiff::Timestamp;
use serde_json::Value;

use crate::toy::{body, envelope};

/// Every event that the journal knows, by the names that the table below uses.
fn events() -> Vec<(&'static str, Event)> {
    let reason = || "x".to_owned();
    let resolved = |way| Event::Resolved { way, by: Value::Null, reason: "x".to_owned() };
    vec![
        ("refused", Event::Refused { reason: reason(), evidence: Value::Null }),
        ("authorization_needed", Event::AuthorizationNeeded { reason: reason(), evidence: Value::Null }),
        ("authorized", Event::Authorized { authorization: Value::Null, consumes: vec![] }),
        ("expired", Event::Expired { reason: reason() }),
        ("grace", Event::Grace { reason: reason(), seconds: 10 }),
        ("counted_3", Event::GraceCounted { seconds: 3 }),
        ("counted_5", Event::GraceCounted { seconds: 5 }),
        ("counted_10", Event::GraceCounted { seconds: 10 }),
        ("lengthened_10", Event::GraceLengthened { seconds: 10 }),
        ("lengthened_11", Event::GraceLengthened { seconds: 11 }),
        ("vetoed", Event::Vetoed { reason: reason() }),
        ("started", started()),
        ("intended_0", Event::StepIntended { n: 0, intent: Value::Null, owns: vec![] }),
        ("intended_1", Event::StepIntended { n: 1, intent: Value::Null, owns: vec![] }),
        ("intended_2", Event::StepIntended { n: 2, intent: Value::Null, owns: vec![] }),
        ("handle_0", Event::StepHandle { n: 0, handle: Value::Null }),
        ("confirmed_0", Event::StepConfirmed { n: 0, outcome: Value::Null }),
        ("confirmed_1", Event::StepConfirmed { n: 1, outcome: Value::Null }),
        ("confirmed_2", Event::StepConfirmed { n: 2, outcome: Value::Null }),
        ("failed_0", Event::StepFailed { n: 0, reason: reason() }),
        ("failed_1", Event::StepFailed { n: 1, reason: reason() }),
        ("failed_2", Event::StepFailed { n: 2, reason: reason() }),
        ("noted_0", Event::Noted { n: 0, name: reason(), data: Value::Null }),
        ("cancel", Event::CancelRequested { by: Value::Null, reason: reason() }),
        ("rolling_back", Event::RollingBack { reason: reason() }),
        ("undo_intended_0", Event::UndoIntended { n: 0 }),
        ("undone_0", Event::Undone { n: 0 }),
        ("rolled_back", Event::RolledBack),
        ("done", Event::Done { result: Value::Null }),
        ("needs_operator", Event::NeedsOperator { reason: reason() }),
        ("retry", resolved(WayOut::Retry)),
        ("roll_back", resolved(WayOut::RollBack)),
        ("accept", resolved(WayOut::Accept)),
    ]
}

/// The second of three steps is a point of no return.
fn started() -> Event {
    let classes = [StepClass::Undoable, StepClass::PointOfNoReturn, StepClass::Compensable];
    let spec = |(n, class)| StepSpec { name: format!("step-{n}"), class };
    Event::Started { steps: classes.into_iter().enumerate().map(spec).collect() }
}

/// How a situation is reached → the state → what is legal in it.
const TABLE: &[(&str, State, &str)] = &[
    ("", State::Pending, "refused authorization_needed authorized vetoed started needs_operator"),
    (
        "authorized",
        State::Pending,
        "refused authorization_needed authorized grace vetoed started needs_operator",
    ),
    (
        "authorization_needed",
        State::PendingAuthorization,
        "refused authorization_needed authorized expired vetoed needs_operator",
    ),
    (
        "authorization_needed authorized",
        State::PendingAuthorization,
        "refused authorization_needed authorized expired grace vetoed started needs_operator",
    ),
    (
        "authorization_needed authorized grace counted_5",
        State::Waiting,
        "refused authorization_needed counted_5 counted_10 lengthened_11 vetoed needs_operator",
    ),
    (
        "authorization_needed authorized grace counted_10",
        State::Waiting,
        "refused authorization_needed counted_10 lengthened_11 vetoed started needs_operator",
    ),
    (
        "authorization_needed authorized grace counted_10 lengthened_11",
        State::Waiting,
        "refused authorization_needed counted_10 vetoed needs_operator",
    ),
    (
        "authorization_needed authorized grace counted_10 authorization_needed",
        State::PendingAuthorization,
        "refused authorization_needed authorized expired vetoed needs_operator",
    ),
    ("started", State::Running, "intended_0 failed_0 failed_1 failed_2 cancel rolling_back needs_operator"),
    (
        "started intended_0",
        State::Running,
        "handle_0 confirmed_0 failed_0 failed_1 failed_2 noted_0 cancel rolling_back needs_operator",
    ),
    (
        "started intended_0 cancel",
        State::Running,
        "handle_0 confirmed_0 failed_0 failed_1 failed_2 noted_0 rolling_back needs_operator",
    ),
    (
        "started intended_0 confirmed_0",
        State::Running,
        "intended_1 failed_1 failed_2 cancel rolling_back needs_operator",
    ),
    (
        "started intended_0 confirmed_0 cancel",
        State::Running,
        "failed_1 failed_2 rolling_back needs_operator",
    ),
    (
        "started intended_0 confirmed_0 intended_1",
        State::Running,
        "confirmed_1 failed_1 failed_2 needs_operator",
    ),
    (
        "started intended_0 confirmed_0 intended_1 confirmed_1",
        State::Running,
        "intended_2 failed_2 needs_operator",
    ),
    (
        "started intended_0 confirmed_0 intended_1 confirmed_1 intended_2 confirmed_2",
        State::Running,
        "done needs_operator",
    ),
    ("started rolling_back", State::RollingBack, "rolled_back needs_operator"),
    ("started intended_0 rolling_back", State::RollingBack, "noted_0 undo_intended_0 needs_operator"),
    (
        "started intended_0 rolling_back undo_intended_0",
        State::RollingBack,
        "handle_0 noted_0 undone_0 needs_operator",
    ),
    (
        "started intended_0 rolling_back undo_intended_0 undone_0",
        State::RollingBack,
        "rolled_back needs_operator",
    ),
    ("needs_operator", State::NeedsOperator, "accept"),
    ("authorization_needed needs_operator", State::NeedsOperator, "accept"),
    ("started intended_0 failed_0 needs_operator", State::NeedsOperator, "retry roll_back accept"),
    ("started intended_0 cancel needs_operator", State::NeedsOperator, "roll_back accept"),
    (
        "started intended_0 rolling_back undo_intended_0 needs_operator",
        State::NeedsOperator,
        "roll_back accept",
    ),
    (
        "started intended_0 confirmed_0 intended_1 failed_1 needs_operator",
        State::NeedsOperator,
        "retry accept",
    ),
    (
        "started intended_0 confirmed_0 intended_1 confirmed_1 intended_2 failed_2 needs_operator",
        State::NeedsOperator,
        "retry",
    ),
    (
        "started intended_0 failed_0 needs_operator retry",
        State::Running,
        "handle_0 confirmed_0 failed_0 failed_1 failed_2 noted_0 cancel rolling_back needs_operator",
    ),
    (
        "started intended_0 failed_0 needs_operator roll_back",
        State::RollingBack,
        "undo_intended_0 needs_operator",
    ),
    ("started intended_0 failed_0 needs_operator accept", State::RolledBack, ""),
    ("refused", State::Refused, ""),
    ("authorization_needed expired", State::Expired, ""),
    ("authorization_needed vetoed", State::Vetoed, ""),
    ("started rolling_back rolled_back", State::RolledBack, ""),
    ("started intended_0 confirmed_0 intended_1 confirmed_1 intended_2 confirmed_2 done", State::Done, ""),
];

fn apply(op: &mut Operation, event: Event) -> bool {
    op.apply(&Recorded { seq: 1, at: Timestamp::UNIX_EPOCH, event }).is_ok()
}

#[test]
fn each_event_is_legal_where_the_table_says_so_and_nowhere_else() {
    let events = events();
    for (path, state, legal) in TABLE {
        let mut op = Operation::pending(NewOperation {
            envelope: envelope(),
            body: body(0, &["guest:a"]),
            created_at: Timestamp::UNIX_EPOCH,
        });
        for word in path.split_whitespace() {
            let (_, event) = events.iter().find(|(name, _)| *name == word).unwrap();
            assert!(apply(&mut op, event.clone()), "`{word}` in `{path}`");
        }
        assert_eq!(op.state, *state, "`{path}`");
        let legal: Vec<&str> = legal.split_whitespace().collect();
        assert!(
            legal.iter().all(|word| events.iter().any(|(name, _)| name == word)),
            "`{path}`: a word is unknown"
        );
        for (name, event) in &events {
            let mut then = op.clone();
            let allowed = apply(&mut then, event.clone());
            assert_eq!(allowed, legal.contains(name), "`{name}` after `{path}`");
            assert!(allowed || then == op, "a refused `{name}` after `{path}` changed something");
        }
    }
    for state in [
        State::Pending,
        State::Refused,
        State::PendingAuthorization,
        State::Expired,
        State::Waiting,
        State::Vetoed,
        State::Running,
        State::Done,
        State::RollingBack,
        State::RolledBack,
        State::NeedsOperator,
    ] {
        assert!(TABLE.iter().any(|(_, s, _)| *s == state), "{state:?} has no row");
    }
}
