//! Operations: ask for one, list, show.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use felhom_journal::Which;
use felhom_model::OperationId;
use felhom_protocol::executor::OperationRequest;
use felhom_protocol::status;
use serde::Deserialize;

use super::answer::Failure;
use crate::marks::to_journal;
use crate::submit::Executor;
use crate::wire;

/// More are not returned at once; `after` pages on.
const PAGE: usize = 500;

pub(super) async fn submit(
    State(executor): State<Arc<Executor>>,
    Json(ask): Json<OperationRequest>,
) -> Result<Json<status::Operation>, Failure> {
    // A client that goes away must not leave the request half way.
    let submitted = tokio::spawn(async move { executor.submit(ask).await }).await;
    let op = submitted.map_err(|e| Failure::internal(&e.to_string()))??;
    Ok(Json(wire::operation(&op)))
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
    Ok(Json(all.iter().map(wire::operation).collect()))
}

pub(super) async fn show(
    State(executor): State<Arc<Executor>>,
    Path(id): Path<String>,
) -> Result<Json<status::Operation>, Failure> {
    Ok(Json(wire::operation(&find(&executor, &id)?)))
}

/// The operation with this id.
pub(super) fn find(executor: &Executor, id: &str) -> Result<felhom_journal::Operation, Failure> {
    let id: OperationId =
        id.parse().map_err(|e: felhom_model::id::IdError| Failure::bad("malformed_id", &e.to_string()))?;
    executor.services.journal.get(to_journal(id))?.ok_or_else(|| {
        Failure::not_found("unknown_operation", &format!("operation {id} is not in the journal"))
    })
}
