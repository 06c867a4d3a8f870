//! The agent's memory: one SQLite database (WAL, `synchronous=FULL`). What is here survives any kill; all else is observed
//! anew.
//!
//! | table | holds |
//! |---|---|
//! | `meta` | small values by name |
//! | `desired` | the last good document, and what was merged from all that were accepted |
//! | `job` | jobs of the hub until it knows their end |
//! | `message` | what people say to the box, until the hub knows what came of it |
//! | `wish` | how often each wish was tried, see `felhom_planner::damping` |
//! | `due` | backups that are due, until they are over |
//! | `condition` | conditions with their date |

mod conditions;
mod desired;
mod due;
mod jobs;
mod messages;
mod wishes;

pub(crate) use desired::Held;
pub(crate) use due::Due;
pub(crate) use jobs::KeptJob;

use rusqlite::{Connection, OptionalExtension as _, Row};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Older versions can corrupt a WAL database.
const OLDEST_SQLITE: i32 = 3_051_003;

const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE desired (
        one INTEGER PRIMARY KEY CHECK (one = 1), box_id TEXT NOT NULL, generation INTEGER NOT NULL,
        digest TEXT NOT NULL, bytes BLOB NOT NULL, merged TEXT NOT NULL, absent TEXT NOT NULL
    ) STRICT;
    CREATE TABLE job (
        id TEXT PRIMARY KEY, job TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL, operation TEXT
    ) STRICT;
    CREATE TABLE wish (
        wish TEXT PRIMARY KEY, tries INTEGER NOT NULL, inflight TEXT, last_ended INTEGER NOT NULL,
        ends TEXT NOT NULL
    ) STRICT;
    CREATE TABLE due (
        guest TEXT PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, target TEXT NOT NULL, reason TEXT NOT NULL,
        asked_by TEXT NOT NULL, wish TEXT, job TEXT, since INTEGER NOT NULL, operation TEXT
    ) STRICT;
    CREATE TABLE condition (
        kind TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
        since INTEGER NOT NULL
    ) STRICT;
    PRAGMA user_version = 1;
";

/// What came with version 2.
const MESSAGES: &str = "
    CREATE TABLE message (id TEXT PRIMARY KEY, message TEXT NOT NULL, outcome TEXT) STRICT;
    PRAGMA user_version = 2;
";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// SQLite's word.
    #[error("the agent's database: {doing}: {source}")]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// A value that this version did not write.
    #[error("the agent's database: {doing}: {why}")]
    Content {
        /// What was tried.
        doing: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Not usable with this program.
    #[error("the agent's database: {0}")]
    Unusable(String),
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// The open database. Calls are short; each is one transaction.
#[derive(Debug)]
pub(crate) struct Store(Mutex<Connection>);

impl Store {
    /// Opens the database, makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError`]; also if a newer version of the program wrote it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            let why = format!("SQLite {} is linked, at least 3.51.3 is needed", rusqlite::version());
            return Err(StoreError::Unusable(why));
        }
        let doing = "open it";
        // Made before SQLite sees it, whose side files then get the same mode.
        let private = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        private.map_err(|e| StoreError::Unusable(format!("cannot make {}: {e}", path.display())))?;
        let connection = Connection::open(path).map_err(|source| StoreError::Sqlite { doing, source })?;
        let store = Self(Mutex::new(connection));
        store.with(doing, |db| {
            db.busy_timeout(Duration::from_secs(5))?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")
        })?;
        let version: i64 =
            store.with(doing, |db| db.query_row("PRAGMA user_version", [], |row| row.get(0)))?;
        match version {
            0 => store.migrate(&format!("{SCHEMA} {MESSAGES}"))?,
            1 => store.migrate(MESSAGES)?,
            2 => {}
            newer => {
                let why = format!("schema {newer} was written by a newer felhom-agent; start that one");
                return Err(StoreError::Unusable(why));
            }
        }
        Ok(store)
    }

    fn migrate(&self, sql: &str) -> Result<()> {
        self.with("make its tables", |db| db.execute_batch(&format!("BEGIN; {sql} COMMIT;")))
    }

    fn with<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(&connection).map_err(|source| StoreError::Sqlite { doing, source })
    }

    fn transaction<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction().map_err(|source| StoreError::Sqlite { doing, source })?;
        let value = act(&transaction).map_err(|source| StoreError::Sqlite { doing, source })?;
        transaction.commit().map_err(|source| StoreError::Sqlite { doing, source })?;
        Ok(value)
    }

    /// A small value by name.
    ///
    /// # Errors
    /// [`StoreError`], as all calls here.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<String>> {
        self.with("read a value", |db| {
            db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
        })
    }

    /// Keeps a small value.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.with("keep a value", |db| {
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [key, value]).map(drop)
        })
    }
}

/// A column that holds an identity or a time as text.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|e: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e))
    })
}

fn parsed_option<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match row.get_ref(column)?.data_type() {
        rusqlite::types::Type::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}

/// A column that holds JSON.
fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e))
    })
}

fn to_json<T: serde::Serialize>(doing: &'static str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| StoreError::Content { doing, why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_and_a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sqlite");
        let store = Store::open(&path).unwrap();
        assert_eq!(store.meta("x").unwrap(), None);
        store.set_meta("x", "1").unwrap();
        store.set_meta("x", "2").unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.meta("x").unwrap().as_deref(), Some("2"));
        store.with("test", |db| db.execute_batch("DROP TABLE message; PRAGMA user_version = 1")).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!((store.meta("x").unwrap().as_deref(), store.undelivered().unwrap()), (Some("2"), vec![]));
        store.with("test", |db| db.pragma_update(None, "user_version", 9)).unwrap();
        drop(store);
        assert!(Store::open(&path).unwrap_err().to_string().contains("newer felhom-agent"));
    }
}
