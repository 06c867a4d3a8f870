//! Backups that are due: offered to the guest's controller, and made without it if it does not answer in time.

use super::{Result, Store, parsed, parsed_option};
use felhom_model::{GuestUuid, JobId, OperationId, StorageId};
use jiff::Timestamp;
use rusqlite::{Row, params};

/// A backup that is due; at most one a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// Of this guest.
    pub(crate) guest: GuestUuid,
    /// Idempotency key at the executor.
    pub(crate) request_id: String,
    /// To this target.
    pub(crate) target: StorageId,
    /// Why, for people.
    pub(crate) reason: String,
    /// `schedule`, `job:ULID` or `guest`.
    pub(crate) asked_by: String,
    /// The wish that it belongs to.
    pub(crate) wish: Option<String>,
    /// The job that it belongs to.
    pub(crate) job: Option<JobId>,
    /// Since when it is offered.
    pub(crate) since: Timestamp,
    /// The operation, once it was asked for.
    pub(crate) operation: Option<OperationId>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Due> {
    Ok(Due {
        guest: parsed(row, 0)?,
        request_id: row.get(1)?,
        target: parsed(row, 2)?,
        reason: row.get(3)?,
        asked_by: row.get(4)?,
        wish: row.get(5)?,
        job: parsed_option(row, 6)?,
        since: Timestamp::from_second(row.get(7)?).unwrap_or(Timestamp::UNIX_EPOCH),
        operation: parsed_option(row, 8)?,
    })
}

impl Store {
    /// All that are due.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn due(&self) -> Result<Vec<Due>> {
        self.with("read what is due", |db| {
            let sql =
                "SELECT guest, request_id, target, reason, asked_by, wish, job, since, operation FROM due";
            let mut statement = db.prepare(sql)?;
            let rows = statement.query_map([], read)?;
            rows.collect()
        })
    }

    /// What is due of one guest.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn due_of(&self, guest: GuestUuid) -> Result<Option<Due>> {
        Ok(self.due()?.into_iter().find(|due| due.guest == guest))
    }

    /// Makes a backup due, unless one of this guest is. Tells whether it did.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn offer(&self, due: &Due) -> Result<bool> {
        let (guest, job) = (due.guest.to_string(), due.job.map(|id| id.to_string()));
        let operation = due.operation.map(|id| id.to_string());
        self.with("make a backup due", |db| {
            let made = db.execute(
                "INSERT OR IGNORE INTO due (guest, request_id, target, reason, asked_by, wish, job, since, operation)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    guest,
                    due.request_id,
                    due.target.to_string(),
                    due.reason,
                    due.asked_by,
                    due.wish,
                    job,
                    due.since.as_second(),
                    operation
                ],
            )?;
            Ok(made == 1)
        })
    }

    /// The executor was asked and answered with this operation.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn due_began(&self, request_id: &str, operation: OperationId) -> Result<()> {
        self.with("note a backup", |db| {
            let sql = "UPDATE due SET operation = ?2 WHERE request_id = ?1";
            db.execute(sql, params![request_id, operation.to_string()]).map(drop)
        })
    }

    /// A job joins a backup that is due and was not asked for yet. Tells whether it did.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn join_due(&self, guest: GuestUuid, job: JobId) -> Result<bool> {
        self.with("join a backup", |db| {
            let sql = "UPDATE due SET job = ?2 WHERE guest = ?1 AND operation IS NULL AND (job IS NULL OR job = ?2)";
            Ok(db.execute(sql, params![guest.to_string(), job.to_string()])? == 1)
        })
    }

    /// It is over.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn due_over(&self, request_id: &str) -> Result<()> {
        self.with("end a backup", |db| {
            db.execute("DELETE FROM due WHERE request_id = ?1", [request_id]).map(drop)
        })
    }
}
