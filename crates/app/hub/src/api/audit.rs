//! Ends of boxes' audit logs.

use axum::Json;
use axum::extract::State;
use felhom_protocol::hub_api::AuditHeadView;

use super::document::{BadPath, NoBox, Refusals};
use super::request::{ApiError, At, OfBox, Operator};
use crate::hub::Hub;
use crate::store::{audit_heads, boxes};

/// More are not returned: a log that holds these holds what was before them.
const SHOWN: u32 = 1000;

/// Lists where a box said that its audit log ends, the last one told first, at most 1000.
#[utoipa::path(
    get,
    path = "/boxes/{name}/audit-heads",
    operation_id = "list_audit_heads",
    tag = "boxes",
    params(OfBox),
    responses(
        (status = 200, body = Vec<AuditHeadView>, description = "Ends of its audit log, each signed by the box."),
        BadPath,
        NoBox,
        Refusals,
    )
)]
pub(crate) async fn heads(
    State(hub): State<Hub>,
    _: Operator,
    At(OfBox { name }): At<OfBox>,
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
