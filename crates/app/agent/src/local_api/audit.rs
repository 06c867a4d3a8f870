//! What the box wrote down about this guest. The executor's signature is the guest's to verify; the agent carries it only.

use super::caller::Caller;
use super::{Api, Refusal};
use axum::Json;
use axum::extract::{Query, State};
use felhom_protocol::audit::AuditPage;
use serde::Deserialize;

/// The cursor.
#[derive(Debug, Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: u64,
}

/// `GET /v1/audit`: the caller's own part, whatever else is asked for.
pub(super) async fn page(
    State(api): State<Api>,
    caller: Caller,
    Query(After { after }): Query<After>,
) -> Result<Json<AuditPage>, Refusal> {
    Ok(Json(api.shared.executor.audit(after, Some(caller.guest)).await?))
}
