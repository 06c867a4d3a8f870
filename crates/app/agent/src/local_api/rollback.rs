//! `rollback`: a guest wishes an earlier state of itself. As one thing that survives every restart:
//!
//! restore beside the guest → cutover, which waits for the customer's confirmation → the copy has taken over. If the cutover
//! comes to nothing (nobody confirmed, a veto, a refusal), the copy is discarded, so that the next one finds room.
//!
//! Each step is kept before it is asked for, and its request's id is the same each time, so whoever asks twice gets the same
//! operation. Whether any of it may be is the executor's gate to say.

use super::caller::Caller;
use super::{Api, Refusal};
use crate::ask::{self, PassError};
use crate::shared::Shared;
use crate::store::StoreError;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use felhom_model::{GuestUuid, OperationId, OperationState, Volid};
use felhom_protocol::executor::OperationRequest;
use felhom_protocol::local_api::{RollbackPhase, RollbackRequest, RollbackStatus};
use felhom_protocol::status;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Without news it is looked again after this.
const EVERY: Duration = Duration::from_secs(2);
/// Guests with a rollback that is not forgotten.
const GUESTS: &str = "rollbacks";

/// What is kept of a rollback; the last one of each guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    guest: GuestUuid,
    /// Counts this guest's rollbacks; part of the requests' ids.
    n: u64,
    copy: Option<GuestUuid>,
    discard: Option<OperationId>,
    status: RollbackStatus,
}

impl Kept {
    fn request(&self, kind: &str, params: Value) -> OperationRequest {
        OperationRequest {
            request_id: format!("guest:{}:rollback:{}:{kind}", self.guest, self.n),
            kind: kind.to_owned(),
            params,
            reason: "an earlier state, asked for in the guest".to_owned(),
            asked_by: "guest".to_owned(),
        }
    }
}

fn key(guest: GuestUuid) -> String {
    format!("rollback:{guest}")
}

fn read<T: serde::de::DeserializeOwned>(shared: &Shared, key: &str) -> Result<Option<T>, StoreError> {
    let doing = "read a rollback";
    let text = shared.store.meta(key)?;
    let content = |e: serde_json::Error| StoreError::Content { doing, why: e.to_string() };
    text.map(|text| serde_json::from_str(&text).map_err(content)).transpose()
}

fn write<T: Serialize>(shared: &Shared, key: &str, value: &T) -> Result<(), StoreError> {
    let content = |e: serde_json::Error| StoreError::Content { doing: "keep a rollback", why: e.to_string() };
    shared.store.set_meta(key, &serde_json::to_string(value).map_err(content)?)
}

/// `GET /v1/rollback`.
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Json<Option<RollbackStatus>>, Refusal> {
    let kept: Option<Kept> = read(&api.shared, &key(caller.guest)).map_err(Refusal::internal)?;
    Ok(Json(kept.map(|kept| kept.status)))
}

/// `POST /v1/rollback`: the same one while it is under way.
pub(super) async fn request(
    State(api): State<Api>,
    caller: Caller,
    Json(request): Json<RollbackRequest>,
) -> Result<Json<RollbackStatus>, Refusal> {
    let shared = &api.shared;
    if let Some(archive) = &request.archive
        && !is_own(shared, caller.guest, archive)
    {
        return Err(Refusal::not_yours());
    }
    let last: Option<Kept> = read(shared, &key(caller.guest)).map_err(Refusal::internal)?;
    match &last {
        Some(kept) if !kept.status.phase.is_final() && kept.status.archive == request.archive => {
            return Ok(Json(kept.status.clone()));
        }
        Some(kept) if !kept.status.phase.is_final() => {
            let message = "another rollback of this guest is under way; veto it first";
            return Err(Refusal::new(StatusCode::CONFLICT, "another_under_way", message));
        }
        Some(_) | None => {}
    }
    let kept = Kept {
        guest: caller.guest,
        n: last.map_or(0, |last| last.n + 1),
        copy: None,
        discard: None,
        status: RollbackStatus {
            archive: request.archive,
            phase: RollbackPhase::Restoring,
            restore: None,
            cutover: None,
            message: None,
            since: shared.now(),
        },
    };
    begin(shared, &kept).map_err(Refusal::internal)?;
    shared.tell();
    Ok(Json(kept.status))
}

fn is_own(shared: &Shared, guest: GuestUuid, archive: &Volid) -> bool {
    let view = shared.view();
    view.observation.iter().flat_map(|seen| &seen.archives).any(|a| a.guest == guest && a.volid == *archive)
}

/// The list of guests first: one without a rollback costs nothing.
fn begin(shared: &Shared, kept: &Kept) -> Result<(), StoreError> {
    let mut guests: Vec<GuestUuid> = read(shared, GUESTS)?.unwrap_or_default();
    if !guests.contains(&kept.guest) {
        guests.push(kept.guest);
        write(shared, GUESTS, &guests)?;
    }
    write(shared, &key(kept.guest), kept)
}

/// Takes rollbacks on, for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.changes();
    loop {
        if let Err(error) = pass(&shared).await {
            tracing::warn!("rollback: {error}");
        }
        let _ = tokio::time::timeout(EVERY, changes.changed()).await;
        // News come in bursts.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn pass(shared: &Shared) -> Result<(), PassError> {
    let guests: Vec<GuestUuid> = read(shared, GUESTS)?.unwrap_or_default();
    for guest in guests {
        let Some(kept) = read::<Kept>(shared, &key(guest))? else { continue };
        if kept.status.phase.is_final() {
            continue;
        }
        match step(shared, kept.clone()).await {
            Ok(next) if next.status != kept.status || next.discard != kept.discard => {
                tracing::info!(%guest, phase = ?next.status.phase, "rollback");
                write(shared, &key(guest), &next)?;
                shared.tell();
            }
            Ok(_) => {}
            // Another guest's rollback does not wait for this one.
            Err(error) => tracing::debug!(%guest, "rollback: {error}"),
        }
    }
    Ok(())
}

/// One step on; the same again where it has to wait.
async fn step(shared: &Shared, kept: Kept) -> Result<Kept, PassError> {
    match kept.status.phase {
        RollbackPhase::Restoring => restore(shared, kept).await,
        RollbackPhase::Confirm | RollbackPhase::CuttingOver => cut_over(shared, kept).await,
        RollbackPhase::Discarding => discard(shared, kept).await,
        RollbackPhase::Done | RollbackPhase::Failed => Ok(kept),
    }
}

/// The operation: as it is now if it was asked for, else asked for.
async fn operation(
    shared: &Shared,
    known: Option<OperationId>,
    request: OperationRequest,
) -> Result<Option<status::Operation>, PassError> {
    match known {
        Some(id) => ask::find(shared, id).await,
        None => Ok(Some(shared.executor.request(&request).await?)),
    }
}

fn why(operation: Option<&status::Operation>) -> Option<String> {
    let Some(operation) = operation else { return Some("the executor does not know it any more".to_owned()) };
    Some(operation.reason.clone().unwrap_or_else(|| operation.verdict.clone()))
}

async fn restore(shared: &Shared, mut kept: Kept) -> Result<Kept, PassError> {
    let request =
        kept.request("restore_guest", json!({ "guest": kept.guest, "archive": kept.status.archive }));
    let operation = operation(shared, kept.status.restore, request).await?;
    kept.status.restore = operation.as_ref().map(|op| op.id).or(kept.status.restore);
    match operation {
        Some(op) if op.state == OperationState::Done && op.guest.is_some() => {
            kept.copy = op.guest;
            kept.status.phase = RollbackPhase::Confirm;
        }
        Some(op) if !op.state.is_final() => kept.status.message = op.reason,
        ended => {
            kept.status.phase = RollbackPhase::Failed;
            kept.status.message = why(ended.as_ref());
        }
    }
    Ok(kept)
}

async fn cut_over(shared: &Shared, mut kept: Kept) -> Result<Kept, PassError> {
    let request = kept.request("cutover_guest", json!({ "guest": kept.guest, "copy": kept.copy }));
    let operation = operation(shared, kept.status.cutover, request).await?;
    kept.status.cutover = operation.as_ref().map(|op| op.id).or(kept.status.cutover);
    kept.status.message = why(operation.as_ref());
    kept.status.phase = match operation.map(|op| op.state) {
        Some(OperationState::PendingAuthorization | OperationState::Waiting | OperationState::Pending) => {
            RollbackPhase::Confirm
        }
        Some(OperationState::Running | OperationState::RollingBack | OperationState::NeedsOperator) => {
            RollbackPhase::CuttingOver
        }
        Some(OperationState::Done) => {
            kept.status.message = None;
            RollbackPhase::Done
        }
        Some(
            OperationState::Refused
            | OperationState::Expired
            | OperationState::Vetoed
            | OperationState::RolledBack,
        )
        | None => RollbackPhase::Discarding,
    };
    Ok(kept)
}

async fn discard(shared: &Shared, mut kept: Kept) -> Result<Kept, PassError> {
    let request = kept.request("discard_restored_copy", json!({ "guest": kept.copy }));
    let operation = operation(shared, kept.discard, request).await?;
    kept.discard = operation.as_ref().map(|op| op.id).or(kept.discard);
    if operation.is_none_or(|op| op.state.is_final()) {
        // What the gate does not let go stays as it is, and is seen in the list of guests.
        kept.status.phase = RollbackPhase::Failed;
    }
    Ok(kept)
}
