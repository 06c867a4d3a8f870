//! What a backup that is over left on its guest, cleared when somebody asks: `clear_stale_lock`, `clear_leftovers`.
//!
//! An operation clears its own leftovers before it ends ([`super::leftovers`]). These two are for what stands all the same: an
//! operation that a person ended as it was, or a host that died again and again. The gate finds the backup in the journal
//! and nobody else's task since; each act asks it once more. Twice is once.

use std::sync::Arc;

use felhom_gate::Stage;
use felhom_journal::{Probe, StepClass, StepContext, StepError};
use felhom_model::{GuestUuid, Operation, StorageId, Vmid};
use felhom_pve::Upid;
use serde_json::{Value, json};

use super::act::Act;
use super::judge::{domain, judge};
use super::leftovers::{BACKUP_LOCKS, DeadDump, backup_task, clear_backup, ended_backup, has_snapshot};
use crate::services::{Services, step_error};

/// A backup that is over.
struct Ended {
    vmid: Vmid,
    target: StorageId,
    upid: Upid,
}

async fn lock(s: &Services, vmid: Vmid) -> Result<Option<String>, StepError> {
    let config = s.node.guest(vmid).config().await.map_err(|e| step_error(&e))?;
    Ok(config.lock().filter(|lock| BACKUP_LOCKS.contains(lock)).map(str::to_owned))
}

fn ended(s: &Services, guest: GuestUuid) -> Result<Ended, StepError> {
    let gone = || StepError::Failed("the journal names no backup of this guest that is over".to_owned());
    let row = s.ledger.guest(guest).map_err(StepError::failed)?.ok_or_else(gone)?;
    let op = ended_backup(s, &row).map_err(StepError::failed)?.ok_or_else(gone)?;
    match (domain(&op)?.0, backup_task(&op)) {
        (Operation::BackupGuest(ask), Some(upid)) => Ok(Ended { vmid: row.vmid, target: ask.target, upid }),
        (_, _) => Err(gone()),
    }
}

/// `take_lock_off`: the lock alone.
pub(super) struct TakeLockOff {
    /// Services.
    pub s: Arc<Services>,
    /// Whose.
    pub guest: GuestUuid,
}

impl Act for TakeLockOff {
    fn name(&self) -> &'static str {
        "take_lock_off"
    }

    fn class(&self) -> StepClass {
        StepClass::PointOfNoReturn
    }

    async fn probe(&self, _: &StepContext) -> Result<Probe, StepError> {
        let held = lock(&self.s, ended(&self.s, self.guest)?.vmid).await?;
        Ok(if held.is_some() { Probe::NotDone } else { Probe::Done })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let dead = ended(&self.s, self.guest)?;
        let approved = judge(&self.s, &cx.operation()?, Stage::BeforeAct, None).await?;
        let Some(lock) = lock(&self.s, dead.vmid).await? else { return Ok(()) };
        tracing::warn!(operation = %cx.operation_id(), vmid = %dead.vmid, lock, reason = %approved.reason(), "taking a lock off");
        let unlocked =
            self.s.host.unlock(dead.vmid, &lock).await.map_err(|e| StepError::Transient(e.to_string()))?;
        tracing::info!(vmid = %dead.vmid, lock, ?unlocked, "lock of a backup that is over");
        Ok(())
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        match lock(&self.s, ended(&self.s, self.guest)?.vmid).await? {
            None => Ok(json!({ "lock": null })),
            Some(lock) => Err(StepError::Failed(format!("the guest is still locked ({lock})"))),
        }
    }
}

/// `clear`: everything that the backup left: processes, lock, a frozen guest, snapshot, half-written files.
pub(super) struct ClearBackup {
    /// Services.
    pub s: Arc<Services>,
    /// Whose.
    pub guest: GuestUuid,
}

impl Act for ClearBackup {
    fn name(&self) -> &'static str {
        "clear"
    }

    fn class(&self) -> StepClass {
        StepClass::PointOfNoReturn
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let Ended { vmid, target, upid } = ended(&self.s, self.guest)?;
        let dead = DeadDump { guest: self.guest, vmid, target: &target, upid: &upid };
        clear_backup(&self.s, cx, &dead).await
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        let dead = ended(&self.s, self.guest)?;
        let snapshot = has_snapshot(&self.s.node.guest(dead.vmid), &dead.upid).await?;
        match lock(&self.s, dead.vmid).await? {
            None if !snapshot => Ok(json!({ "task": dead.upid.to_string() })),
            held => Err(StepError::Failed(format!("still there: lock {held:?}, snapshot {snapshot}"))),
        }
    }
}
