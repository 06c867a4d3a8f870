//! Operations: ask for one, list, show, cancel.

use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Path, Query, State};
use felhom_journal::{CancelError, State as Journaled, Which};
use felhom_model::OperationId;
use felhom_protocol::executor::OperationRequest;
use felhom_protocol::status;
use serde::Deserialize;
use serde_json::json;

use super::Peer;
use super::answer::Failure;
use crate::marks::to_journal;
use crate::submit::Executor;

/// More are not returned at once; `after` pages on.
const PAGE: usize = 500;

pub(super) async fn submit(
    State(executor): State<Arc<Executor>>,
    Json(ask): Json<OperationRequest>,
) -> Result<Json<status::Operation>, Failure> {
    // A client that goes away must not leave the request half way.
    let services = Arc::clone(&executor.services);
    let submitted = tokio::spawn(async move { executor.submit(ask).await }).await;
    let op = submitted.map_err(|e| Failure::internal(&e.to_string()))??;
    Ok(Json(services.shown(&op)))
}

#[derive(Deserialize)]
pub(super) struct After {
    after: Option<OperationId>,
}

pub(super) async fn list(
    State(executor): State<Arc<Executor>>,
    Query(After { after }): Query<After>,
) -> Result<Json<Vec<status::Operation>>, Failure> {
    // Without a cursor the newest are what one wants to see; with one, nothing may be left out.
    let which = after.map_or(Which::Newest, |after| Which::After(to_journal(after)));
    let mut all = executor.services.journal.list(which, PAGE)?;
    all.sort_by_key(felhom_journal::Operation::id);
    Ok(Json(all.iter().map(|op| executor.services.shown(op)).collect()))
}

pub(super) async fn show(
    State(executor): State<Arc<Executor>>,
    Path(id): Path<String>,
) -> Result<Json<status::Operation>, Failure> {
    Ok(Json(executor.services.shown(&find(&executor, &id)?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancel {
    reason: String,
}

/// Only for who runs this program, which is root: a hub that could stop a customer's rollback or backups with an unsigned word
/// would need no signature to do harm. What waits for people is ended by their veto.
pub(super) async fn cancel(
    State(executor): State<Arc<Executor>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    Json(Cancel { reason }): Json<Cancel>,
) -> Result<Json<status::Operation>, Failure> {
    if !peer.is_own() {
        return Err(Failure::forbidden("local_root_only", "only root on the box cancels an operation"));
    }
    if reason.trim().is_empty() || reason.len() > 500 {
        return Err(Failure::bad("malformed_request", "`reason` must have 1 to 500 bytes"));
    }
    let op = find(&executor, &id)?;
    if matches!(op.state, Journaled::PendingAuthorization | Journaled::Waiting) {
        let hint = "`felhom veto ID` signs a veto; the customer has one on the guest's page";
        return Err(Failure::conflict_with_hint("waits_for_people", "it waits for people: veto it", hint));
    }
    let by = json!({ "by": "local root" });
    match executor.runner.cancel(op.id(), format!("cancelled by local root: {reason}"), by) {
        Ok(op) => Ok(Json(executor.services.shown(&op))),
        Err(CancelError::Journal(e)) => Err(e.into()),
        Err(e @ CancelError::PastNoReturn { .. }) => {
            Err(Failure::conflict("past_point_of_no_return", &e.to_string()))
        }
        Err(e @ CancelError::Done(_)) => Err(Failure::conflict("done", &e.to_string())),
        Err(e @ CancelError::Stands { .. }) => Err(Failure::conflict_with_hint(
            "needs_operator",
            &e.to_string(),
            "`felhom ops resolve` on an operator's machine",
        )),
    }
}

/// The operation with this id.
pub(super) fn find(executor: &Executor, id: &str) -> Result<felhom_journal::Operation, Failure> {
    let id: OperationId =
        id.parse().map_err(|e: felhom_model::id::IdError| Failure::bad("malformed_id", &e.to_string()))?;
    executor.services.journal.get(to_journal(id))?.ok_or_else(|| {
        Failure::not_found("unknown_operation", &format!("operation {id} is not in the journal"))
    })
}
