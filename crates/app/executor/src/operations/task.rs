//! Tasks of Proxmox inside steps: found again after a crash, followed to their end.
//!
//! A POST's UPID is known only after the fork. So the step's intent names the tasks of that kind and VMID that existed
//! before; a crash in between finds the new one as the one that is not among them.

use std::time::{Duration, Instant};

use felhom_journal::{StepContext, StepError};
use felhom_model::Vmid;
use felhom_pve::{Denied, ExitStatus, LogLine, Polling, TaskEvent, TaskFilter, TaskState, Upid};

use crate::services::{Services, step_error};

/// How often tasks are polled: a short one costs little, and its end is seen soon.
pub(super) const POLLING: Polling = Polling {
    first: Duration::from_millis(30),
    longest: Duration::from_millis(250),
    deadline: None,
    tolerated: 40,
};

/// How often a silent task is asked whether it still moves.
const LOOK: Duration = Duration::from_secs(5);

/// Tasks of this kind and VMID that exist now.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer.
pub(super) async fn known(s: &Services, vmid: Vmid, kind: &str) -> Result<Vec<String>, StepError> {
    Ok(list(s, vmid, kind).await?.iter().map(ToString::to_string).collect())
}

async fn list(s: &Services, vmid: Vmid, kind: &str) -> Result<Vec<Upid>, StepError> {
    let filter = TaskFilter { vmid: Some(vmid), kind: Some(kind.to_owned()), since: None, limit: Some(50) };
    let tasks = s.node.tasks(&filter).await.map_err(|e| step_error(&e))?;
    let user = s.pve.identity();
    let user = user.split('!').next().unwrap_or_default().to_owned();
    Ok(tasks.into_iter().map(|t| t.upid).filter(|upid| upid.user() == user).collect())
}

/// The step's task: from its handle, or found again by kind and VMID among those that were not known at intent. A task
/// found again is journaled.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer, or the handle is none.
pub(super) async fn of_step(
    s: &Services,
    cx: &StepContext,
    (vmid, kind): (Vmid, &str),
    known_before: &[String],
) -> Result<Option<Upid>, StepError> {
    if let Some(text) = cx.act_handle::<String>()? {
        return text.parse().map(Some).map_err(|e| StepError::Unclear(format!("journaled handle: {e}")));
    }
    let found = list(s, vmid, kind).await?.into_iter().find(|upid| !known_before.contains(&upid.to_string()));
    if let Some(upid) = &found {
        tracing::info!(operation = %cx.operation_id(), %upid, "task found again");
        cx.save_handle(&upid.to_string())?;
    }
    Ok(found)
}

/// Waits for the end of running tasks of this kind and id, whoever started them: a move's id is no VMID.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer.
pub(super) async fn wait_for_running(s: &Services, kind: &str, id: &str) -> Result<(), StepError> {
    let filter = TaskFilter { vmid: None, kind: Some(kind.to_owned()), since: None, limit: Some(50) };
    let tasks = s.node.tasks(&filter).await.map_err(|e| step_error(&e))?;
    for listed in tasks.iter().filter(|t| t.upid.id() == id && t.endtime.is_none()) {
        end_of(s, &listed.upid).await?;
    }
    Ok(())
}

/// Whether the task runs or how it ended.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer.
pub(super) async fn state(s: &Services, upid: &Upid) -> Result<TaskState, StepError> {
    s.pve.task(upid).state().await.map_err(|e| step_error(&e))
}

/// Follows a task to its end.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer for long.
pub(super) async fn end_of(s: &Services, upid: &Upid) -> Result<ExitStatus, StepError> {
    s.pve.task(upid).wait(POLLING).await.map_err(|e| step_error(&e))
}

/// Whether a failure tells of what was restored: that rights are missing does not, nor that somebody killed the worker, or the host
/// lost its power.
pub(super) fn tells_of_the_archive(exit: &ExitStatus) -> bool {
    *exit != ExitStatus::Aborted && Denied::find(&exit.to_string()).is_none()
}

/// Follows a task to its end, handing each log line on as it comes. The task is ended once its log stands still for `stalled`, and
/// so does what it makes, by `still_since`: it answers nothing while that is not begun.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer for long, or what `line` says.
pub(super) async fn follow(
    s: &Services,
    upid: &Upid,
    (stalled, still_since): (Duration, impl Fn() -> Option<Instant>),
    mut line: impl FnMut(&LogLine) -> Result<(), StepError>,
) -> Result<ExitStatus, StepError> {
    let task = s.pve.task(upid);
    let mut follower = task.follow(POLLING, 0);
    let mut moved = Instant::now();
    let mut asked_to_stop = false;
    loop {
        let next = tokio::time::timeout(stalled.min(LOOK), follower.next()).await;
        match next {
            Ok(Ok(TaskEvent::Lines(lines))) => {
                moved = Instant::now();
                lines.iter().try_for_each(&mut line)?;
            }
            Ok(Ok(TaskEvent::Stopped(exit))) => return Ok(exit),
            Ok(Err(e)) => return Err(step_error(&e)),
            // The follower keeps its place; only the wait was cut.
            Err(_) if !asked_to_stop && still_since().is_some_and(|at| at.max(moved).elapsed() > stalled) => {
                tracing::warn!(%upid, "neither its log nor its archive has moved: the task is ended");
                asked_to_stop = true;
                task.stop().await.map_err(|e| step_error(&e))?;
            }
            Err(_) => {}
        }
    }
}

/// What an act waits for, unless somebody cancels the operation: then the act is over, and its undo ends what runs. Only for what is
/// found again by the journal, and never within an undo.
///
/// # Errors
/// What the work says; [`StepError::Transient`] if it was left.
pub(super) async fn unless_cancelled<T>(
    cx: &StepContext,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    tokio::select! {
        biased;
        done = work => done,
        () = cx.cancel_requested() => Err(StepError::Transient("somebody cancels it".to_owned())),
    }
}

/// Ends a task that may still run, and waits until it is over.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer.
pub(super) async fn stop(s: &Services, upid: &Upid) -> Result<ExitStatus, StepError> {
    if let TaskState::Stopped(exit) = state(s, upid).await? {
        return Ok(exit);
    }
    s.pve.task(upid).stop().await.map_err(|e| step_error(&e))?;
    end_of(s, upid).await
}
