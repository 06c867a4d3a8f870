//! The tables, and how a database of an older version gets them.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// What this program writes.
pub(super) const SCHEMA_VERSION: i64 = 2;

/// Frozen: what version 1 made. Later versions add to it below, so that old and new databases go the same way.
const VERSION_1: &str = "
CREATE TABLE operation (
  id TEXT PRIMARY KEY, request_key TEXT NOT NULL UNIQUE, requested_by TEXT NOT NULL, created_boot TEXT NOT NULL,
  kind TEXT NOT NULL, kind_version INTEGER NOT NULL, params TEXT NOT NULL, claims TEXT NOT NULL,
  created_at TEXT NOT NULL, state TEXT NOT NULL, active INTEGER NOT NULL, reason TEXT, updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX operation_active ON operation(active) WHERE active = 1;
CREATE TABLE event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL REFERENCES operation(id), at TEXT NOT NULL,
  version INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX event_operation ON event(operation, seq);
CREATE TRIGGER event_is_append_only_u BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER event_is_append_only_d BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TABLE step (
  operation TEXT NOT NULL REFERENCES operation(id), n INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
  intent TEXT, handle TEXT, outcome TEXT, progress TEXT, PRIMARY KEY (operation, n)
) STRICT;
CREATE TABLE owned (
  operation TEXT NOT NULL REFERENCES operation(id), resource TEXT NOT NULL, PRIMARY KEY (operation, resource)
) STRICT;
";

/// Consent: what was given, and which tokens were used up by it.
const VERSION_2: &str = "
ALTER TABLE operation ADD COLUMN authorization TEXT;
CREATE TABLE consumed (token TEXT PRIMARY KEY, operation TEXT NOT NULL REFERENCES operation(id)) STRICT;
CREATE TRIGGER consumed_is_append_only_u BEFORE UPDATE ON consumed
  BEGIN SELECT RAISE(ABORT, 'consumed tokens are append-only'); END;
CREATE TRIGGER consumed_is_append_only_d BEFORE DELETE ON consumed
  BEGIN SELECT RAISE(ABORT, 'consumed tokens are append-only'); END;
";

/// The version of a database; 0 if it is new.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |r| r.get(0))
}

/// Brings a database of version `found` (at most [`SCHEMA_VERSION`]) to this one, all or nothing.
pub(super) fn migrate(conn: &Connection, found: i64) -> rusqlite::Result<()> {
    let steps: String = [(1, VERSION_1), (2, VERSION_2)]
        .into_iter()
        .filter(|(version, _)| *version > found)
        .map(|(_, step)| step)
        .collect();
    if steps.is_empty() {
        return Ok(());
    }
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    tx.execute_batch(&format!("{steps} PRAGMA user_version = {SCHEMA_VERSION};"))?;
    tx.commit()
}
