//! `tell`: before a guest is stopped or destroyed for good, its customer is told, and asked once more. Nothing was done yet,
//! so a veto that is found now still ends the operation.

use std::sync::Arc;

use felhom_journal::{StepContext, StepError};
use serde_json::{Value, json};

use super::act::Act;
use crate::marks::from_journal;
use crate::notices::{Delivery, deliver, read_answers, record_begins, to_tell};
use crate::services::Services;

/// The step.
pub(super) struct Tell {
    /// Services.
    pub s: Arc<Services>,
}

impl Act for Tell {
    fn name(&self) -> &'static str {
        "tell"
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let (s, op) = (&self.s, cx.operation()?);
        for guest in record_begins(s, &op)? {
            let notices = to_tell(s).map_err(StepError::failed)?.remove(&guest).unwrap_or_default();
            if deliver(s, guest, &notices).await? == Delivery::NotRunning {
                cx.note("not_told", json!({ "guest": guest, "why": "it does not run" }))?;
                continue;
            }
            cx.note("told", json!({ "guest": guest }))?;
            // A controller that cannot answer now was told; what it vetoes comes by the agent, or came before.
            let answers = read_answers(s, guest).await.unwrap_or_default();
            for (_, veto) in answers.into_iter().filter(|(operation, _)| *operation == from_journal(op.id()))
            {
                match s.checked_veto(&op, &veto) {
                    Ok(said) => return Err(StepError::Failed(said)),
                    Err(e) => {
                        tracing::debug!(operation = %op.id(), error = %e, "a veto in the guest does not count")
                    }
                }
            }
        }
        Ok(())
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let notes = cx.operation()?.notes;
        let of = |name: &str| -> Vec<Value> {
            notes.iter().filter(|note| note.name == name).map(|note| note.data.clone()).collect()
        };
        Ok(json!({ "told": of("told"), "not_told": of("not_told") }))
    }
}
