//! The hub's database: one SQL text for SQLite (and PostgreSQL later), one module per table or two.
//!
//! Steps of a write: the work is spawned, so that a request that is dropped half-way never leaves the caller unsure and
//! the transaction half-done; it runs in one transaction that takes the write lock at once; commit; answer. Reads run in
//! one transaction as well, so that a page never mixes two moments.
//!
//! **Architecture invariant:** functions of the submodules take a connection and the time; they never open one, never
//! look at a clock, and never decide anything about boxes.

pub(crate) mod audit_heads;
pub(crate) mod boxes;
pub(crate) mod challenges;
pub(crate) mod desired;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod messages;
pub(crate) mod operators;
pub(crate) mod reports;
pub(crate) mod sightings;
pub(crate) mod tickets;
pub(crate) mod waiting;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};

use crate::files::{self, FileError};

/// The connection inside a transaction.
pub(crate) type Conn = SqliteConnection;
/// Work inside a transaction.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Cause>> + Send + 'c>>;

/// Older SQLite libraries can corrupt databases in WAL mode.
const MIN_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// What went wrong, and during what.
#[derive(Debug, thiserror::Error)]
#[error("{doing} failed: {cause}")]
pub(crate) struct StoreError {
    doing: &'static str,
    cause: Cause,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// The database's own error.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// A value in the database cannot be read back.
    #[error("the database holds {what} that cannot be read: {why}")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The task that wrote ended without an answer; the write may or may not have happened.
    #[error("the writing task ended early: {0}")]
    Lost(String),
}

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Connecting failed.
    #[error("cannot open the database {file}: {source}")]
    Open {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// Its tables cannot be brought up to date.
    #[error("cannot bring the database {file} up to date: {source}")]
    Migrate {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// The file cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// The linked library.
    #[error("the linked SQLite is {0}; 3.51.3 or newer is needed, older ones can corrupt the database")]
    TooOld(String),
}

/// The open database.
#[derive(Clone)]
pub(crate) struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Store {
    /// Opens it, makes it if it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) async fn open(file: &Path) -> Result<Self, OpenError> {
        let wrap = |source| OpenError::Open { file: file.to_owned(), source };
        files::make_private_file(file)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(wrap)?;
        let version: String =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&writer).await.map_err(wrap)?;
        if parse_version(&version) < MIN_SQLITE {
            return Err(OpenError::TooOld(version));
        }
        sqlx::migrate!("./migrations")
            .run(&writer)
            .await
            .map_err(|source| OpenError::Migrate { file: file.to_owned(), source })?;
        let reader = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.map_err(wrap)?;
        Ok(Self { writer, reader })
    }

    /// Runs work that writes, to its end even if the caller goes away.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then, except for [`Cause::Lost`].
    pub(crate) async fn write<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn) -> Work<'c, T> + Send + 'static,
    {
        let pool = self.writer.clone();
        let task = tokio::spawn(async move {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            let answer = work(&mut transaction).await?;
            transaction.commit().await?;
            Ok(answer)
        });
        task.await
            .unwrap_or_else(|e| Err(Cause::Lost(e.to_string())))
            .map_err(|cause| StoreError { doing, cause })
    }

    /// Runs work that only reads, on one moment of the database.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn read<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        F: for<'c> FnOnce(&'c mut Conn) -> Work<'c, T>,
    {
        let run = async {
            let mut transaction = self.reader.begin().await?;
            let answer = work(&mut transaction).await?;
            transaction.rollback().await?;
            Ok(answer)
        };
        run.await.map_err(|cause| StoreError { doing, cause })
    }

    /// Closes all connections, after the work that is under way.
    pub(crate) async fn close(&self) {
        self.writer.close().await;
        self.reader.close().await;
    }
}

fn parse_version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// Milliseconds since 1970, as times are kept.
pub(crate) fn to_ms(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// The time of a column.
///
/// # Errors
/// [`Cause::Corrupt`] outside the years that exist.
pub(crate) fn from_ms(ms: i64) -> Result<Timestamp, Cause> {
    Timestamp::from_millisecond(ms).map_err(|e| Cause::Corrupt { what: "a time", why: e.to_string() })
}

/// A typed value of a text column.
///
/// # Errors
/// [`Cause::Corrupt`].
pub(crate) fn parse<T: FromStr>(what: &'static str, text: &str) -> Result<T, Cause>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| Cause::Corrupt { what, why: e.to_string() })
}

/// A typed value of a JSON column.
///
/// # Errors
/// [`Cause::Corrupt`].
pub(crate) fn parse_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Cause> {
    serde_json::from_str(text).map_err(|e| Cause::Corrupt { what, why: e.to_string() })
}

/// JSON text for a column.
///
/// # Errors
/// [`Cause::Corrupt`] if the value cannot be JSON, e.g. a map with keys that are no text.
pub(crate) fn to_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, Cause> {
    serde_json::to_string(value).map_err(|e| Cause::Corrupt { what, why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(parse_version("3.51.3") >= MIN_SQLITE);
        assert!(parse_version("3.9.0") < MIN_SQLITE);
        assert!(parse_version("3.100.0") > MIN_SQLITE);
    }
}
