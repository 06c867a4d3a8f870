//! Power loss on the real store: whatever of the write-ahead log reached the disk, each acknowledged event is there.
//!
//! A commit that returned has synced the log up to its last frame. So the log as it was at the last acknowledgement is
//! taken, and of what the next write adds any part: cut at any byte, or with bytes that never arrived as zeros.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use felhom_journal::testing::FaultyStore;
use felhom_journal::{Journal, JournalStore as _, Operation, OperationId, Recorded, SqliteStore};
use jiff::Timestamp;
use serde_json::json;

use crate::people::nth;
use crate::toy::{World, approved, body, id, runner};

/// Database and log of a moment, with what was acknowledged by then.
struct Moment {
    database: Vec<u8>,
    log: Vec<u8>,
    acknowledged: Vec<(OperationId, u64)>,
}

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// What is found of a moment when the log is `log`.
fn found(path: &Path, moment: &Moment, log: &[u8]) -> Vec<(OperationId, Recorded)> {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    fs::write(path, &moment.database).unwrap();
    fs::write(log_of(path), log).unwrap();
    let store = SqliteStore::open_with(path, 0).unwrap();
    let events = store.events_after(0, usize::MAX).unwrap();
    let ids: std::collections::BTreeSet<OperationId> = events.iter().map(|(id, _)| *id).collect();
    for id in ids {
        // What is there is whole: it folds.
        Operation::fold(store.load(id).unwrap().unwrap()).unwrap();
    }
    events
}

fn judge(events: &[(OperationId, Recorded)], now: &Moment, next: &Moment, context: &str) {
    let seen: Vec<(OperationId, u64)> = events.iter().map(|(id, e)| (*id, e.seq)).collect();
    let whole = seen == now.acknowledged || seen == next.acknowledged;
    assert!(
        whole,
        "{context}: {} acknowledged, {} after, {} found",
        now.acknowledged.len(),
        next.acknowledged.len(),
        seen.len()
    );
}

/// Writes of the whole life of an operation, one moment after each.
async fn moments(path: &Path) -> Vec<Moment> {
    let sqlite = Arc::new(SqliteStore::open_with(path, 0).unwrap());
    let store = FaultyStore::new(sqlite, None);
    let taken = || Moment {
        database: fs::read(path).unwrap(),
        log: fs::read(log_of(path)).unwrap(),
        acknowledged: store.acknowledged(),
    };
    let runner = runner(store.clone(), &World::default());
    let mut moments = vec![taken()];
    runner.propose(nth(1), body(0, &["world"]), "needs it".to_owned(), json!({})).unwrap();
    moments.push(taken());
    runner.authorize(nth(1).id, json!("operator"), vec!["challenge:aa".to_owned()], None).unwrap();
    moments.push(taken());
    runner.journal_start_authorized(nth(1).id, &approved()).unwrap();
    moments.push(taken());
    let op = runner.run(nth(1).id, Some(approved())).await.unwrap();
    assert_eq!(op.id(), nth(1).id);
    moments.push(taken());
    runner.propose(nth(2), body(0, &["world"]), "needs it".to_owned(), json!({})).unwrap();
    moments.push(taken());
    moments
}

#[tokio::test]
async fn an_acknowledged_event_survives_any_cut_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let moments = moments(&dir.path().join("journal.db")).await;
    let copy = dir.path().join("copy.db");
    let mut cuts = 0;
    for (n, pair) in moments.windows(2).enumerate() {
        let [now, next] = pair else { unreachable!("windows of two") };
        assert!(next.log.starts_with(&now.log), "the log only grows here");
        // The run is many writes: only its last acknowledgement is known here, so it is no pair of neighbours.
        if next.acknowledged.len() - now.acknowledged.len() > 2 {
            continue;
        }
        let (from, to) = (now.log.len(), next.log.len());
        // Around the parts of each frame, and every 509th byte between: header 32, frames of 24 and 4096.
        let edge = |at: usize| [0, 1, 8, 23, 24, 25, 4119].contains(&(at.saturating_sub(32) % 4120));
        let near = |at: &usize| edge(*at) || at.is_multiple_of(509);
        for cut in (from..=to).filter(near) {
            let events = found(&copy, now, &next.log[..cut]);
            judge(&events, now, next, &format!("moment {n}, cut at {cut}"));
            let mut zeros = next.log.clone();
            zeros[cut..].fill(0);
            let events = found(&copy, now, &zeros);
            judge(&events, now, next, &format!("moment {n}, zeros from {cut}"));
            cuts += 1;
        }
        // The last part arrived, an earlier one did not.
        for hole in (from..to.saturating_sub(512)).step_by(1536) {
            let mut torn = next.log.clone();
            torn[hole..hole + 512].fill(0);
            let events = found(&copy, now, &torn);
            judge(&events, now, next, &format!("moment {n}, hole at {hole}"));
        }
    }
    assert!(cuts > 300, "{cuts}");
}

/// The log starts again from its beginning after a checkpoint: what lies behind the new part is old and is not believed.
#[test]
fn a_log_that_begins_again_is_cut_just_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let sqlite = Arc::new(SqliteStore::open_with(&path, 0).unwrap());
    let store = FaultyStore::new(sqlite.clone(), None);
    let journal = Journal::open(store.clone(), || Timestamp::UNIX_EPOCH).unwrap();
    let refuse = |n| journal.refuse(nth(n), body(0, &[]), "no".to_owned(), json!({"n": n})).unwrap();
    (1..=5).for_each(|n| drop(refuse(n)));
    checkpoint(&sqlite);
    let taken = || Moment {
        database: fs::read(&path).unwrap(),
        log: fs::read(log_of(&path)).unwrap(),
        acknowledged: store.acknowledged(),
    };
    refuse(6);
    let now = taken();
    refuse(7);
    let next = taken();
    assert_eq!(now.log.len(), next.log.len(), "old frames lie behind the new ones");
    assert_eq!(now.database, next.database);
    let copy = dir.path().join("copy.db");
    let changed: Vec<usize> = (0..now.log.len()).filter(|at| now.log[*at] != next.log[*at]).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    for cut in (first..=last + 1).filter(|at: &usize| at.is_multiple_of(97) || at - first < 32) {
        let mixed = [&next.log[..cut], &now.log[cut..]].concat();
        judge(&found(&copy, &now, &mixed), &now, &next, &format!("begun again, cut at {cut}"));
    }
    assert_ne!(journal.list(felhom_journal::Which::Newest, 1).unwrap()[0].id(), id());
}

/// Writes the log back into the database and lets it begin again.
fn checkpoint(store: &SqliteStore) {
    // Inside a transaction SQLite refuses it, so a second connection does it, as a reader may.
    let path = store.transact("test", |tx| Ok(tx.path().unwrap_or_default().to_owned())).unwrap();
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
}
