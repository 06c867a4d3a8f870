//! Destroying a guest with the gate's permit: the only destroys there are.
//!
//! The permit is noted before Proxmox is asked. Its worker frees the volumes, leaves nothing but the lock `destroyed` in the
//! configuration, takes the guest out of its pool and then the configuration away. One that is killed in between leaves a number
//! that is taken and that no call destroys; by the note the operation knows it as its own, and ends it, through the gate.

use felhom_gate::{Approved, Reason, Stage, UndoGuest};
use felhom_journal::{Note, Operation as Journaled, StepContext, StepError};
use felhom_model::{Operation, Vmid};
use felhom_pve::{Error as PveError, Guest, GuestConfig, RunState};
use serde_json::{Value, json};

use super::judge::{domain, judge_as};
use super::leftovers::show;
use super::missing::stand_in;
use super::reclaim::destroys;
use super::task;
use super::undo::{Stands, stands};
use crate::audit::{Kind, Record};
use crate::ledger::GuestRow;
use crate::marks::from_journal;
use crate::services::{Services, step_error};

/// The note of a permit.
const DESTROYING: &str = "destroying";
/// What Proxmox calls the task, and the lock that it sets.
const TASK: &str = "vzdestroy";
const LOCK: &str = "destroyed";

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
    let guest = s.node.guest(vmid);
    let status = match guest.status().await {
        Ok(status) => status,
        Err(PveError::NotFound(_)) => return Ok(()),
        Err(e) => return Err(step_error(&e)),
    };
    let permit = json!({ "guest": uuid, "vmid": vmid, "permit": permit.name(), "why": permit.reason().code });
    s.audit(&record(cx, Kind::Destroying, &permit))?;
    if !begun(&cx.operation()?, vmid) {
        cx.note(DESTROYING, permit.clone())?;
    }
    if status.state() == RunState::Running {
        let upid = guest.stop().await.map_err(|e| step_error(&e))?;
        let exit = task::end_of(s, &upid).await?;
        tracing::info!(%vmid, %exit, "stopped before it is destroyed");
    }
    go(s, cx, &permit, &guest).await
}

/// Asks Proxmox, and sees that nothing stands there any more.
async fn go(s: &Services, cx: &StepContext, permit: &Value, guest: &Guest) -> Result<(), StepError> {
    let vmid = guest.vmid();
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
    match s.pve.vmid_is_free(vmid).await.map_err(|e| step_error(&e))? {
        true => Ok(s.audit(&record(cx, Kind::Destroyed, permit))?),
        false => Err(StepError::Transient(format!("VMID {vmid} is still there after its destruction"))),
    }
}

fn record(cx: &StepContext, kind: Kind, permit: &Value) -> Record {
    let guest = permit["guest"].as_str().and_then(|text| text.parse().ok());
    Record::new(kind, permit.clone()).of(from_journal(cx.operation_id()), guest)
}

/// The note of what the gate let this operation destroy at this VMID, written before Proxmox is asked.
fn permit_of(op: &Journaled, vmid: Vmid) -> Option<&Value> {
    let about = |note: &&Note| note.name == DESTROYING && note.data["vmid"] == json!(vmid);
    op.notes.iter().find(about).map(|note| &note.data)
}

/// Whether this operation was let destroy what stands at this VMID, and began.
pub(super) fn begun(op: &Journaled, vmid: Vmid) -> bool {
    permit_of(op, vmid).is_some()
}

/// Whether nothing is left of a guest but its number and the lock that a destroy sets when the volumes are gone.
pub(super) fn emptied(config: &GuestConfig) -> bool {
    let left = config.entries().filter(|(key, _)| *key != "digest").all(|entry| entry == ("lock", LOCK));
    left && config.raw_lxc().is_empty()
}

/// Ends what is left of a destroy of this very operation whose worker was killed. Nothing to do where none was begun, where it is
/// complete. Where it freed nothing, or not all, the guest is destroyed as if for the first time.
///
/// # Errors
/// [`StepError::Unclear`] with the gate's refusal, or what [`stand_in`] does not understand: a person looks.
pub(super) async fn end_of_dead(s: &Services, cx: &StepContext, row: &GuestRow) -> Result<(), StepError> {
    let (op, vmid) = (cx.operation()?, row.vmid);
    let Some(permit) = permit_of(&op, vmid) else { return Ok(()) };
    task::wait_for_running(s, TASK, &vmid.to_string()).await?;
    match stands(s, vmid).await? {
        Stands::Nothing => return Ok(()),
        Stands::Guest(real) if !emptied(&real.config) => {
            return stand_in(s, vmid, &real.config).await;
        }
        // The worker also took it out of the pool, by which the token saw it.
        Stands::Guest(_) | Stands::Hidden => show(s, vmid).await?,
    }
    let (_, chosen) = domain(&op)?;
    let operation = Operation::ClearLeftovers(row.uuid);
    let verdict = judge_as(s, &op, &operation, (&chosen, Stage::BeforeAct, None)).await?;
    let approved = verdict.map_err(|reason| StepError::Unclear(format!("refused, {reason}")))?;
    tracing::warn!(operation = %op.id(), %vmid, reason = %approved.reason(), "ending what a killed destroy left");
    let unlocked = s.host.unlock(vmid, LOCK).await.map_err(|e| StepError::Transient(e.to_string()))?;
    tracing::info!(%vmid, ?unlocked, "lock of the dead destroy");
    go(s, cx, permit, &s.node.guest(vmid)).await
}
