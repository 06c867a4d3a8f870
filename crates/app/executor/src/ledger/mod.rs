//! The ownership ledger: what this box made, recorded before it is made; in the journal's database.
//!
//! | table | a row is |
//! |---|---|
//! | `guest` | a guest, and the container that bears it now; no container becomes a copy or scratch guest later |
//! | `archive` | a backup that ended well |
//! | `archive_making` | an archive that an operation is about to make; Proxmox names the file only later |
//! | `freeze` | what a controller said of a backup: samples at the freeze, measured downtime |
//! | `receipt` | a signed result of a restore test |
//! | `challenge`, `consent` | what people are asked, and their signatures |
//! | `operators` | a version of the operators' file |
//! | `audit` | an entry of the audit log |
//! | `notice` | what a customer was told, and whether it was seen |
//! | `setting` | what the agent told us: local API, box id |
//!
//! A failed write breaks the journal ([`felhom_journal::Journal::guard`]): no side effect follows.

mod archives;
mod audit;
mod consents;
mod guests;
mod making;
mod notices;
mod places;
mod watermark;

use std::path::PathBuf;
use std::sync::Arc;

use felhom_journal::{Journal, JournalError, SqliteStore, StoreError};
use rusqlite::{OptionalExtension as _, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use archives::{ArchiveDetail, ArchiveRow, FreezeRow, ReceiptRow};
pub use audit::AuditRead;
pub use consents::{ChallengeRow, ConsentDocument, ConsentRow, who};
pub use guests::{GuestDetail, GuestRow, GuestRun, RowState};
pub use notices::NoticeRow;
pub use places::Places;
pub use watermark::Watermark;

use watermark::WatermarkFile;

/// The setting that counts how often this box was enrolled, or found its database older than it was.
pub const EPOCH: &str = "epoch";

/// The setting with the epoch from which on a kept watermark says something: what was ahead before was dealt with.
pub const DEALT_WITH: &str = "dealt_with";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS guest (
  uuid TEXT PRIMARY KEY, purpose TEXT NOT NULL, vmid INTEGER NOT NULL, state TEXT NOT NULL, made_by TEXT NOT NULL,
  made_as TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS guest_vmid ON guest(vmid);
CREATE TRIGGER IF NOT EXISTS guest_purpose_is_given_at_creation BEFORE UPDATE ON guest
  WHEN NEW.purpose IN ('copy', 'scratch') AND NEW.purpose <> NEW.made_as
  BEGIN SELECT RAISE(ABORT, 'nothing becomes a copy or scratch guest later'); END;
CREATE TRIGGER IF NOT EXISTS guest_made_as_goes_with_the_container BEFORE UPDATE OF made_as ON guest
  WHEN OLD.made_as <> NEW.made_as AND (OLD.made_by = NEW.made_by OR OLD.vmid = NEW.vmid)
  BEGIN SELECT RAISE(ABORT, 'what a container was made as does not change'); END;
CREATE TRIGGER IF NOT EXISTS guest_row_stays BEFORE DELETE ON guest
  BEGIN SELECT RAISE(ABORT, 'rows of the ledger stay'); END;
CREATE TABLE IF NOT EXISTS archive (
  volid TEXT PRIMARY KEY, guest TEXT NOT NULL, taken_at TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS archive_making (
  operation TEXT PRIMARY KEY, guest TEXT NOT NULL, vmid INTEGER NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS archive_making_stays BEFORE DELETE ON archive_making
  BEGIN SELECT RAISE(ABORT, 'rows of the ledger stay'); END;
CREATE TABLE IF NOT EXISTS freeze (operation TEXT PRIMARY KEY, detail TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS receipt (
  operation TEXT PRIMARY KEY, guest TEXT NOT NULL, volid TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS challenge (
  digest TEXT PRIMARY KEY, operation TEXT NOT NULL, guest TEXT, signed TEXT NOT NULL,
  issued_boottime_ms INTEGER NOT NULL, lifetime_ms INTEGER NOT NULL, boot TEXT NOT NULL, open INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS consent (
  challenge TEXT NOT NULL REFERENCES challenge(digest), operation TEXT NOT NULL, who TEXT NOT NULL,
  given_by TEXT NOT NULL, document TEXT NOT NULL, ran_s INTEGER NOT NULL,
  counts INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (challenge, who)
) STRICT;
CREATE TRIGGER IF NOT EXISTS consent_stays BEFORE DELETE ON consent
  BEGIN SELECT RAISE(ABORT, 'consents stay'); END;
CREATE TABLE IF NOT EXISTS operators (version INTEGER PRIMARY KEY, document BLOB NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS operators_stay BEFORE DELETE ON operators
  BEGIN SELECT RAISE(ABORT, 'versions of the operators'' file stay'); END;
CREATE TABLE IF NOT EXISTS notice (
  operation TEXT NOT NULL, guest TEXT NOT NULL, stage TEXT NOT NULL, kind TEXT NOT NULL, about TEXT NOT NULL,
  notice TEXT NOT NULL, told_s INTEGER, acknowledged_s INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS notice_operation ON notice(operation, guest);
CREATE TRIGGER IF NOT EXISTS notice_stays BEFORE DELETE ON notice
  BEGIN SELECT RAISE(ABORT, 'notices stay'); END;
CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
";

/// The ledger. Reads and writes are small; each write is one synced transaction.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Arc<SqliteStore>,
    journal: Arc<Journal>,
    watermark: Option<Arc<WatermarkFile>>,
}

impl Ledger {
    /// Opens the ledger in the journal's database, making its tables if they are not there. It keeps no watermark, see
    /// [`Ledger::with_watermark`].
    ///
    /// # Errors
    /// [`JournalError`] if the tables cannot be made.
    pub fn open(store: Arc<SqliteStore>, journal: Arc<Journal>) -> Result<Self, JournalError> {
        journal.guard(store.transact("making the ledger's tables", |tx| {
            tx.execute_batch(TABLES)?;
            tx.execute_batch(audit::TABLE)
        }))?;
        Ok(Self { store, journal, watermark: None })
    }

    /// Keeps a watermark in this file.
    #[must_use]
    pub fn with_watermark(self, path: PathBuf) -> Self {
        Self { watermark: Some(Arc::new(WatermarkFile::at(path))), ..self }
    }

    fn write<T>(
        &self,
        what: &str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        self.journal.guard(self.store.transact(what, work))
    }

    fn read<T>(
        &self,
        what: &str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.store.transact(what, work)
    }

    /// A setting, e.g. `local_api`.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        self.read("reading a setting", |tx| {
            tx.query_row("SELECT value FROM setting WHERE key = ?1", [key], |r| json(r, 0)).optional()
        })
    }

    /// Keeps a setting.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn set_setting(&self, key: &str, value: &impl Serialize) -> Result<(), JournalError> {
        self.write("keeping a setting", |tx| {
            let value = to_json(value)?;
            tx.execute(
                "INSERT INTO setting (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
                params![key, value],
            )
            .map(drop)
        })
    }
}

impl Ledger {
    /// Forgets a setting; whether there was one.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn forget_setting(&self, key: &str) -> Result<bool, JournalError> {
        self.write("forgetting a setting", |tx| {
            tx.execute("DELETE FROM setting WHERE key = ?1", [key]).map(|rows| rows > 0)
        })
    }
}

fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn json<T: DeserializeOwned>(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&r.get::<_, String>(column)?).map_err(|e| broken(column, &e))
}

fn parsed<T: std::str::FromStr>(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::fmt::Display,
{
    r.get::<_, String>(column)?.parse().map_err(|e: T::Err| broken(column, &e))
}

fn broken(column: usize, why: &dyn std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.to_string().into())
}

#[cfg(test)]
mod tests;
