//! Conditions keep the date at which their status last changed, also over restarts.

use super::{Result, Store};
use felhom_model::Generation;
use felhom_planner::{Condition as Planned, Status};
use felhom_protocol::status::{Condition, ConditionStatus};
use jiff::Timestamp;
use rusqlite::params;

const PLANNED: &str = "planned_generation";

fn word(status: ConditionStatus) -> &'static str {
    match status {
        ConditionStatus::True => "true",
        ConditionStatus::False => "false",
        ConditionStatus::Unknown => "unknown",
    }
}

fn status(text: &str) -> ConditionStatus {
    match text {
        "true" => ConditionStatus::True,
        "false" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}

fn wire(status: Status) -> ConditionStatus {
    match status {
        Status::True => ConditionStatus::True,
        Status::False => ConditionStatus::False,
        Status::Unknown => ConditionStatus::Unknown,
    }
}

fn set(db: &rusqlite::Connection, condition: &Planned, now: Timestamp) -> rusqlite::Result<()> {
    let text = word(wire(condition.status));
    db.execute(
        "INSERT INTO condition (kind, status, reason, message, since) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (kind) DO UPDATE SET reason = ?3, message = ?4, status = ?2,
             since = CASE WHEN status = ?2 THEN since ELSE ?5 END
         WHERE status != ?2 OR reason != ?3 OR message != ?4",
        params![condition.kind, text, condition.reason, condition.message, now.as_second()],
    )
    .map(drop)
}

impl Store {
    /// Sets one condition.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn set_condition(&self, condition: &Planned, now: Timestamp) -> Result<()> {
        self.with("keep a condition", |db| set(db, condition, now))
    }

    /// Sets the conditions of a plan for a generation; those of guests that it does not speak of any more go.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn set_plan(
        &self,
        conditions: &[Planned],
        generation: Generation,
        now: Timestamp,
    ) -> Result<()> {
        self.transaction("keep the conditions", |db| {
            for condition in conditions {
                set(db, condition, now)?;
            }
            let mut statement = db.prepare("SELECT kind FROM condition WHERE kind LIKE 'Guest%/%'")?;
            let kinds =
                statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
            for kind in kinds.iter().filter(|kind| conditions.iter().all(|c| c.kind != **kind)) {
                db.execute("DELETE FROM condition WHERE kind = ?1", [kind])?;
            }
            let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
            db.execute(sql, [PLANNED, &generation.to_string()]).map(drop)
        })
    }

    /// The generation that the conditions of the last plan speak of.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn planned(&self) -> Result<Generation> {
        let text = self.meta(PLANNED)?;
        Ok(text.and_then(|text| text.parse().ok()).map(Generation).unwrap_or_default())
    }

    /// All conditions, by name.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn conditions(&self) -> Result<Vec<Condition>> {
        self.with("read the conditions", |db| {
            let sql = "SELECT kind, status, reason, message, since FROM condition ORDER BY kind";
            let mut statement = db.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let text: String = row.get(1)?;
                Ok(Condition {
                    kind: row.get(0)?,
                    status: status(&text),
                    reason: row.get(2)?,
                    message: row.get(3)?,
                    since: Timestamp::from_second(row.get(4)?).unwrap_or(Timestamp::UNIX_EPOCH),
                })
            })?;
            rows.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_last_change_of_status() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let condition = |status, message: &str| Planned {
            kind: "GuestConverged/a".to_owned(),
            status,
            reason: "X",
            message: message.to_owned(),
        };
        store.set_plan(&[condition(Status::False, "one")], Generation(1), at(1)).unwrap();
        store.set_plan(&[condition(Status::False, "two")], Generation(1), at(2)).unwrap();
        let kept = store.conditions().unwrap();
        assert_eq!((kept[0].since, kept[0].message.as_str()), (at(1), "two"));
        store.set_plan(&[condition(Status::True, "two")], Generation(2), at(3)).unwrap();
        assert_eq!(store.conditions().unwrap()[0].since, at(3));
        store.set_plan(&[], Generation(2), at(4)).unwrap();
        assert_eq!(store.conditions().unwrap(), vec![]);
        assert_eq!(store.planned().unwrap(), Generation(2));
    }
}
