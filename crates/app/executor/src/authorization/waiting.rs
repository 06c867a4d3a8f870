//! What this box says of an operation in its grace, and what a veto against it must name.

use felhom_journal::{Operation as Journaled, State, StoreError};
use felhom_model::{Digest, Operation};
use felhom_protocol::SignedBytes;
use felhom_protocol::status;
use felhom_signing::consent::{Act, WAITING_VERSION, Waiting};
use serde_json::Value;

use crate::marks::from_journal;
use crate::operations::domain;
use crate::request::Request;
use crate::services::Services;
use crate::wire;

impl Services {
    /// An operation for people and programs; one in its grace with what is left of it, and with this box's word of what it would do.
    #[must_use]
    pub fn shown(&self, op: &Journaled) -> status::Operation {
        let mut shown = wire::operation(op, self.now());
        if let Some(grace) = op.grace.filter(|_| op.state == State::Waiting) {
            let signed = self.waiting(op).unwrap_or_else(|why| {
                tracing::warn!(operation = %op.id(), why, "nothing can be said of an operation in its grace");
                None
            });
            shown.grace = Some(status::Grace { left_s: grace.left(), signed });
        }
        shown
    }

    /// Nothing while the box is not enrolled.
    fn waiting(&self, op: &Journaled) -> Result<Option<SignedBytes>, String> {
        let Some(box_id) = self.box_id() else { return Ok(None) };
        let request = Request::of(op)?;
        let (operation, _) = domain(op).map_err(|e| e.to_string())?;
        let waiting = Waiting {
            v: WAITING_VERSION,
            box_id,
            waiting: from_journal(op.id()),
            act: self.act(&operation, &request.params).map_err(|e| e.to_string())?,
            asked_by: request.asked_by,
            reason: request.reason,
            facts: request.evidence,
            grace_s: op.grace.map_or(0, |grace| grace.seconds),
        };
        Ok(Some(waiting.sign(&self.key).map_err(|e| e.to_string())?.into()))
    }

    /// What an operation would do, in this enrolment.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub(super) fn act(&self, operation: &Operation, params: &Value) -> Result<Act, StoreError> {
        // Of a rotation, what people have and can compare.
        let what = if let Operation::RotateOperators(ask) = operation {
            ask.document
        } else {
            Digest::of(params.to_string().as_bytes())
        };
        Ok(Act { enrolment_epoch: self.ledger.epoch()?, kind: operation.kind(), what })
    }
}
