//! `felhom-controller read APP/VOLUME/PATH`: data of a volume without a network, for restore tests and repairs.
//!
//! It reads from volumes of apps only, and never through a link out of one.

use crate::{paths::Paths, quiesce::sample};
use felhom_protocol::probe::SampleId;
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde_json::{Value, json};
use std::io::{self, Write};

/// The file that `text` names: `APP/VOLUME/PATH`, or its absolute path in the guest.
///
/// # Errors
/// What is expected, when it is neither.
pub fn parse(text: &str) -> io::Result<SampleId> {
    let bad = || {
        let why = format!("`{text}` is no file of an app's volume; write APP/VOLUME/PATH");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    };
    let (app, volume, path) = match text.strip_prefix("/var/lib/felhom/volumes/") {
        Some(rest) => {
            let (dir, path) = rest.split_once('/').ok_or_else(bad)?;
            let (app, volume) = dir.split_once('_').ok_or_else(bad)?;
            (app, volume, path)
        }
        None => {
            let (app, rest) = text.split_once('/').ok_or_else(bad)?;
            let (volume, path) = rest.split_once('/').ok_or_else(bad)?;
            (app, volume, path)
        }
    };
    let app = app.parse().map_err(|_| bad())?;
    Ok(SampleId { app, volume: volume.to_owned(), path: path.to_owned(), offset: None, length: None })
}

/// Writes the file's bytes.
///
/// # Errors
/// When the file is not there, is outside its volume, or cannot be read; with its name in the text.
pub fn bytes(paths: &Paths, id: &SampleId, output: &mut impl Write) -> io::Result<()> {
    let mut file = sample::open(paths, id)?;
    io::copy(&mut file, output)?;
    output.flush()
}

/// Its SHA-256 and size as one JSON object.
///
/// # Errors
/// As [`bytes`].
pub fn digest(paths: &Paths, id: &SampleId) -> io::Result<Value> {
    let bytes = sample::open(paths, id)?.metadata()?.len();
    Ok(json!({ "file": id, "bytes": bytes, "digest": sample::digest(paths, id)? }))
}

/// The content of an SQLite database, the same text for the same content, however its pages lie: per table in the order
/// of names, its rows in the order of all their columns.
///
/// # Errors
/// As [`bytes`], and SQLite's.
pub fn rows(paths: &Paths, id: &SampleId) -> io::Result<Value> {
    // Opened once so that a link out of the volume is refused.
    sample::open(paths, id)?;
    let path = paths.volume(&id.app, &id.volume).join(&id.path);
    all_rows(&path).map_err(|e| crate::files::about("reading the database", &path, &io::Error::other(e)))
}

fn all_rows(path: &std::path::Path) -> rusqlite::Result<Value> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let snapshot = db.unchecked_transaction()?;
    let mut query = snapshot.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    )?;
    let tables: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut content = serde_json::Map::new();
    for table in tables {
        let quoted = table.replace('"', "\"\"");
        let mut query = snapshot.prepare(&format!("SELECT * FROM \"{quoted}\""))?;
        let columns = query.column_count();
        let order: Vec<String> = (1..=columns).map(|n| n.to_string()).collect();
        let order = order.join(", ");
        drop(query);
        query = snapshot.prepare(&format!("SELECT * FROM \"{quoted}\" ORDER BY {order}"))?;
        let names: Vec<String> = query.column_names().into_iter().map(str::to_owned).collect();
        let rows = query.query_map([], |row| {
            let cell = |(n, name): (usize, &String)| Ok((name.clone(), value(row.get_ref(n)?)));
            names.iter().enumerate().map(cell).collect::<rusqlite::Result<serde_json::Map<_, _>>>()
        })?;
        let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
        content.insert(table, json!(rows));
    }
    Ok(Value::Object(content))
}

fn value(cell: ValueRef<'_>) -> Value {
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => json!({ "blob": hex::encode(bytes) }),
    }
}
