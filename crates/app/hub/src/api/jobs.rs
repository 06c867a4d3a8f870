//! Jobs and operations of a box.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use felhom_model::JobId;
use felhom_protocol::hub_api::{AddJob, JobView};
use felhom_protocol::status::Operation;
use jiff::SignedDuration;

use super::document::{BadBody, BadPath, NoBox, NoRandomness, Refusals};
use super::request::{ApiError, At, Input, OfBox, Operator};
use crate::fleet;
use crate::hub::{Hub, Inner};
use crate::store::jobs::QUEUED;
use crate::store::{boxes, jobs, reports};

/// How long a job is good if nothing was said.
const DEFAULT_TTL_S: u64 = 3600;
/// How long it may be good.
const MAX_TTL_S: u64 = 30 * 86_400;
/// Longest name of a kind, and longest parameters, bytes: as long as a box takes them, for a rotation carries a whole file.
const MAX_KIND: usize = 64;
const MAX_PARAMS: usize = 64 << 10;

/// Asks a box for a job. Any kind is taken: the box decides, and its refusal is shown.
#[utoipa::path(
    post,
    path = "/boxes/{name}/jobs",
    operation_id = "add_job",
    tag = "jobs and operations",
    params(OfBox),
    request_body = AddJob,
    responses(
        (status = 201, body = JobView, description = "Kept, and offered to the box with its next sync."),
        BadBody,
        NoBox,
        NoRandomness,
        Refusals,
    )
)]
pub(crate) async fn add(
    State(hub): State<Hub>,
    Operator(author): Operator,
    At(OfBox { name }): At<OfBox>,
    Input(wanted): Input<AddJob>,
) -> Result<(StatusCode, Json<JobView>), ApiError> {
    let job = enqueue(&hub, &name, &author, wanted).await?;
    Ok((StatusCode::CREATED, Json(job)))
}

/// Keeps a job and wakes its box. Any kind is taken: the box decides.
///
/// # Errors
/// 400, 404.
pub(crate) async fn enqueue(
    hub: &Inner,
    name: &str,
    author: &str,
    wanted: AddJob,
) -> Result<JobView, ApiError> {
    let bad = |message: String| Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message));
    if wanted.kind.is_empty() || wanted.kind.len() > MAX_KIND {
        return bad(format!("`kind` must have 1 to {MAX_KIND} bytes"));
    }
    if wanted.params.to_string().len() > MAX_PARAMS {
        return bad(format!("`params` are larger than {MAX_PARAMS} bytes"));
    }
    let ttl = wanted.ttl_s.unwrap_or(DEFAULT_TTL_S);
    if !(1..=MAX_TTL_S).contains(&ttl) {
        return bad(format!("`ttl_s` = {ttl} is outside 1 to {MAX_TTL_S} seconds"));
    }
    let now = hub.now();
    let ulid = hub.new_ulid(now)?;
    let job = JobView {
        id: JobId::from_parts(ulid.timestamp_ms(), ulid.random()),
        kind: wanted.kind,
        params: wanted.params,
        author: author.to_owned(),
        created: now,
        deadline: now + SignedDuration::from_secs(ttl.cast_signed()),
        state: QUEUED.to_owned(),
        message: "waits for the box to come".to_owned(),
        operation: None,
    };
    let (kept, box_name) = (job.clone(), name.to_owned());
    let known = hub
        .store
        .write("keeping a job", move |c| {
            Box::pin(async move {
                let known = boxes::by_name(c, &box_name).await?.is_some();
                if known {
                    jobs::add(c, &box_name, &kept).await?;
                }
                Ok(known)
            })
        })
        .await?;
    if !known {
        return Err(ApiError::no_box(name));
    }
    hub.waiters.tell(name);
    Ok(job)
}

/// Lists the jobs of a box, newest first.
#[utoipa::path(
    get,
    path = "/boxes/{name}/jobs",
    operation_id = "list_jobs",
    tag = "jobs and operations",
    params(OfBox),
    responses(
        (status = 200, body = Vec<JobView>, description = "Its jobs."),
        BadPath,
        NoBox,
        Refusals,
    )
)]
pub(crate) async fn list(
    State(hub): State<Hub>,
    _: Operator,
    At(OfBox { name }): At<OfBox>,
) -> Result<Json<Vec<JobView>>, ApiError> {
    let box_name = name.clone();
    let jobs = hub
        .store
        .read("reading jobs", |c| {
            Box::pin(async move {
                Ok(match boxes::by_name(c, &box_name).await? {
                    Some(_) => Some(jobs::newest(c, &box_name).await?),
                    None => None,
                })
            })
        })
        .await?
        .ok_or_else(|| ApiError::no_box(&name))?;
    let now = hub.now();
    Ok(Json(jobs.into_iter().map(|job| fleet::with_deadline(job, now)).collect()))
}

/// Lists the operations of a box, newest first, also those that its report no longer lists.
#[utoipa::path(
    get,
    path = "/boxes/{name}/operations",
    operation_id = "list_operations",
    tag = "jobs and operations",
    params(OfBox),
    responses(
        (status = 200, body = Vec<Operation>, description = "Its operations."),
        BadPath,
        NoBox,
        Refusals,
    )
)]
pub(crate) async fn operations(
    State(hub): State<Hub>,
    _: Operator,
    At(OfBox { name }): At<OfBox>,
) -> Result<Json<Vec<Operation>>, ApiError> {
    let box_name = name.clone();
    let operations = hub
        .store
        .read("reading operations", |c| {
            Box::pin(async move {
                Ok(match boxes::by_name(c, &box_name).await? {
                    Some(_) => Some(reports::operations(c, &box_name).await?),
                    None => None,
                })
            })
        })
        .await?
        .ok_or_else(|| ApiError::no_box(&name))?;
    Ok(Json(operations))
}
