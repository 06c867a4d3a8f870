//! Steps that need a guest which this operation has started, and which may have stopped since: the host lost its power, say.

use felhom_journal::{Note, StepContext, StepError};
use felhom_model::Vmid;
use felhom_pve::{ExitStatus, RunState};
use serde_json::json;

use super::task;
use crate::services::{Services, step_error};

/// How often an operation starts the same guest again: with one that does not stay up nothing goes on.
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

/// Starts a guest that has to run for this operation and does not, if need be. Why it does not run in spite of that, in the inner
/// answer.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer, refuses the call, or its worker was killed.
pub(super) async fn start_again(
    s: &Services,
    cx: &StepContext,
    vmid: Vmid,
) -> Result<Result<(), String>, StepError> {
    if runs(s, vmid).await? {
        return Ok(Ok(()));
    }
    let of_it = |note: &&Note| note.name == STARTED_AGAIN && note.data == json!(vmid);
    let again = cx.operation()?.notes.iter().filter(of_it).count();
    if again >= AGAIN {
        let why = format!("guest {vmid} did not stay up when it was started {again} times again");
        return Ok(Err(why));
    }
    tracing::warn!(operation = %cx.operation_id(), %vmid, "the guest does not run, as it should by now; it is started");
    // No gate: this operation was let start it, and holds it.
    let upid = s.node.guest(vmid).start().await.map_err(|e| step_error(&e))?;
    cx.note(STARTED_AGAIN, json!(vmid))?;
    let exit = task::end_of(s, &upid).await?;
    // Somebody else may have started it meanwhile.
    if exit.is_success() || runs(s, vmid).await? {
        return Ok(Ok(()));
    }
    if exit == ExitStatus::Aborted {
        return Err(StepError::Transient(format!("the worker that started guest {vmid} again was killed")));
    }
    Ok(Err(format!("guest {vmid} has stopped, and Proxmox could not start it again: {exit}")))
}

/// The same for a step that cannot go on without it.
///
/// # Errors
/// [`StepError::Failed`] if it does not run, else as [`start_again`].
pub(super) async fn keep_up(s: &Services, cx: &StepContext, vmid: Vmid) -> Result<(), StepError> {
    start_again(s, cx, vmid).await?.map_err(StepError::Failed)
}
