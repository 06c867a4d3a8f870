//! The journal on SQLite: one file, one writer connection, one process.
//!
//! Tables: `operation` and `step` (the fold as people and queries read it), `event` (append-only, guarded by triggers),
//! `owned`, `consumed`. A lock file beside the database keeps a second process out; WAL with `synchronous=FULL`, so that a
//! commit that returned survives a power cut; a ballast file keeps room to finish on a full disk.

mod ballast;
mod files;
mod rows;
mod schema;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::event::{Event, Recorded};
use crate::state::Operation;
use crate::store::{
    JournalStore, NewOperation, OperationId, Progress, StoreError, StoredOperation, Which, WriteError,
};
use ballast::Ballast;
use files::{check_sqlite, lock, prepare, private};
use rows::{Refused, index, json, operation_id, read_operation, recorded, to_json, write_events};
use schema::{SCHEMA_VERSION, migrate, version};

pub use ballast::BALLAST;
pub use files::OpenError;

/// Sees every transaction that changed something, before it is committed and after it was. Crash points live in such a hook.
pub trait Hook: std::fmt::Debug + Send + Sync {
    /// The transaction is about to be committed.
    ///
    /// # Errors
    /// Whatever should come of the commit instead of doing it; what was changed is rolled back.
    fn before_commit(&self, what: &str) -> rusqlite::Result<()>;
    /// It is on disk, the caller does not know it yet.
    fn after_commit(&self, _what: &str) {}
}

/// The journal's database, locked to this process while it lives.
#[derive(Debug)]
pub struct SqliteStore {
    inside: Mutex<Inside>,
    hook: Option<Arc<dyn Hook>>,
    path: PathBuf,
    _lock: File,
}

#[derive(Debug)]
struct Inside {
    conn: Connection,
    ballast: Ballast,
}

impl SqliteStore {
    /// Opens or makes the database at `path` (0600, its side files too), takes the lock `path.lock`, and keeps
    /// [`BALLAST`] bytes of room in `path.ballast`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed unless it is [`OpenError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, BALLAST)
    }

    /// As [`SqliteStore::open`], with a ballast of `ballast` bytes. Where there is no room for it the store opens without: a
    /// full disk must not keep the program from finishing what it began.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed unless it is [`OpenError::Sqlite`].
    pub fn open_with(path: &Path, ballast: u64) -> Result<Self, OpenError> {
        check_sqlite(rusqlite::version_number(), rusqlite::version())?;
        let lock = lock(path)?;
        private(path).map_err(|source| OpenError::Private { path: path.to_owned(), source })?;
        let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let ballast = Ballast::at(path, ballast);
        let conn = on_full(&ballast, || prepare(path)).map_err(sqlite)?;
        let found = version(&conn).map_err(sqlite)?;
        if !(0..=SCHEMA_VERSION).contains(&found) {
            return Err(OpenError::Newer { path: path.to_owned(), found });
        }
        on_full(&ballast, || migrate(&conn, found)).map_err(sqlite)?;
        ballast.fill();
        Ok(Self {
            inside: Mutex::new(Inside { conn, ballast }),
            hook: None,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The same with a hook that sees its commits.
    #[must_use]
    pub fn with_hook(self, hook: Arc<dyn Hook>) -> Self {
        Self { hook: Some(hook), ..self }
    }

    /// Runs `work` in one transaction on the one writer connection, for tables of the domain in the same database. On a full
    /// disk the ballast is released and `work` runs once more, in a new transaction.
    ///
    /// # Errors
    /// What `work` or the commit said, as [`StoreError`] with `what` in it.
    pub fn transact<T>(
        &self,
        what: &str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.in_transaction(what, work).map_err(|e| self.failed(what, &e))
    }

    /// The number of the last journaled event; 0 if there is none. It never goes back, unless the file was replaced.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        self.transact("reading the last event's number", |tx| {
            tx.query_row("SELECT coalesce(max(seq), 0) FROM event", [], |r| r.get::<_, i64>(0))
        })
        .map(i64::unsigned_abs)
    }

    fn write(&self, what: &str, work: impl Fn(&Transaction<'_>) -> Result<Vec<u64>, Refused>) -> Written {
        self.in_transaction(what, work).map_err(|refused| match refused {
            Refused::Consumed(token) => WriteError::AlreadyConsumed { token },
            Refused::Sqlite(e) => WriteError::Store(self.failed(what, &e)),
        })
    }

    /// All of `work`, or nothing of it: an error drops the transaction, which rolls it back.
    fn in_transaction<T, E: From<rusqlite::Error> + IsFull>(
        &self,
        what: &str,
        work: impl Fn(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut inside = self.lock();
        let Inside { conn, ballast } = &mut *inside;
        on_full(ballast, || {
            let before = conn.total_changes();
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let out = work(&tx)?;
            let hook = self.hook.as_ref().filter(|_| tx.total_changes() != before);
            if let Some(hook) = hook {
                hook.before_commit(what)?;
            }
            tx.commit()?;
            if let Some(hook) = hook {
                hook.after_commit(what);
            }
            Ok(out)
        })
    }

    fn failed(&self, what: &str, e: &rusqlite::Error) -> StoreError {
        StoreError { what: format!("{what} in {}", self.path.display()), why: e.to_string() }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Written = Result<Vec<u64>, WriteError>;

/// Runs `write`; if the disk is full, releases the ballast and runs it once more.
fn on_full<T, E: IsFull>(ballast: &Ballast, mut write: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    match write() {
        Err(e) if e.is_full() && ballast.release() => write(),
        other => other,
    }
}

/// Errors that can mean a full disk.
trait IsFull {
    fn is_full(&self) -> bool;
}

impl IsFull for rusqlite::Error {
    fn is_full(&self) -> bool {
        self.sqlite_error_code() == Some(ErrorCode::DiskFull)
    }
}

impl IsFull for Refused {
    fn is_full(&self) -> bool {
        match self {
            Self::Sqlite(e) => e.is_full(),
            Self::Consumed(_) => false,
        }
    }
}

impl JournalStore for SqliteStore {
    fn create(&self, events: &[Event], after: &Operation) -> Written {
        self.write("recording a new operation", |tx| {
            let NewOperation { envelope, body, created_at } = &after.new;
            tx.execute(
                "INSERT INTO operation (id, request_key, requested_by, created_boot, kind, kind_version, params, claims,
                   created_at, state, active, updated_at) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,'pending',1,?9)",
                params![
                    envelope.id.to_string(),
                    envelope.request_key,
                    envelope.requested_by,
                    envelope.boot,
                    body.kind,
                    body.kind_version,
                    body.params.to_string(),
                    to_json(&body.claims)?,
                    created_at.to_string(),
                ],
            )?;
            write_events(tx, events, after)
        })
    }

    fn append(&self, events: &[Event], after: &Operation) -> Written {
        self.write("appending events", |tx| write_events(tx, events, after))
    }

    fn progress(&self, id: OperationId, step: usize, progress: &Progress) -> Result<(), StoreError> {
        self.transact("keeping progress", |tx| {
            tx.execute(
                "UPDATE step SET progress = ?3 WHERE operation = ?1 AND n = ?2",
                params![id.to_string(), index(step), to_json(progress)?],
            )
            .map(drop)
        })
    }

    fn load(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError> {
        self.transact("reading an operation", |tx| {
            let Some(new) = read_operation(tx, id)? else { return Ok(None) };
            let mut statement =
                tx.prepare("SELECT seq, at, version, body FROM event WHERE operation = ?1 ORDER BY seq")?;
            let events = statement
                .query_map([id.to_string()], |r| recorded(r, 0))?
                .collect::<rusqlite::Result<Vec<Recorded>>>()?;
            let mut statement =
                tx.prepare("SELECT n, progress FROM step WHERE operation = ?1 AND progress IS NOT NULL")?;
            let progress = statement
                .query_map([id.to_string()], |r| {
                    Ok((usize::try_from(r.get::<_, i64>(0)?).unwrap_or(usize::MAX), json::<Progress>(r, 1)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(Some(StoredOperation { new, events, progress }))
        })
    }

    fn by_request_key(&self, key: &str) -> Result<Option<OperationId>, StoreError> {
        self.transact("looking a request up", |tx| {
            tx.query_row("SELECT id FROM operation WHERE request_key = ?1", [key], |r| operation_id(r, 0))
                .optional()
        })
    }

    fn list(&self, which: Which, limit: usize) -> Result<Vec<OperationId>, StoreError> {
        self.transact("listing operations", |tx| {
            let (filter, after) = match which {
                Which::Active => ("active = 1 AND id > ?2 ORDER BY id", String::new()),
                Which::Newest => ("id > ?2 ORDER BY id DESC", String::new()),
                Which::After(id) => ("id > ?2 ORDER BY id", id.to_string()),
            };
            let mut statement = tx.prepare(&format!("SELECT id FROM operation WHERE {filter} LIMIT ?1"))?;
            statement.query_map(params![index(limit), after], |r| operation_id(r, 0))?.collect()
        })
    }

    fn events_after(&self, seq: u64, limit: usize) -> Result<Vec<(OperationId, Recorded)>, StoreError> {
        self.transact("reading events", |tx| {
            let mut statement = tx.prepare(
                "SELECT operation, seq, at, version, body FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )?;
            let seq = i64::try_from(seq).unwrap_or(i64::MAX);
            statement
                .query_map(params![seq, index(limit)], |r| Ok((operation_id(r, 0)?, recorded(r, 1)?)))?
                .collect()
        })
    }

    fn owns(&self, id: OperationId, resource: &str) -> Result<bool, StoreError> {
        self.transact("reading ownership", |tx| {
            tx.query_row(
                "SELECT EXISTS (SELECT 1 FROM owned WHERE operation = ?1 AND resource = ?2)",
                params![id.to_string(), resource],
                |r| r.get(0),
            )
        })
    }
}
