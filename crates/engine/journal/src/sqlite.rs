//! The journal on SQLite: one file, one writer connection, one process.
//!
//! Tables: `operation` and `step` (the fold as people and queries read it), `event` (append-only, guarded by triggers),
//! `owned`. A lock file beside the database keeps a second process out; WAL with `synchronous=FULL`, so that a commit
//! that returned survives a power cut.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use ulid::Ulid;

use crate::event::{Event, Recorded};
use crate::state::{Operation, StepView};
use crate::store::{
    Body, Envelope, JournalStore, NewOperation, OperationId, Progress, StoreError, StoredOperation, Which,
};

/// Older SQLite versions can corrupt WAL databases.
const MIN_SQLITE: i32 = 3_051_003;
const SCHEMA_VERSION: i64 = 1;
const EVENT_VERSION: i64 = 1;

const SCHEMA: &str = "
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

/// Why the journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock file.
    #[error("{path} is in use by another process (its lock is held): stop that one first")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file could not be made or locked.
    #[error("lock file {path}: {source}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database's files could not be made private.
    #[error("making {path} readable by its owner only: {source}")]
    Private {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The linked SQLite is too old.
    #[error("SQLite {found} is linked, at least 3.51.3 is needed (older ones can corrupt WAL databases)")]
    TooOld {
        /// The version found.
        found: String,
    },
    /// The database was written by a newer program.
    #[error("{path} has schema version {found}, this program knows {SCHEMA_VERSION}: use the newer program")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// SQLite failed.
    #[error("opening {path}: {source}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// The journal's database, locked to this process while it lives.
#[derive(Debug)]
pub struct SqliteStore {
    conn: Mutex<Connection>,
    path: PathBuf,
    _lock: File,
}

impl SqliteStore {
    /// Opens or makes the database at `path` (0600, its side files too) and takes the lock `path.lock`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed unless it is [`OpenError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if rusqlite::version_number() < MIN_SQLITE {
            return Err(OpenError::TooOld { found: rusqlite::version().to_owned() });
        }
        let lock = lock(path)?;
        private(path).map_err(|source| OpenError::Private { path: path.to_owned(), source })?;
        let conn = prepare(path).map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
        let found: i64 = conn
            .query_row("PRAGMA user_version", [], |r| r.get(0))
            .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
        match found {
            SCHEMA_VERSION => {}
            0 => conn
                .execute_batch(&format!(
                    "BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                ))
                .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?,
            found => return Err(OpenError::Newer { path: path.to_owned(), found }),
        }
        Ok(Self { conn: Mutex::new(conn), path: path.to_owned(), _lock: lock })
    }

    /// Runs `work` in one transaction on the one writer connection, for tables of the domain in the same database.
    ///
    /// # Errors
    /// What `work` or the commit said, as [`StoreError`] with `what` in it.
    pub fn transact<T>(
        &self,
        what: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut conn = self.lock();
        (|| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let out = work(&tx)?;
            tx.commit()?;
            Ok(out)
        })()
        .map_err(|e: rusqlite::Error| StoreError {
            what: format!("{what} in {}", self.path.display()),
            why: e.to_string(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let io = |source| OpenError::Lock { path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path, source }),
    }
}

/// The database may hold secrets: made 0600 before SQLite sees it, whose side files then get the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::set_permissions(&name, Permissions::from_mode(0o600)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", "ON")?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(conn)
}

impl JournalStore for SqliteStore {
    fn create(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, StoreError> {
        self.transact("recording a new operation", |tx| {
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

    fn append(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, StoreError> {
        self.transact("appending events", |tx| write_events(tx, events, after))
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

fn write_events(tx: &Transaction<'_>, events: &[Event], after: &Operation) -> rusqlite::Result<Vec<u64>> {
    let id = after.id().to_string();
    let at = after.updated_at.to_string();
    let mut numbers = Vec::with_capacity(events.len());
    for event in events {
        tx.execute(
            "INSERT INTO event (operation, at, version, body) VALUES (?1,?2,?3,?4)",
            params![id, at, EVENT_VERSION, to_json(event)?],
        )?;
        numbers.push(u64::try_from(tx.last_insert_rowid()).unwrap_or_default());
        if let Event::StepIntended { owns, .. } = event {
            for resource in owns {
                tx.execute(
                    "INSERT OR IGNORE INTO owned (operation, resource) VALUES (?1,?2)",
                    params![id, resource],
                )?;
            }
        }
    }
    tx.execute(
        "UPDATE operation SET state = ?2, active = ?3, reason = ?4, updated_at = ?5 WHERE id = ?1",
        params![id, after.state.as_str(), after.state.is_active(), after.reason, at],
    )?;
    for (n, step) in after.steps.iter().enumerate() {
        write_step(tx, &id, n, step)?;
    }
    Ok(numbers)
}

fn write_step(tx: &Transaction<'_>, id: &str, n: usize, step: &StepView) -> rusqlite::Result<()> {
    let text = |v: &Option<serde_json::Value>| v.as_ref().map(ToString::to_string);
    tx.execute(
        "INSERT INTO step (operation, n, name, state, intent, handle, outcome) VALUES (?1,?2,?3,?4,?5,?6,?7)
         ON CONFLICT (operation, n) DO UPDATE SET state = ?4, intent = ?5, handle = ?6, outcome = ?7
         WHERE state <> ?4 OR handle IS NOT ?6",
        params![
            id,
            index(n),
            step.name,
            step.state.as_str(),
            text(&step.intent),
            text(&step.handle),
            text(&step.outcome)
        ],
    )
    .map(drop)
}

fn read_operation(tx: &Transaction<'_>, id: OperationId) -> rusqlite::Result<Option<NewOperation>> {
    tx.query_row(
        "SELECT request_key, requested_by, created_boot, kind, kind_version, params, claims, created_at
           FROM operation WHERE id = ?1",
        [id.to_string()],
        |r| {
            Ok(NewOperation {
                envelope: Envelope { id, request_key: r.get(0)?, requested_by: r.get(1)?, boot: r.get(2)? },
                body: Body {
                    kind: r.get(3)?,
                    kind_version: r.get(4)?,
                    params: json(r, 5)?,
                    claims: json(r, 6)?,
                },
                created_at: timestamp(r, 7)?,
            })
        },
    )
    .optional()
}

fn recorded(r: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Recorded> {
    let version: i64 = r.get(first + 2)?;
    if version != EVENT_VERSION {
        return Err(broken(first + 2, format!("event version {version} is unknown")));
    }
    Ok(Recorded {
        seq: u64::try_from(r.get::<_, i64>(first)?).unwrap_or_default(),
        at: timestamp(r, first + 1)?,
        event: json(r, first + 3)?,
    })
}

fn index(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn json<T: serde::de::DeserializeOwned>(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&r.get::<_, String>(column)?).map_err(|e| broken(column, e.to_string()))
}

fn timestamp(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    r.get::<_, String>(column)?.parse().map_err(|e: jiff::Error| broken(column, e.to_string()))
}

fn operation_id(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<OperationId> {
    Ulid::from_string(&r.get::<_, String>(column)?)
        .map(OperationId)
        .map_err(|e| broken(column, e.to_string()))
}

fn broken(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
}
