//! `keep_copy`: a restored copy stands, runs with its link down, and has no token.

use std::sync::Arc;

use felhom_journal::{StepContext, StepError};
use felhom_model::GuestUuid;
use serde_json::{Value, json};

use super::act::Act;
use super::power::Subject;
use crate::ledger::RowState;
use crate::services::{Services, step_error};

/// The step.
pub(super) struct KeepCopy {
    /// Services.
    pub s: Arc<Services>,
    /// Which.
    pub guest: GuestUuid,
}

impl Act for KeepCopy {
    fn name(&self) -> &'static str {
        "keep_copy"
    }

    async fn act(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let vmid = Subject::Known(self.guest).vmid(&self.s, cx)?;
        let vmid = vmid.ok_or_else(|| StepError::Failed("there is no copy".to_owned()))?;
        let config = self.s.node.guest(vmid).config().await.map_err(|e| step_error(&e))?;
        let nets = config.nets().map_err(StepError::failed)?;
        if let Some((n, _)) = nets.iter().find(|(_, net)| net.link_down != Some(true)) {
            return Err(StepError::Failed(format!("net{n} of the copy is up: it would be a live twin")));
        }
        self.s.ledger.change_guest(self.guest, |row| row.state = RowState::Present)?;
        Ok(json!({ "guest": self.guest, "vmid": vmid }))
    }
}
