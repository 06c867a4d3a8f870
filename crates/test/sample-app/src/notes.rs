//! Notes in an SQLite database in WAL mode; a note that was answered for is on the disk.

use anyhow::Context as _;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A note as it is stored and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Rises by one for each note.
    pub id: i64,
    /// What was written.
    pub text: String,
}

/// The open database.
#[derive(Debug)]
pub struct Notes(Connection);

impl Notes {
    /// Opens `notes.db` in `dir`, or makes it.
    ///
    /// # Errors
    /// When the file is no database or cannot be opened.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("notes.db");
        let db = Connection::open(&path).with_context(|| format!("opening {}", path.display()))?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL);",
        )
        .with_context(|| format!("preparing {}", path.display()))?;
        Ok(Self(db))
    }

    /// Adds a note; when it returns, the note is on the disk.
    ///
    /// # Errors
    /// SQLite's.
    pub fn add(&self, text: &str) -> rusqlite::Result<Note> {
        self.0.execute("INSERT INTO note (text) VALUES (?1)", [text])?;
        Ok(Note { id: self.0.last_insert_rowid(), text: text.to_owned() })
    }

    /// All notes, oldest first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn all(&self) -> rusqlite::Result<Vec<Note>> {
        let mut query = self.0.prepare("SELECT id, text FROM note ORDER BY id")?;
        let rows = query.query_map([], |row| Ok(Note { id: row.get(0)?, text: row.get(1)? }))?;
        rows.collect()
    }
}
