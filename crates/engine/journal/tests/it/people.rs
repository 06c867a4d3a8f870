//! What waits for people: consent, tokens that are good once, grace, and nobody kept out meanwhile.

use std::sync::Arc;

use felhom_journal::testing::{Fault, FaultyStore, MemoryStore, Trouble, When};
use felhom_journal::{
    BeginError, Begun, Envelope, Event, GraceAsked, Journal, JournalError, JournalStore, Operation,
    OperationId, Runner, SqliteStore, StartError, State,
};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::toy::{STEPS, Toy, World, approved, approved_for, body, envelope, id, runner, runner_of};

pub fn nth(n: u64) -> Envelope {
    Envelope { id: OperationId(Ulid::from_parts(n, 1)), request_key: format!("request-{n}"), ..envelope() }
}

fn propose(runner: &Runner<Toy>, n: u64) -> OperationId {
    match runner.propose(nth(n), body(0, &["world"]), "needs 1 operator".to_owned(), json!({"n": n})).unwrap()
    {
        Begun::New(op) => op.id(),
        Begun::Existing(op) => panic!("{} was there", op.id()),
    }
}

fn token(text: &str) -> Vec<String> {
    vec![format!("challenge:{text}")]
}

fn week() -> Option<GraceAsked> {
    Some(GraceAsked { reason: "can be vetoed".to_owned(), seconds: 7 * 86_400 })
}

#[tokio::test]
async fn what_waits_keeps_nobody_out_and_starts_when_the_others_are_through() {
    let world = World::default();
    let runner = runner(Arc::new(MemoryStore::default()), &world);
    let waiting = propose(&runner, 1);
    let also = propose(&runner, 2);
    runner.authorize(waiting, json!("operator"), token("aa"), week()).unwrap();
    // A backup goes on during the grace period.
    let Ok(Begun::New(backup)) = runner.journal_start(nth(3), &approved()) else { panic!() };
    runner.count_grace(waiting, 7 * 86_400).unwrap();
    match runner.start_authorized(waiting, approved()) {
        Err(StartError::Busy { by, claim }) => assert_eq!((by, claim.as_str()), (backup.id(), "world")),
        other => panic!("{other:?}"),
    }
    let before = runner.journal().get(waiting).unwrap().unwrap();
    assert_eq!((before.state, before.authorization), (State::Waiting, Some(json!("operator"))));
    assert_eq!(runner.run(backup.id(), Some(approved())).await.unwrap().state, State::Done);
    assert_eq!(runner.start_authorized(waiting, approved()).unwrap().state, State::Running);
    match runner.journal_start(nth(4), &approved()) {
        Err(BeginError::Busy { by, .. }) => assert_eq!(by, waiting),
        other => panic!("{other:?}"),
    }
    assert_eq!(runner.wait(waiting).await.unwrap().state, State::Done);
    assert_eq!(runner.journal().get(also).unwrap().unwrap().state, State::PendingAuthorization);
}

#[tokio::test]
async fn it_starts_only_with_consent_after_the_grace_period_and_for_its_own_approval() {
    let runner = runner(Arc::new(MemoryStore::default()), &World::default());
    let op = propose(&runner, 1);
    assert!(matches!(runner.start_authorized(op, approved()), Err(StartError::NotAuthorized(_))));
    runner.authorize(op, json!("operator"), token("aa"), week()).unwrap();
    runner.count_grace(op, 600).unwrap();
    let left = 7 * 86_400 - 600;
    assert!(
        matches!(runner.start_authorized(op, approved()), Err(StartError::GraceRuns { left: l, .. }) if l == left)
    );
    // A clock that fell back takes nothing away, and a grace period never gets shorter.
    assert_eq!(runner.count_grace(op, 60).unwrap().grace.unwrap().counted, 600);
    assert!(matches!(runner.lengthen_grace(op, 60), Err(JournalError::Illegal(_))));
    assert_eq!(runner.lengthen_grace(op, 8 * 86_400).unwrap().grace.unwrap().seconds, 8 * 86_400);
    assert_eq!(runner.lengthen_grace(op, 8 * 86_400).unwrap().grace.unwrap().left(), 8 * 86_400 - 600);
    runner.count_grace(op, 8 * 86_400).unwrap();
    let other = approved_for(body(0, &["another world"]));
    assert!(matches!(runner.start_authorized(op, other), Err(StartError::NotForThis(_))));
    assert_eq!(runner.start_authorized(op, approved()).unwrap().state, State::Running);
    assert!(matches!(
        runner.start_authorized(op, approved()),
        Err(StartError::NotWaiting { state: State::Running, .. })
    ));
    assert_eq!(runner.wait(op).await.unwrap().state, State::Done);
}

#[tokio::test]
async fn without_a_grace_period_consent_is_enough() {
    let runner = runner(Arc::new(MemoryStore::default()), &World::default());
    let op = propose(&runner, 1);
    let authorized = runner.authorize(op, json!("customer"), token("aa"), None).unwrap();
    assert_eq!((authorized.state, authorized.grace), (State::PendingAuthorization, None));
    runner.start_authorized(op, approved()).unwrap();
    let done = runner.wait(op).await.unwrap();
    assert_eq!((done.state, done.authorization), (State::Done, Some(json!("customer"))));
}

#[tokio::test]
async fn people_and_the_gate_can_end_it_and_it_can_go_back_to_them() {
    let runner = runner(Arc::new(MemoryStore::default()), &World::default());
    let why = || "so".to_owned();
    let [expired, vetoed, refused, back] = [1, 2, 3, 4].map(|n| propose(&runner, n));
    assert_eq!(runner.expire(expired, why()).unwrap().state, State::Expired);
    runner.authorize(vetoed, json!("operator"), token("aa"), week()).unwrap();
    assert_eq!(runner.veto(vetoed, why()).unwrap().state, State::Vetoed);
    assert_eq!(runner.refuse_waiting(refused, why(), json!({"f": 1})).unwrap().state, State::Refused);
    runner.authorize(back, json!("operator"), token("bb"), week()).unwrap();
    let op = runner.back_to_authorization(back, why(), json!({"database": "restored"})).unwrap();
    assert_eq!((op.state, op.authorization, op.grace), (State::PendingAuthorization, None, None));
    assert!(matches!(runner.start_authorized(back, approved()), Err(StartError::NotAuthorized(_))));
    // The consent is forgotten, the token is not.
    let again = runner.authorize(back, json!("operator"), token("bb"), None);
    assert!(matches!(again, Err(JournalError::AlreadyConsumed { .. })));
    runner.authorize(back, json!("operator"), token("cc"), None).unwrap();
    for ended in [expired, vetoed, refused] {
        assert!(matches!(runner.start_authorized(ended, approved()), Err(StartError::NotWaiting { .. })));
        assert!(matches!(runner.veto(ended, why()), Err(JournalError::Illegal(_))));
    }
}

#[test]
fn the_same_key_is_the_same_proposal_and_an_unknown_kind_is_none() {
    let runner = runner(Arc::new(MemoryStore::default()), &World::default());
    let op = propose(&runner, 1);
    let again = runner.propose(nth(1), body(0, &["world"]), "again".to_owned(), Value::Null).unwrap();
    assert!(matches!(again, Begun::Existing(known) if known.id() == op));
    let mut unknown = body(0, &[]);
    unknown.kind_version = 2;
    let refused = runner.propose(nth(2), unknown, "new".to_owned(), Value::Null);
    assert!(matches!(refused, Err(BeginError::NoSteps(_))));
    assert_eq!(runner.journal().get(nth(2).id).unwrap(), None);
}

/// On each store: the second use is refused as a whole, and the journal goes on.
#[test]
fn a_token_is_consumed_once_and_its_refusal_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Arc::new(SqliteStore::open(&dir.path().join("journal.db")).unwrap());
    let stores: [Arc<dyn JournalStore>; 2] = [Arc::new(MemoryStore::default()), sqlite.clone()];
    for store in stores {
        let runner = runner(store, &World::default());
        let [first, second] = [1, 2].map(|n| propose(&runner, n));
        runner.authorize(first, json!("a"), token("aa"), None).unwrap();
        let before = runner.journal().get(second).unwrap().unwrap();
        let events = runner.journal().events_after(0, 100).unwrap().len();
        let mixed = [token("bb"), token("aa")].concat();
        let twice = [token("cc"), token("cc")].concat();
        for (consumes, named) in [(mixed, "challenge:aa"), (twice, "challenge:cc")] {
            match runner.authorize(second, json!("b"), consumes, week()) {
                Err(JournalError::AlreadyConsumed { token }) => assert_eq!(token, named),
                other => panic!("{other:?}"),
            }
            assert_eq!(runner.journal().get(second).unwrap().unwrap(), before);
            assert_eq!(runner.journal().events_after(0, 100).unwrap().len(), events);
        }
        // Also not by the one that used it, and what was refused with it is still good.
        assert!(matches!(
            runner.authorize(first, json!("a"), token("aa"), None),
            Err(JournalError::AlreadyConsumed { .. })
        ));
        runner.authorize(second, json!("b"), [token("bb"), token("cc")].concat(), None).unwrap();
    }
    for sql in ["DELETE FROM consumed", "UPDATE consumed SET token = 'x'"] {
        let error = sqlite.transact("test", |tx| tx.execute(sql, [])).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    let text: String = sqlite
        .transact("test", |tx| {
            tx.query_row("SELECT authorization FROM operation WHERE id = ?1", [nth(1).id.to_string()], |r| {
                r.get(0)
            })
        })
        .unwrap();
    assert_eq!(text, "\"a\"");
}

/// What a domain does with one operation at each of its starts: whatever is missing, and then the run.
async fn drive(store: Arc<dyn JournalStore>, world: &World) -> Result<Operation, JournalError> {
    let runner = runner_of(store, vec![world.clone()]);
    let recovered = runner.recover();
    if runner.journal().get(id())?.is_none() {
        let begun = runner.propose(envelope(), body(0, &["world"]), "needs it".to_owned(), Value::Null);
        begun.map_err(|e| match e {
            BeginError::Journal(e) => e,
            other => panic!("{other}"),
        })?;
    }
    let op = runner.journal().get(id())?.unwrap();
    assert_eq!(
        recovered.standing.contains(&id()),
        op.state == State::Waiting || recovered.standing.len() == 1
    );
    if op.state == State::PendingAuthorization && op.authorization.is_none() {
        let grace = Some(GraceAsked { reason: "waits".to_owned(), seconds: 120 });
        runner.authorize(id(), json!("operator"), token("aa"), grace)?;
    }
    let mut op = runner.journal().get(id())?.unwrap();
    while op.state == State::Waiting && !op.grace_is_over() {
        op = runner.count_grace(id(), op.grace.unwrap().counted + 60)?;
    }
    if op.state == State::Waiting {
        runner.journal_start_authorized(id(), &approved()).map_err(|e| match e {
            StartError::Journal(e) => e,
            other => panic!("{other}"),
        })?;
        return runner.run(id(), Some(approved())).await;
    }
    // What was started is taken up by `recover`.
    tokio::select! {
        op = runner.wait(id()) => op,
        why = runner.journal().broken() => Err(JournalError::Broken(why)),
    }
}

/// Each write fails before and after it took effect, and again in the second life; the third one ends it.
#[tokio::test]
async fn a_crash_at_each_write_consumes_the_token_once_and_runs_it_once() {
    let fault = |at, when| Some(Fault { at, when, trouble: Trouble::Io });
    let mut points = 0;
    for when in [When::Before, When::After] {
        for first in 1.. {
            let mut crashed = false;
            for second in 1.. {
                let store = MemoryStore::default();
                let view = |fault| FaultyStore::new(Arc::new(store.clone()), fault);
                let world = World::default();
                crashed = drive(view(fault(first, when)), &world).await.is_err();
                let again = drive(view(fault(second, when)), &world.next_process(None)).await;
                let op = drive(view(None), &world.next_process(None)).await.unwrap();
                assert_eq!(op.state, State::Done, "{when:?} {first}, {second}");
                assert_eq!(store.consumed_by("challenge:aa"), Some(id()));
                let events = store.load(id()).unwrap().unwrap().events;
                let consented = events.iter().filter(|e| matches!(e.event, Event::Authorized { .. })).count();
                let started = events.iter().filter(|e| matches!(e.event, Event::Started { .. })).count();
                assert_eq!((consented, started), (1, 1));
                assert_eq!(world.effects().len(), STEPS.len(), "each effect once: {:?}", world.effects());
                points += 1;
                if again.is_ok() {
                    break;
                }
            }
            if !crashed {
                break;
            }
        }
    }
    assert!(points > 300, "{points} crash points");
}

#[test]
fn a_restart_leaves_what_waits_standing() {
    let store = MemoryStore::default();
    let runner = runner(Arc::new(store.clone()), &World::default());
    let [a, b] = [1, 2].map(|n| propose(&runner, n));
    runner.authorize(b, json!("operator"), token("aa"), week()).unwrap();
    runner.count_grace(b, 3_600).unwrap();
    let before = [a, b].map(|id| runner.journal().get(id).unwrap());
    let again = crate::toy::runner(Arc::new(store), &World::default());
    let found = again.recover();
    assert_eq!((found.resumed, found.standing), (vec![], vec![a, b]));
    assert_eq!([a, b].map(|id| again.journal().get(id).unwrap()), before);
    let journal: &Journal = again.journal();
    assert_eq!(journal.active_operations().len(), 2);
}
