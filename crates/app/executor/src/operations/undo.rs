//! Taking back a guest that this very operation made, and destroying one with the gate's permit: the only destroys there are.

use felhom_gate::{Approved, Reason, UndoGuest};
use felhom_journal::{StepContext, StepError};
use felhom_model::{GuestUuid, Operation, Vmid};
use felhom_pve::{Error as PveError, RunState, Upid};
use serde_json::json;

use super::judge::{AtIntent, judge_undo};
use super::leftovers::{clear_restore, was_unlocked};
use super::reclaim::destroys;
use super::restore::Plan;
use super::task;
use crate::audit::{Kind, Record};
use crate::ledger::RowState;
use crate::marks::from_journal;
use crate::observe::RealGuest;
use crate::services::{Services, step_error};

/// The task of a step's act while the step is undone: its handle, or found again.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer.
pub(super) async fn task_of_act(
    s: &Services,
    cx: &StepContext,
    (vmid, kind): (Vmid, &str),
    known_before: &[String],
) -> Result<Option<Upid>, StepError> {
    task::of_step(s, cx, (vmid, kind), known_before).await
}

/// Destroys the guest that this operation made, if there is one. Twice is once.
///
/// # Errors
/// [`StepError::Unclear`] if what stands there is not certainly ours.
pub(super) async fn destroy_made(
    s: &Services,
    cx: &StepContext,
    uuid: GuestUuid,
    plan: &Plan,
) -> Result<(), StepError> {
    let Some(row) = s.ledger.guest(uuid).map_err(StepError::failed)? else {
        // The row comes before the POST, so nothing was ever asked for.
        return Ok(());
    };
    if matches!(row.state, RowState::Gone | RowState::Undone) {
        return Ok(());
    }
    let at_intent = AtIntent { volumes_before: plan.volumes_before.clone(), vmid_absent: true };
    let half_made = match stands(s, row.vmid).await? {
        Stands::Nothing => return Ok(s.ledger.change_guest(uuid, |row| row.state = RowState::Undone)?),
        Stands::Hidden => true,
        // A live task cleaned up by itself; only a dead one leaves its lock.
        Stands::Guest(real) => real.config.lock() == Some("create") || was_unlocked(&cx.operation()?),
    };
    if half_made {
        clear_restore(s, cx, &row).await?;
    }
    if let Stands::Guest(real) = stands(s, row.vmid).await? {
        let approved = judge_undo(s, cx, (&row, &real), &at_intent)?;
        destroy(s, cx, Permit::Undo(approved)).await?;
    }
    Ok(s.ledger.change_guest(uuid, |row| row.state = RowState::Undone)?)
}

/// What stands at a VMID.
pub(super) enum Stands {
    /// Nothing.
    Nothing,
    /// A guest that the token sees.
    Guest(Box<RealGuest>),
    /// Something that it does not see: a guest of somebody else's, or what a dead worker left.
    Hidden,
}

async fn stands(s: &Services, vmid: Vmid) -> Result<Stands, StepError> {
    let guest = s.node.guest(vmid);
    let config = match guest.config().await {
        Ok(config) => config,
        Err(PveError::NotFound(_) | PveError::Forbidden(_)) => {
            let free = s.pve.vmid_is_free(vmid).await.map_err(|e| step_error(&e))?;
            return Ok(if free { Stands::Nothing } else { Stands::Hidden });
        }
        Err(e) => return Err(step_error(&e)),
    };
    let status = guest.status().await.map_err(|e| step_error(&e))?;
    Ok(Stands::Guest(Box::new(RealGuest { vmid, status, config })))
}

/// The guest at a VMID, if there is one.
///
/// # Errors
/// [`StepError::Unclear`] if something stands there that the token cannot see: what a dead worker left.
pub(super) async fn real(s: &Services, vmid: Vmid) -> Result<Option<RealGuest>, StepError> {
    match stands(s, vmid).await? {
        Stands::Nothing => Ok(None),
        Stands::Guest(real) => Ok(Some(*real)),
        Stands::Hidden => Err(StepError::Unclear(format!(
            "something stands at VMID {vmid} that the token cannot see, such as what a dead restore left: look with \
             `pct config {vmid}`"
        ))),
    }
}

/// Why a guest may be destroyed. There is no other way.
pub(super) enum Permit {
    /// The gate allowed an undo.
    Undo(Approved<UndoGuest>),
    /// The gate allowed to destroy a scratch guest that stands at this VMID.
    Scratch(Approved<Operation>, Vmid),
    /// The gate allowed to destroy a tombstone or an unused copy that stands at this VMID.
    ForGood(Approved<Operation>, Vmid),
}

impl Permit {
    fn name(&self) -> &'static str {
        match self {
            Self::Undo(_) => "undo",
            Self::Scratch(..) => "scratch",
            Self::ForGood(..) => "for_good",
        }
    }

    fn reason(&self) -> &Reason {
        match self {
            Self::Undo(approved) => approved.reason(),
            Self::Scratch(approved, _) | Self::ForGood(approved, _) => approved.reason(),
        }
    }
}

/// Stops and destroys a guest, and sees that it is gone.
///
/// # Errors
/// [`StepError`] if Proxmox does not do it.
pub(super) async fn destroy(s: &Services, cx: &StepContext, permit: Permit) -> Result<(), StepError> {
    let (vmid, uuid) = match &permit {
        Permit::Undo(approved) => (approved.get().vmid, Some(approved.get().guest)),
        Permit::Scratch(approved, vmid) if matches!(approved.get(), Operation::DestroyScratch(_)) => {
            (*vmid, approved.get().guest())
        }
        Permit::ForGood(approved, vmid) if destroys(approved.get()) => (*vmid, approved.get().guest()),
        Permit::Scratch(approved, _) | Permit::ForGood(approved, _) => {
            let kind = approved.get().kind();
            return Err(StepError::Failed(format!("an approval of {kind} destroys nothing here")));
        }
    };
    let number = vmid;
    let guest = s.node.guest(number);
    let status = match guest.status().await {
        Ok(status) => status,
        Err(PveError::NotFound(_)) => return Ok(()),
        Err(e) => return Err(step_error(&e)),
    };
    let data = json!({ "guest": uuid, "vmid": vmid, "permit": permit.name(), "why": permit.reason().code });
    let record = |kind| Record::new(kind, data.clone()).of(from_journal(cx.operation_id()), uuid);
    s.audit(&record(Kind::Destroying))?;
    if status.state() == RunState::Running {
        let upid = guest.stop().await.map_err(|e| step_error(&e))?;
        let exit = task::end_of(s, &upid).await?;
        tracing::info!(%vmid, %exit, "stopped before it is destroyed");
    }
    match guest.destroy(true).await {
        Ok(upid) => {
            let exit = task::end_of(s, &upid).await?;
            if !exit.is_success() {
                return Err(StepError::Transient(format!("guest {vmid} could not be destroyed: {exit}")));
            }
        }
        Err(PveError::NotFound(_)) => {}
        Err(e @ PveError::Locked { .. }) => return Err(StepError::Transient(e.to_string())),
        Err(e) => return Err(step_error(&e)),
    }
    match s.pve.vmid_is_free(number).await.map_err(|e| step_error(&e))? {
        true => Ok(s.audit(&record(Kind::Destroyed))?),
        false => Err(StepError::Transient(format!("VMID {vmid} is still there after its destruction"))),
    }
}
