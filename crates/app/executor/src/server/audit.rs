//! The audit log, page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use felhom_model::GuestUuid;
use felhom_protocol::audit::AuditPage;
use serde::Deserialize;

use super::answer::Failure;
use crate::submit::Executor;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    after: u64,
    guest: Option<GuestUuid>,
}

pub(super) async fn page(
    State(executor): State<Arc<Executor>>,
    Query(Asked { after, guest }): Query<Asked>,
) -> Result<Json<AuditPage>, Failure> {
    Ok(Json(executor.services.audit_page(after, guest)?))
}
