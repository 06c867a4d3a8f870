//! Steps that need a guest which this operation has started, and which may have stopped since: the host lost its power, say.

use felhom_journal::{StepContext, StepError};
use felhom_model::Vmid;
use felhom_pve::{Error as PveError, ExitStatus, RunState};
use serde_json::json;

use super::task;
use crate::services::{Services, step_error};

/// How often one operation starts a guest again: with one that does not stay up nothing goes on.
const AGAIN: usize = 3;
const STARTED_AGAIN: &str = "started_again";

/// Whether it runs.
///
/// # Errors
/// [`StepError::Transient`] where Proxmox does not know it just now; [`StepError`] if it does not answer.
pub(super) async fn runs(s: &Services, vmid: Vmid) -> Result<bool, StepError> {
    let status = s.node.guest(vmid).status().await.map_err(|e| step_error(&e))?;
    match status.state() {
        RunState::Running => Ok(true),
        RunState::Stopped => Ok(false),
        RunState::Unknown => {
            Err(StepError::Transient(format!("Proxmox does not know just now whether guest {vmid} runs")))
        }
    }
}

/// Starts a guest that has to run for this operation, and does not: it has started it, or stopped it and takes that back.
///
/// # Errors
/// [`StepError::Failed`] if it does not start, or did not stay up three times; [`StepError`] if Proxmox does not answer.
pub(super) async fn keep_up(s: &Services, cx: &StepContext, vmid: Vmid) -> Result<(), StepError> {
    if runs(s, vmid).await? {
        return Ok(());
    }
    let again = cx.operation()?.notes.iter().filter(|note| note.name == STARTED_AGAIN).count();
    if again >= AGAIN {
        let why =
            format!("guest {vmid} stopped, and did not stay up when it was started {again} times again");
        return Err(StepError::Failed(why));
    }
    tracing::warn!(operation = %cx.operation_id(), %vmid, "the guest does not run, as it should by now; it is started");
    // No gate: this operation was let start it, and holds it. Who has locked it meanwhile is waited for.
    let posted = s.node.guest(vmid).start().await;
    let upid = posted.map_err(|e| match e {
        PveError::Locked { .. } => StepError::Transient(e.to_string()),
        other => step_error(&other),
    })?;
    cx.note(STARTED_AGAIN, json!(vmid))?;
    let exit = task::end_of(s, &upid).await?;
    // Somebody else may have started it meanwhile.
    if exit.is_success() || runs(s, vmid).await? {
        return Ok(());
    }
    if exit == ExitStatus::Aborted {
        return Err(StepError::Transient(format!("the worker that started guest {vmid} again was killed")));
    }
    Err(StepError::Failed(format!("guest {vmid} has stopped, and Proxmox could not start it again: {exit}")))
}
