//! The steps that destroy a guest for good: a tombstone, or a copy that nobody used. The gate is asked with everything seen
//! right before the act; there is no way back from it.

use std::sync::Arc;

use felhom_gate::Stage;
use felhom_host::{AclGrant, AclPlace};
use felhom_journal::{StepClass, StepContext, StepError};
use felhom_model::{GuestUuid, Operation, Vmid, Volid};
use serde_json::{Value, json};

use super::act::Act;
use super::destroy::{Permit, destroy, end_of_dead};
use super::judge::judge;
use super::undo::real;
use crate::ledger::RowState;
use crate::services::{Services, step_error};

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
        end_of_dead(&self.s, cx, &row).await?;
        if real(&self.s, row.vmid).await?.is_some() {
            let approved = judge(&self.s, &cx.operation()?, Stage::BeforeAct, None).await?;
            tracing::warn!(guest = %self.guest, vmid = %row.vmid, reason = %approved.reason(), "destroying");
            destroy(&self.s, cx, Permit::ForGood(approved, row.vmid)).await?;
        }
        Ok(self.s.ledger.change_guest(self.guest, |row| row.state = RowState::Gone)?)
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        Ok(json!({ "destroyed": self.guest }))
    }
}

/// `keep_backups_readable`: Proxmox hides the backups of a guest that is gone from the token; a role on its VMID shows them
/// again (the guest's destruction drops what was granted there before, F45).
pub(super) struct KeepBackupsReadable {
    /// Services.
    pub s: Arc<Services>,
    /// Whose.
    pub guest: GuestUuid,
}

const ROLE: &str = "FelhomArchive";

impl Act for KeepBackupsReadable {
    fn name(&self) -> &'static str {
        "keep_backups_readable"
    }

    async fn act(&self, _: &StepContext) -> Result<(), StepError> {
        let archives = self.s.ledger.archives().map_err(StepError::failed)?;
        let mut vmids: Vec<Vmid> = archives
            .iter()
            .filter(|row| row.guest == self.guest)
            .filter_map(|row| archived_of(&row.volid))
            .collect();
        vmids.sort_unstable();
        vmids.dedup();
        for vmid in vmids {
            if !self.s.pve.vmid_is_free(vmid).await.map_err(|e| step_error(&e))? {
                continue;
            }
            let grant = AclGrant {
                place: AclPlace::Guest(vmid),
                role: ROLE.to_owned(),
                token: self.s.config.pve.token_id.clone(),
            };
            self.s.host.grant(&grant).await.map_err(|e| StepError::Transient(e.to_string()))?;
        }
        Ok(())
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        Ok(json!({ "destroyed": self.guest }))
    }
}

/// The VMID in an archive's name.
pub(super) fn archived_of(volid: &Volid) -> Option<Vmid> {
    volid.path().strip_prefix("backup/vzdump-lxc-")?.split('-').next()?.parse().ok()
}

/// Whether an approval is one of those that destroy a guest for good.
pub(super) fn destroys(operation: &Operation) -> bool {
    matches!(operation, Operation::ReclaimGuest(_) | Operation::DiscardRestoredCopy(_))
}
