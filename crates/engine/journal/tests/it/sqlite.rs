//! The SQLite store: durability across reopening, the lock, append-only events.

use std::sync::Arc;

use felhom_journal::{Journal, OpenError, Operation, SqliteStore, State};
use jiff::Timestamp;
use serde_json::json;

use crate::toy::{Ended, FailAt, World, envelope, id, life};

#[tokio::test]
async fn each_crash_point_recovers_from_the_file() {
    for fail in [None, Some((2, FailAt::Confirm))] {
        let mut at = 1;
        loop {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal.db");
            let world = World { crash_at: Some(at), fail, ..World::default() };
            let first = life(Arc::new(SqliteStore::open(&path).unwrap()), &world).await;
            let store = Arc::new(SqliteStore::open(&path).unwrap());
            let op = match life(store.clone(), &world.next_process(None)).await {
                Ended::Finished(op) => op,
                other => panic!("{other:?}"),
            };
            assert_eq!(op.state, if fail.is_some() { State::RolledBack } else { State::Done });
            let journal = Journal::open(store, || Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(
                journal.get(id()).unwrap().as_ref(),
                Some(&*op),
                "what is on disk is what was returned"
            );
            assert!(journal.active_operations().is_empty());
            if !matches!(first, Ended::Crashed) {
                break;
            }
            at += 1;
        }
        assert!(at > 10);
    }
}

/// The database may hold secrets: whatever the umask was, nobody else reads it or its side files.
#[test]
fn the_database_and_its_side_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mode = |suffix: &str| {
        let name = format!("{}{suffix}", path.display());
        std::fs::metadata(name).unwrap().permissions().mode() & 0o777
    };
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(["", "-wal", "-shm"].map(mode), [0o600; 3]);
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = SqliteStore::open(&path).unwrap();
    assert_eq!(["", "-wal", "-shm"].map(mode), [0o600; 3]);
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let first = SqliteStore::open(&path).unwrap();
    match SqliteStore::open(&path) {
        Err(OpenError::InUse { path }) => assert!(path.ends_with("journal.db.lock")),
        other => panic!("{other:?}"),
    }
    drop(first);
    SqliteStore::open(&path).unwrap();
}

#[test]
fn events_cannot_be_rewritten_and_a_newer_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let journal = Journal::open(store.clone(), || Timestamp::UNIX_EPOCH).unwrap();
    let body = felhom_journal::Body {
        kind: "destroy_guest".to_owned(),
        kind_version: 0,
        params: json!({}),
        claims: vec!["guest:x".to_owned()],
    };
    let refused = journal
        .refuse(envelope(), body, "no such kind".to_owned(), json!({"kind": "destroy_guest"}))
        .unwrap();
    assert_eq!(refused.state, State::Refused);
    assert_eq!(journal.events_after(0, 10).unwrap().len(), 1);
    for sql in ["UPDATE event SET body = '{}'", "DELETE FROM event"] {
        let error = store.transact("test", |tx| tx.execute(sql, [])).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    let again: Operation = journal.by_request_key("request-1").unwrap().unwrap();
    assert_eq!(again, refused);
    store.transact("test", |tx| tx.execute_batch("PRAGMA user_version = 99")).unwrap();
    drop(journal);
    drop(store);
    assert!(matches!(SqliteStore::open(&path), Err(OpenError::Newer { found: 99, .. })));
}
