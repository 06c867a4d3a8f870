//! Taking back a guest that this very operation made, and what stands at a VMID.

use felhom_journal::{StepContext, StepError};
use felhom_model::{GuestUuid, Vmid};
use felhom_pve::{Error as PveError, Upid};

use super::destroy::{Permit, destroy, end_of_dead};
use super::judge::{AtIntent, judge_undo};
use super::leftovers::{clear_restore, was_unlocked};
use super::restore::Plan;
use super::task;
use crate::ledger::RowState;
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
    end_of_dead(s, cx, &row).await?;
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

pub(super) async fn stands(s: &Services, vmid: Vmid) -> Result<Stands, StepError> {
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
