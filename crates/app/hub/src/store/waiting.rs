//! Operations in their grace of which there is no challenge.

use felhom_model::{OperationId, OperationState};
use felhom_protocol::hub_api::{AnswerView, WaitingView};

use super::{Cause, Conn, boxes, messages, parse, reports};
use crate::waiting::{InGrace, judge};

/// How many are shown.
const SHOWN: i64 = 200;

/// Those of all boxes, or of one, newest first. What a box's newest report no longer lists is not waited for any more.
///
/// # Errors
/// The database's.
pub(crate) async fn all(c: &mut Conn, box_name: Option<&str>) -> Result<Vec<InGrace>, Cause> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT o.box_name, o.id FROM operations o WHERE o.state = 'waiting' AND ($1 IS NULL OR o.box_name = $1) \
         AND NOT EXISTS (SELECT 1 FROM challenges c WHERE c.box_name = o.box_name AND c.operation = o.id \
                         AND c.problem IS NULL) \
         ORDER BY o.id DESC LIMIT $2",
    )
    .bind(box_name)
    .bind(SHOWN)
    .fetch_all(&mut *c)
    .await?;
    let mut found = Vec::new();
    for (name, id) in rows {
        found.extend(one(c, name, parse("an operation id", &id)?).await?);
    }
    Ok(found)
}

async fn one(c: &mut Conn, box_name: String, id: OperationId) -> Result<Option<InGrace>, Cause> {
    let Some(stored) = reports::get(c, &box_name).await? else { return Ok(None) };
    let listed = stored.report.operations.into_iter().find(|operation| operation.id == id);
    let Some(operation) = listed.filter(|operation| operation.state == OperationState::Waiting) else {
        return Ok(None);
    };
    let Some(identity) = boxes::by_name(c, &box_name).await?.and_then(|row| row.identity) else {
        return Ok(None);
    };
    let kept = messages::all_about(c, &box_name, &id.to_string()).await?;
    let vetoes: Vec<AnswerView> = kept.into_iter().map(|kept| kept.view.asked).collect();
    let judged = judge(&operation, identity.id, &identity.attestation_key);
    let view = WaitingView {
        box_id: identity.id,
        box_name,
        attestation_key: identity.attestation_key,
        operation,
        told: stored.received,
        vetoes,
        problem: judged.as_ref().err().cloned(),
    };
    Ok(Some(InGrace { view, says: judged.ok() }))
}
