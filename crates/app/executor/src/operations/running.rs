//! Steps that need a guest which this operation has started, and which may have stopped since: the host lost its power, say.

use felhom_journal::{StepContext, StepError};
use felhom_model::Vmid;
use felhom_pve::{ExitStatus, RunState};
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

/// Starts a guest that this operation has started and that does not run any more.
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
    tracing::warn!(operation = %cx.operation_id(), %vmid, "the guest has stopped since it was started; once more");
    cx.note(STARTED_AGAIN, json!(vmid))?;
    let upid = s.node.guest(vmid).start().await.map_err(|e| step_error(&e))?;
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
