//! The steps that destroy a guest for good: a tombstone, or a copy that nobody used. The gate is asked with everything seen
//! right before the act; there is no way back from it.

use std::sync::Arc;

use felhom_gate::Stage;
use felhom_journal::{StepClass, StepContext, StepError};
use felhom_model::{GuestUuid, Operation};
use serde_json::{Value, json};

use super::act::Act;
use super::judge::judge;
use super::undo::{Permit, destroy, real};
use crate::ledger::RowState;
use crate::services::Services;

/// The step.
pub(super) struct DestroyForGood {
    /// Services.
    pub s: Arc<Services>,
    /// `reclaim` or `discard`.
    pub name: &'static str,
    /// Which.
    pub guest: GuestUuid,
}

impl Act for DestroyForGood {
    fn name(&self) -> &'static str {
        self.name
    }

    fn class(&self) -> StepClass {
        StepClass::PointOfNoReturn
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let row = self.s.ledger.guest(self.guest).map_err(StepError::failed)?;
        let Some(row) = row.filter(|row| matches!(row.state, RowState::Making | RowState::Present)) else {
            return Ok(());
        };
        if real(&self.s, row.vmid).await?.is_some() {
            let approved = judge(&self.s, &cx.operation()?, Stage::BeforeAct, None).await?;
            tracing::warn!(guest = %self.guest, vmid = %row.vmid, reason = %approved.reason(), "destroying");
            destroy(&self.s, Permit::ForGood(approved, row.vmid)).await?;
        }
        Ok(self.s.ledger.change_guest(self.guest, |row| row.state = RowState::Gone)?)
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        Ok(json!({ "destroyed": self.guest }))
    }
}

/// Whether an approval is one of those that destroy a guest for good.
pub(super) fn destroys(operation: &Operation) -> bool {
    matches!(operation, Operation::ReclaimGuest(_) | Operation::DiscardRestoredCopy(_))
}
