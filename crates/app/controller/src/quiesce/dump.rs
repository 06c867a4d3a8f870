//! Dumps while the app runs: a consistent copy of each SQLite database, checked before it counts.
//!
//! `VACUUM INTO` reads in one transaction, so a writer neither waits for it nor makes it begin again. The copy is checked
//! (`integrity_check`), synced and renamed; an older good dump stays until then.

use crate::{app::App, app::manifest::Database, files, paths::Paths};
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Why a database could not be dumped or does not pass its check.
#[derive(Debug, thiserror::Error)]
#[error("database {database} of {app}: {action}: {why}")]
pub struct DumpError {
    /// The app.
    pub app: felhom_model::AppName,
    /// The database.
    pub database: String,
    /// What was tried.
    pub action: &'static str,
    /// Why it failed.
    pub why: String,
}

/// A dump that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// The database's name.
    pub database: String,
    /// Its file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Dumps all databases of an app. Blocks. A database that does not exist yet has nothing to dump.
///
/// # Errors
/// [`DumpError`], the first one; then the app counts as not dumped.
pub fn dump_app(paths: &Paths, app: &App) -> Result<Vec<Dump>, DumpError> {
    let present = app
        .manifest
        .databases
        .iter()
        .filter(|db| paths.volume(&app.name, &db.volume).join(&db.path).exists());
    present.map(|database| dump(paths, app, database)).collect()
}

fn dump(paths: &Paths, app: &App, database: &Database) -> Result<Dump, DumpError> {
    let fail = |action: &'static str| {
        let (app, database) = (app.name.clone(), database.name.clone());
        move |e: &dyn std::fmt::Display| DumpError { app, database, action, why: e.to_string() }
    };
    let source = paths.volume(&app.name, &database.volume).join(&database.path);
    let dir = paths.dumps(&app.name);
    let path = dir.join(format!("{}.sqlite", database.name));
    let beside = dir.join(format!(".{}.part", database.name));
    // A dump is the app's data: nobody else in the guest reads it.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|e| fail("making the dump directory")(&e))?;
    files::remove(&beside).map_err(|e| fail("clearing the dump directory")(&e))?;
    open(&source)
        .and_then(|db| db.execute("VACUUM INTO ?1", [beside.to_string_lossy()]))
        .map_err(|e| fail("copying")(&e))?;
    let verdict = integrity(&beside);
    if verdict != Ok("ok".to_owned()) {
        let why = verdict.unwrap_or_else(|e| e);
        return Err(fail("checking the copy")(&why));
    }
    let finish = || {
        let file = std::fs::File::open(&beside)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        std::fs::rename(&beside, &path)?;
        std::fs::File::open(&dir)?.sync_all()?;
        std::io::Result::Ok(bytes)
    };
    let bytes = finish().map_err(|e| fail("keeping the copy")(&e))?;
    Ok(Dump { database: database.name.clone(), path, bytes })
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}

/// SQLite's `integrity_check`: `ok`, or its first complaints.
///
/// # Errors
/// SQLite's reason when the file cannot even be opened as a database.
pub fn integrity(path: &Path) -> Result<String, String> {
    let check = || {
        let db = open(path)?;
        let mut query = db.prepare("PRAGMA integrity_check(5)")?;
        let lines: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(lines.join("; "))
    };
    check().map_err(|e: rusqlite::Error| e.to_string())
}
