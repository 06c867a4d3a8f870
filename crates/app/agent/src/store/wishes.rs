//! Tries of each wish: what is under way, what ended and when.

use super::{Result, Store, json, parsed, parsed_option};
use felhom_model::OperationId;
use felhom_planner::{Damping, Past};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension as _, params};

/// Ends older than this do not damp any more.
const RECENT: SignedDuration = SignedDuration::from_hours(1);
/// Wishes for one scheduled time are forgotten after this; they never come again.
const FORGET: SignedDuration = SignedDuration::from_hours(24 * 30);

impl Store {
    /// The past of all wishes, for the planner.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn damping(&self, now: Timestamp) -> Result<Damping> {
        self.with("read the wishes", |db| {
            let mut statement =
                db.prepare("SELECT wish, tries, last_ended, ends FROM wish WHERE tries > 0")?;
            let rows = statement.query_map([], |row| {
                let ends: Vec<i64> = json(row, 3)?;
                let since = now.saturating_sub(RECENT).map_or(i64::MIN, Timestamp::as_second);
                let recent = ends.iter().filter(|end| **end > since).count();
                let past = Past {
                    tries: row.get(1)?,
                    recent: u32::try_from(recent).unwrap_or(u32::MAX),
                    last_ended: Timestamp::from_second(row.get(2)?).unwrap_or(Timestamp::UNIX_EPOCH),
                };
                Ok((row.get::<_, String>(0)?, past))
            })?;
            rows.collect()
        })
    }

    /// The operation that is under way for a wish.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn inflight(&self, wish: &str) -> Result<Option<OperationId>> {
        self.with("read a wish", |db| {
            let read = |row: &rusqlite::Row<'_>| parsed_option(row, 0);
            let row = db.query_row("SELECT inflight FROM wish WHERE wish = ?1", [wish], read).optional();
            row.map(Option::flatten)
        })
    }

    /// Every operation that is under way for some wish.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn all_inflight(&self) -> Result<Vec<(String, OperationId)>> {
        self.with("read the wishes", |db| {
            let mut statement = db.prepare("SELECT wish, inflight FROM wish WHERE inflight IS NOT NULL")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, parsed(row, 1)?)))?;
            rows.collect()
        })
    }

    /// A try has begun.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn begun(&self, wish: &str, operation: OperationId) -> Result<()> {
        self.with("note a try", |db| {
            db.execute(
                "INSERT INTO wish (wish, tries, inflight, last_ended, ends) VALUES (?1, 0, ?2, 0, '[]')
                 ON CONFLICT (wish) DO UPDATE SET inflight = ?2",
                params![wish, operation.to_string()],
            )
            .map(drop)
        })
    }

    /// The try that was under way has ended.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn ended(&self, wish: &str, at: Timestamp) -> Result<()> {
        let end = at.as_second();
        self.transaction("note the end of a try", |db| {
            let old: Option<Vec<i64>> = db
                .query_row("SELECT ends FROM wish WHERE wish = ?1", [wish], |row| json(row, 0))
                .optional()?;
            let mut ends = old.unwrap_or_default();
            ends.push(end);
            let newest = ends.len().saturating_sub(16);
            let text = serde_json::to_string(&ends[newest..]).unwrap_or_else(|_| "[]".to_owned());
            db.execute(
                "UPDATE wish SET tries = tries + 1, inflight = NULL, last_ended = ?2, ends = ?3
                 WHERE wish = ?1 AND inflight IS NOT NULL",
                params![wish, end, text],
            )?;
            let old = at.saturating_sub(FORGET).map_or(i64::MIN, Timestamp::as_second);
            db.execute(
                "DELETE FROM wish WHERE inflight IS NULL AND last_ended < ?1
                 AND (wish LIKE 'backup:%' OR wish LIKE 'restore\\_test:%' ESCAPE '\\')",
                [old],
            )
            .map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_numbered_and_end_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let (wish, operation) = ("start_guest:a:1", OperationId::from_parts(1, 1));
        assert_eq!(store.damping(at(0)).unwrap().next(wish, at(0)), Ok(format!("{wish}#0")));
        store.begun(wish, operation).unwrap();
        assert_eq!(store.inflight(wish).unwrap(), Some(operation));
        store.ended(wish, at(10)).unwrap();
        store.ended(wish, at(11)).unwrap();
        assert_eq!(store.inflight(wish).unwrap(), None);
        let damping = store.damping(at(12)).unwrap();
        assert!(damping.next(wish, at(12)).is_err());
        assert_eq!(damping.next(wish, at(60)), Ok(format!("{wish}#1")), "counted once");
    }

    #[test]
    fn old_scheduled_wishes_are_forgotten_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        let at = |day: i64| Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap();
        for wish in ["backup:a:1", "restore_test:a:1", "start_guest:a:1"] {
            store.begun(wish, OperationId::from_parts(1, 1)).unwrap();
            store.ended(wish, at(0)).unwrap();
        }
        store.begun("backup:a:2", OperationId::from_parts(2, 1)).unwrap();
        store.ended("backup:a:2", at(31)).unwrap();
        let damping = store.damping(at(31)).unwrap();
        assert_eq!(damping.next("backup:a:1", at(32)).unwrap(), "backup:a:1#0");
        assert_eq!(damping.next("restore_test:a:1", at(32)).unwrap(), "restore_test:a:1#0");
        assert_eq!(damping.next("start_guest:a:1", at(32)).unwrap(), "start_guest:a:1#1");
    }
}
