//! Ends of boxes' audit logs.

use axum::Json;
use axum::extract::{Path, State};
use felhom_protocol::hub_api::AuditHeadView;

use super::request::{ApiError, Operator};
use crate::hub::Hub;
use crate::store::{audit_heads, boxes};

/// More are not returned: a log that holds these holds what was before them.
const SHOWN: u32 = 1000;

/// `GET /boxes/{name}/audit-heads`.
pub(crate) async fn heads(
    State(hub): State<Hub>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Json<Vec<AuditHeadView>>, ApiError> {
    let box_name = name.clone();
    let heads = hub
        .store
        .read("reading ends of an audit log", |c| {
            Box::pin(async move {
                Ok(match boxes::by_name(c, &box_name).await? {
                    Some(_) => Some(audit_heads::newest(c, &box_name, false, SHOWN).await?),
                    None => None,
                })
            })
        })
        .await?;
    heads.map(Json).ok_or_else(|| ApiError::no_box(&name))
}
