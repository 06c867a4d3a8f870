//! The calls on one backup: ask for it, follow it, say that the apps stand still, say that they run again.

use super::caller::Caller;
use super::handlers::{LONGEST_S, open_due};
use super::{Api, Refusal};
use crate::store::Due;
use crate::{ask, backups};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use felhom_model::{OperationId, OperationState, StorageId};
use felhom_protocol::SignedBytes;
use felhom_protocol::local_api::{BackupPhase, BackupRequest, BackupStatus, Frozen, Thawed};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use std::convert::Infallible;

/// A stream asks the executor for news in turns of this many seconds.
const TURN_S: u32 = 20;
/// An idempotency key of a guest has at most this many characters.
const LONGEST_ID: usize = 200;

/// `POST /v1/backup`: the backup that is due; without one, a backup that the guest wishes itself.
pub(super) async fn request(
    State(api): State<Api>,
    caller: Caller,
    Json(request): Json<BackupRequest>,
) -> Result<Json<BackupStatus>, Refusal> {
    let own_id = format!("guest:{}:{}", caller.guest, request.request_id);
    let kept = api.shared.store.due_of(caller.guest).map_err(Refusal::internal)?;
    // Also one that is over and not forgotten yet: the same request gets the same answer.
    let same = kept.filter(|due| due.request_id == request.request_id || due.request_id == own_id);
    let due = match same {
        Some(due) => due,
        None if open_due(&api, &caller).await?.is_some() => {
            let message = "another backup of this guest is due; ask for that one";
            return Err(Refusal::new(StatusCode::CONFLICT, "another_is_due", message));
        }
        None => own_wish(&api, &caller, &request.request_id, own_id)?,
    };
    let operation = backups::begin(&api.shared, &due, true).await.map_err(|error| match error {
        ask::PassError::Executor(error) => Refusal::from(error),
        other => Refusal::internal(other),
    })?;
    api.shared.pass.notify_one();
    if operation.state.is_final() && operation.state != OperationState::Done {
        let (phase, message) = (BackupPhase::Failed, operation.reason.or(Some(operation.verdict)));
        return Ok(Json(BackupStatus { id: operation.id, phase, message, signature: None }));
    }
    Ok(Json(ask::patient(ask::PATIENCE, || api.shared.executor.backup(operation.id, None, 0)).await?))
}

/// A guest may back itself up; the gate bounds how often.
fn own_wish(api: &Api, caller: &Caller, asked: &str, own_id: String) -> Result<Due, Refusal> {
    if asked.is_empty() || asked.len() > LONGEST_ID {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "the request id has 1 to 200 characters",
        ));
    }
    if ["backup:", "job:", "guest:"].iter().any(|prefix| asked.starts_with(prefix)) {
        return Err(Refusal::new(StatusCode::CONFLICT, "not_due", "that backup is not due any more"));
    }
    let target = target(api, caller)?;
    let due = Due {
        guest: caller.guest,
        // Apart from other guests' and the schedule's keys.
        request_id: own_id,
        target,
        reason: "asked for in the guest".to_owned(),
        asked_by: "guest".to_owned(),
        wish: None,
        job: None,
        since: api.shared.now(),
        operation: None,
    };
    api.shared.store.offer(&due).map_err(Refusal::internal)?;
    Ok(due)
}

fn target(api: &Api, caller: &Caller) -> Result<StorageId, Refusal> {
    let held = api.shared.store.held().map_err(Refusal::internal)?;
    let mut guests = held.iter().flat_map(|held| &held.merged.guests);
    let policy =
        guests.find(|guest| Some(&guest.name) == caller.name.as_ref()).and_then(|g| g.backup.clone());
    let view = api.shared.view();
    let mut storages = view.observation.iter().flat_map(|seen| &seen.storages);
    let first = || storages.find(|storage| storage.is_target).map(|storage| storage.id.clone());
    let none = || Refusal::new(StatusCode::CONFLICT, "no_target", "this box has no target for backups");
    policy.map(|policy| policy.target).or_else(first).ok_or_else(none)
}

/// Whether the backup is this guest's. Another guest's and one that does not exist get the same words.
async fn own(api: &Api, caller: &Caller, id: &str) -> Result<OperationId, Refusal> {
    let id: OperationId = id.parse().map_err(|_| Refusal::not_yours())?;
    let operation = match ask::find(&api.shared, id).await {
        Ok(operation) => operation,
        Err(ask::PassError::Executor(error)) => return Err(error.into()),
        Err(other) => return Err(Refusal::internal(other)),
    };
    let mine = operation.is_some_and(|op| op.kind == "backup_guest" && op.guest == Some(caller.guest));
    if mine { Ok(id) } else { Err(Refusal::not_yours()) }
}

/// How long to wait, and for what.
#[derive(Debug, Deserialize)]
pub(super) struct After {
    after: Option<BackupPhase>,
    #[serde(default)]
    wait_s: u32,
}

/// `GET /v1/backup/{id}`: once the phase is past `after`, or as a stream of phases.
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = own(&api, &caller, &id).await?;
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        let events = phases(api, id, query.after);
        return Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response());
    }
    let wait_s = query.wait_s.min(LONGEST_S);
    let status = ask::patient(ask::PATIENCE, || api.shared.executor.backup(id, query.after, wait_s)).await?;
    Ok(Json(status).into_response())
}

/// Each phase once, to the end. The stream ends early if the executor is gone; the guest then asks again.
fn phases(
    api: Api,
    id: OperationId,
    after: Option<BackupPhase>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some((api, after)), move |state| async move {
        let (api, after) = state?;
        loop {
            let call = || api.shared.executor.backup(id, after, TURN_S);
            let status = ask::patient(ask::PATIENCE, call).await.ok()?;
            if after.is_some_and(|after| status.phase <= after) && !status.phase.is_final() {
                continue;
            }
            let event = Event::default().json_data(&status).ok()?;
            let next = (!status.phase.is_final()).then_some((api, Some(status.phase)));
            return Some((Ok(event), next));
        }
    })
}

/// `POST /v1/backup/{id}/frozen`: the executor verifies the signature and keeps the digests.
pub(super) async fn frozen(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Json(signed): Json<SignedBytes>,
) -> Result<Json<BackupStatus>, Refusal> {
    let id = own(&api, &caller, &id).await?;
    let frozen: Frozen = serde_json::from_slice(&signed.bytes).map_err(|e| {
        Refusal::new(StatusCode::BAD_REQUEST, "malformed", format!("this is no `frozen`: {e}"))
    })?;
    if frozen.guest != caller.guest || frozen.id != id {
        return Err(Refusal::not_yours());
    }
    Ok(Json(ask::patient(ask::PATIENCE, || api.shared.executor.frozen(id, &signed)).await?))
}

/// `POST /v1/backup/{id}/thawed`.
pub(super) async fn thawed(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Json(thawed): Json<Thawed>,
) -> Result<Json<BackupStatus>, Refusal> {
    let id = own(&api, &caller, &id).await?;
    Ok(Json(ask::patient(ask::PATIENCE, || api.shared.executor.thawed(id, &thawed)).await?))
}
