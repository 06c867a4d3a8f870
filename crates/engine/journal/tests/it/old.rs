//! A journal of schema version 1, frozen as text, opens, folds and goes on.

use std::path::Path;
use std::sync::Arc;

use felhom_journal::{Journal, JournalStore as _, OperationId, SqliteStore, State, StepState, Which};
use jiff::Timestamp;
use serde_json::json;
use ulid::Ulid;

use crate::toy::{World, approved_for, body, runner_of};

const VERSION_1: &str = include_str!("../fixtures/schema-1.sql");

fn nth(n: u64) -> OperationId {
    OperationId(Ulid::from_parts(n, u128::from(n)))
}

fn write_fixture(path: &Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    // Rows come in the order of a dump, which is not that of the references.
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    conn.execute_batch(VERSION_1).unwrap();
}

fn tables(path: &Path) -> Vec<(String, String)> {
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut statement =
        conn.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
    let spaceless = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = statement.query_map([], |r| Ok((r.get(0)?, spaceless(r.get(1)?)))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn version_1_opens_folds_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    write_fixture(&path);
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let journal = Journal::open(store.clone(), || Timestamp::UNIX_EPOCH).unwrap();
    let states: Vec<State> = journal.list(Which::Newest, 10).unwrap().iter().map(|op| op.state).collect();
    assert_eq!(
        states,
        [State::Refused, State::NeedsOperator, State::Running, State::Done, State::RolledBack],
        "newest first"
    );
    let crashed = journal.get(nth(3)).unwrap().unwrap();
    let steps: Vec<StepState> = crashed.steps.iter().map(|s| s.state).collect();
    assert_eq!(steps[0], StepState::Confirmed);
    assert_eq!(crashed.started_at, Some(crashed.new.created_at + jiff::Span::new().seconds(1)));
    assert_eq!(crashed.steps[0].progress.as_ref().map(|p| (p.done, p.unit.as_str())), Some((1, "things")));
    assert_eq!(crashed.claims().collect::<Vec<_>>(), ["world-3"]);
    assert!(store.owns(nth(3), "thing-one").unwrap());
    drop(journal);

    // Goes on: the running one ends, and new things are written beside the old ones.
    let world = World::default();
    let runner = runner_of(store, vec![world.clone()]);
    assert_eq!(runner.recover().resumed, [nth(3)]);
    assert_eq!(runner.wait(nth(3)).await.unwrap().state, State::Done);
    let envelope = crate::people::nth(77);
    let new = envelope.id;
    runner.propose(envelope, body(0, &["world-1"]), "needs it".to_owned(), json!({})).unwrap();
    runner.authorize(new, json!("operator"), vec!["challenge:aa".to_owned()], None).unwrap();
    runner.start_authorized(new, approved_for(body(0, &["world-1"]))).unwrap();
    assert_eq!(runner.wait(new).await.unwrap().state, State::Done);
    drop(runner);
    let journal =
        Journal::open(Arc::new(SqliteStore::open(&path).unwrap()), || Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(journal.list(Which::Newest, 10).unwrap().len(), 6);
}

#[test]
fn old_and_new_databases_have_the_same_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old.db"), dir.path().join("new.db"));
    write_fixture(&old);
    for path in [&old, &new] {
        drop(SqliteStore::open_with(path, 0).unwrap());
    }
    assert_eq!(tables(&old), tables(&new));
    let version = |path| -> i64 {
        let conn = rusqlite::Connection::open(path).unwrap();
        conn.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap()
    };
    assert_eq!((version(&old), version(&new)), (2, 2));
    // Opened again, nothing is migrated twice.
    drop(SqliteStore::open_with(&old, 0).unwrap());
}
