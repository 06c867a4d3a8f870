//! A hostile hub: it rewrites a receipt in its own database, so that the proof looks better than it was.

use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;

use super::Meddling;
use crate::demo::driver::Demo;

/// Everywhere the receipt's text stands, and inside JSON once more.
const REWRITE: [(&str, &str); 2] =
    [("\\\"took_ms\\\":", "\\\"took_ms\\\":9"), ("\"took_ms\":", "\"took_ms\":9")];

pub(super) fn alter_at_hub(demo: &Demo) -> Result<Meddling> {
    let path = demo.world.path("hub/hub.sqlite");
    let database = Connection::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    database.busy_timeout(Duration::from_secs(5))?;
    let replaced = REWRITE
        .iter()
        .fold("NEW.body".to_owned(), |inner, (from, to)| format!("replace({inner}, '{from}', '{to}')"));
    for table in ["receipts", "reports"] {
        for event in ["INSERT", "UPDATE OF body"] {
            let name = format!("meddle_{table}_{}", &event[..6].to_lowercase());
            // A trigger is not fired by its own update: recursive triggers are off.
            database.execute_batch(&format!(
                "CREATE TRIGGER {name} AFTER {event} ON {table} WHEN instr(NEW.body, 'took_ms') > 0 BEGIN \
                 UPDATE {table} SET body = {replaced} WHERE rowid = NEW.rowid; END;"
            ))?;
        }
    }
    Ok(Meddling::over())
}
