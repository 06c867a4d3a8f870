//! Jobs: asked for by operators, delivered with each sync until the box says a final word.

use felhom_model::JobId;
use felhom_protocol::hub_api::JobView;
use felhom_protocol::hub_sync::{Job, JobReport};
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, parse, parse_json, to_json, to_ms};

/// How many are shown.
const SHOWN: i64 = 200;

/// A job that the box has not ended.
#[derive(Debug, Clone)]
pub(crate) struct OpenJob {
    /// As it is sent.
    pub(crate) job: Job,
    /// The box has said nothing of it yet.
    pub(crate) queued: bool,
    /// The box waits for people's signatures, or for the grace after them.
    pub(crate) waits_for_people: bool,
    /// When it was first sent.
    pub(crate) delivered: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Raw {
    id: String,
    kind: String,
    params: String,
    author: String,
    created: i64,
    deadline: i64,
    state: String,
    message: String,
    operation: Option<String>,
    delivered: Option<i64>,
}

impl Raw {
    fn view(self) -> Result<JobView, Cause> {
        Ok(JobView {
            id: parse("a job id", &self.id)?,
            kind: self.kind,
            params: parse_json("parameters of a job", &self.params)?,
            author: self.author,
            created: from_ms(self.created)?,
            deadline: from_ms(self.deadline)?,
            state: self.state,
            message: self.message,
            operation: self.operation.map(|id| parse("an operation id", &id)).transpose()?,
        })
    }

    fn open(self) -> Result<OpenJob, Cause> {
        let delivered = self.delivered.map(from_ms).transpose()?;
        let view = self.view()?;
        let queued = view.state == QUEUED;
        let waits_for_people = ["pending_authorization", "waiting"].contains(&view.state.as_str());
        let JobView { id, kind, params, deadline, author, .. } = view;
        Ok(OpenJob { job: Job { id, kind, params, deadline, author }, queued, waits_for_people, delivered })
    }
}

/// The state before the box said anything.
pub(crate) const QUEUED: &str = "queued";

/// Keeps a new job.
///
/// # Errors
/// The database's.
pub(crate) async fn add(c: &mut Conn, box_name: &str, job: &JobView) -> Result<(), Cause> {
    sqlx::query(
        "INSERT INTO jobs (id, box_name, kind, params, author, created, deadline, state, message, is_final) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)",
    )
    .bind(job.id.to_string())
    .bind(box_name)
    .bind(&job.kind)
    .bind(to_json("parameters of a job", &job.params)?)
    .bind(&job.author)
    .bind(to_ms(job.created))
    .bind(to_ms(job.deadline))
    .bind(&job.state)
    .bind(&job.message)
    .execute(c)
    .await?;
    Ok(())
}

/// The box's jobs, newest first.
///
/// # Errors
/// The database's.
pub(crate) async fn newest(c: &mut Conn, box_name: &str) -> Result<Vec<JobView>, Cause> {
    let rows: Vec<Raw> = sqlx::query_as("SELECT * FROM jobs WHERE box_name = $1 ORDER BY id DESC LIMIT $2")
        .bind(box_name)
        .bind(SHOWN)
        .fetch_all(c)
        .await?;
    rows.into_iter().map(Raw::view).collect()
}

/// The box's jobs that are not over, oldest first.
///
/// # Errors
/// The database's.
pub(crate) async fn open(c: &mut Conn, box_name: &str) -> Result<Vec<OpenJob>, Cause> {
    let rows: Vec<Raw> =
        sqlx::query_as("SELECT * FROM jobs WHERE box_name = $1 AND is_final = 0 ORDER BY id")
            .bind(box_name)
            .fetch_all(c)
            .await?;
    rows.into_iter().map(Raw::open).collect()
}

/// Takes the box's word on a job. A final word stays.
///
/// # Errors
/// The database's.
pub(crate) async fn report(c: &mut Conn, box_name: &str, report: &JobReport) -> Result<(), Cause> {
    sqlx::query(
        "UPDATE jobs SET state = $3, message = $4, operation = COALESCE($5, operation), is_final = $6 \
         WHERE id = $1 AND box_name = $2 AND is_final = 0",
    )
    .bind(report.id.to_string())
    .bind(box_name)
    .bind(&report.state)
    .bind(&report.message)
    .bind(report.operation.map(|id| id.to_string()))
    .bind(i64::from(report.is_final()))
    .execute(c)
    .await?;
    Ok(())
}

/// Notes when a job was sent.
///
/// # Errors
/// The database's.
pub(crate) async fn mark_delivered(c: &mut Conn, id: JobId, now: Timestamp) -> Result<(), Cause> {
    sqlx::query("UPDATE jobs SET delivered = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(to_ms(now))
        .execute(c)
        .await?;
    Ok(())
}

/// Ends what the box has not begun; used when it enrols anew.
///
/// # Errors
/// The database's.
pub(crate) async fn void_open(c: &mut Conn, box_name: &str, why: &str) -> Result<(), Cause> {
    sqlx::query(
        "UPDATE jobs SET state = 'expired', message = $2, is_final = 1 WHERE box_name = $1 AND is_final = 0",
    )
    .bind(box_name)
    .bind(why)
    .execute(c)
    .await?;
    Ok(())
}
