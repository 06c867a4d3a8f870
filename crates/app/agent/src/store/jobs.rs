//! Jobs of the hub: the same id is the same job, kept until the hub knows its end.

use super::{Result, Store, json, parsed_option, to_json};
use felhom_model::{JobId, OperationId};
use felhom_protocol::hub_sync::{FINAL_JOB_STATES, Job, JobReport};
use rusqlite::{OptionalExtension as _, params};

/// More jobs than this are not taken in; the hub offers the rest again.
const MOST: i64 = 500;

/// A job and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptJob {
    /// As the hub wrote it.
    pub(crate) job: Job,
    /// Where it stands.
    pub(crate) report: JobReport,
}

impl Store {
    /// Takes jobs in that are not known yet. Tells whether there was one.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn take_jobs(&self, jobs: &[Job]) -> Result<bool> {
        let doing = "take jobs in";
        let texts = jobs.iter().map(|job| Ok((job.id.to_string(), to_json(doing, job)?)));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        self.transaction(doing, |db| {
            let mut taken = 0;
            for (id, job) in &texts {
                taken += db.execute(
                    "INSERT OR IGNORE INTO job (id, job, state, message, operation)
                     SELECT ?1, ?2, 'accepted', 'waits for its turn', NULL
                     WHERE (SELECT count(*) FROM job) < ?3",
                    params![id, job, MOST],
                )?;
            }
            Ok(taken > 0)
        })
    }

    /// All jobs that are kept, oldest first.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn jobs(&self) -> Result<Vec<KeptJob>> {
        self.with("read the jobs", |db| {
            let mut statement = db.prepare("SELECT job, state, message, operation FROM job ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                let job: Job = json(row, 0)?;
                let operation: Option<OperationId> = parsed_option(row, 3)?;
                let report = JobReport { id: job.id, state: row.get(1)?, message: row.get(2)?, operation };
                Ok(KeptJob { job, report })
            })?;
            rows.collect()
        })
    }

    /// Notes where a job stands. What ended stays ended.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn note_job(&self, report: &JobReport) -> Result<()> {
        let (id, operation) = (report.id.to_string(), report.operation.map(|id| id.to_string()));
        self.transaction("note a job", |db| {
            let read = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
            let old = db.query_row("SELECT state FROM job WHERE id = ?1", [&id], read).optional()?;
            if old.is_none_or(|state| FINAL_JOB_STATES.contains(&state.as_str())) {
                return Ok(());
            }
            let sql =
                "UPDATE job SET state = ?2, message = ?3, operation = coalesce(?4, operation) WHERE id = ?1";
            db.execute(sql, params![id, report.state, report.message, operation]).map(drop)
        })
    }

    /// Forgets jobs whose end the hub has acknowledged.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn forget_jobs(&self, ids: &[JobId]) -> Result<()> {
        self.transaction("forget jobs", |db| {
            for id in ids {
                db.execute("DELETE FROM job WHERE id = ?1", [id.to_string()])?;
            }
            Ok(())
        })
    }
}
