//! Operations in their grace of which there is no challenge.

use std::collections::BTreeMap;

use felhom_model::{OperationId, OperationState};
use felhom_protocol::hub_api::WaitingView;
use felhom_protocol::status::Operation;

use super::boxes::BoxIdentity;
use super::reports::StoredReport;
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
    let mut told = BTreeMap::new();
    let mut found = Vec::new();
    for (name, id) in rows {
        if !told.contains_key(&name) {
            told.insert(name.clone(), by(c, &name).await?);
        }
        let id = parse("an operation id", &id)?;
        let Some((identity, stored)) = told.get(&name).and_then(Option::as_ref) else { continue };
        let Some(operation) = listed(stored, id) else { continue };
        let vetoes = messages::all_about(c, &name, &id.to_string()).await?;
        let judged = judge(operation, identity.id, &identity.attestation_key);
        let view = WaitingView {
            box_id: identity.id,
            box_name: name,
            attestation_key: identity.attestation_key,
            operation: operation.clone(),
            told: stored.received,
            vetoes: vetoes.into_iter().map(|kept| kept.view.asked).collect(),
            problem: judged.as_ref().err().cloned(),
        };
        found.push(InGrace { view, says: judged.ok() });
    }
    Ok(found)
}

/// A box's identity and what it told last; nothing of one that has no identity, or told nothing.
async fn by(c: &mut Conn, box_name: &str) -> Result<Option<(BoxIdentity, StoredReport)>, Cause> {
    let identity = boxes::by_name(c, box_name).await?.and_then(|row| row.identity);
    Ok(identity.zip(reports::get(c, box_name).await?))
}

fn listed(stored: &StoredReport, id: OperationId) -> Option<&Operation> {
    let operations = &stored.report.operations;
    operations.iter().find(|o| o.id == id && o.state == OperationState::Waiting)
}
