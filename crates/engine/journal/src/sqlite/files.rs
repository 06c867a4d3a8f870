//! The files: the lock, the modes, the connection; and why it all could fail.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::schema::SCHEMA_VERSION;

/// Older SQLite versions can corrupt WAL databases.
pub(super) const MIN_SQLITE: i32 = 3_051_003;

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

/// The name of a file beside the database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Refuses a linked SQLite that is too old.
pub(super) fn check_sqlite(number: i32, name: &str) -> Result<(), OpenError> {
    if number < MIN_SQLITE { Err(OpenError::TooOld { found: name.to_owned() }) } else { Ok(()) }
}

pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let path = beside(path, ".lock");
    let io = |source| OpenError::Lock { path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path, source }),
    }
}

/// The database may hold secrets: made 0600 before SQLite sees it, whose side files then get the same mode.
pub(super) fn private(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    for suffix in ["-wal", "-shm"] {
        match fs::set_permissions(beside(path, suffix), Permissions::from_mode(0o600)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", "ON")?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use super::{MIN_SQLITE, OpenError, check_sqlite};

    #[test]
    fn an_sqlite_that_can_corrupt_the_file_is_refused_and_the_linked_one_is_not() {
        assert!(check_sqlite(rusqlite::version_number(), rusqlite::version()).is_ok());
        assert!(check_sqlite(MIN_SQLITE, "least").is_ok());
        let error = check_sqlite(MIN_SQLITE - 1, "3.51.2").unwrap_err();
        assert!(matches!(&error, OpenError::TooOld { found } if found == "3.51.2"), "{error}");
    }
}
