//! What is undone whatever happened to a guest's backup. A failure here is a line of the log and no more.

use std::time::Instant;

use super::guest::Task;
use super::hook;
use crate::error::ApiError;
use crate::state::guests;
use crate::task::worker::Worker;
use crate::work::snapshot::{self, VZDUMP};
use crate::work::{machine, power};

/// What has been done to the guest.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// `lock: backup` stands.
    pub(super) unlock: bool,
    /// A mode was chosen.
    pub(super) prepared: bool,
    /// There is a snapshot `vzdump`.
    pub(super) snapshot: bool,
    /// The guest is frozen.
    pub(super) resume: bool,
    /// The guest was stopped.
    pub(super) restart: bool,
}

impl Undo {
    /// The guest stands still from now on, and is away if it was not before.
    pub(super) fn freeze(&mut self, worker: &Worker, task: &mut Task<'_>) -> Result<(), ApiError> {
        task.offline.get_or_insert_with(Instant::now);
        machine::set_frozen(&worker.host, task.vmid, true)?;
        self.resume = true;
        Ok(())
    }

    /// It goes on.
    pub(super) fn thaw(&mut self, worker: &Worker, task: &Task<'_>) -> Result<(), ApiError> {
        self.resume = false;
        machine::set_frozen(&worker.host, task.vmid, false)
    }

    /// The lock first, then the snapshot, then the guest runs again.
    pub(super) fn run(&mut self, worker: &mut Worker, task: &mut Task<'_>) {
        let (host, vmid) = (worker.host.clone(), task.vmid);
        if self.unlock
            && let Err(error) = guests::clear_lock(&host, vmid, Some("backup"))
        {
            worker.say(error.message);
        }
        if let Err(error) = worker.phase("unlocked") {
            worker.say(error.message);
        }
        if self.prepared && self.snapshot {
            task.say(worker, "cleanup temporary 'vzdump' snapshot");
            if let Err(error) = snapshot::delete(worker, vmid, VZDUMP, false) {
                worker.say(format!("snapshot 'vzdump' was not (fully) removed - {}", error.message));
            }
        }
        if !(self.resume || self.restart) {
            return;
        }
        let back = hook::inner(worker, task, "pre-restart").and_then(|()| {
            if self.resume {
                task.say(worker, "resume vm");
                machine::set_frozen(&host, vmid, false)?;
            } else if machine::running(&host, vmid).is_none() {
                task.say(worker, "restarting vm");
                let mut config = guests::load(&host, vmid)?;
                power::start_locked(worker, vmid, &mut config)?;
            }
            hook::inner(worker, task, "post-restart")
        });
        match back {
            Ok(()) => task.online_again(worker),
            Err(error) => worker.say(error.message),
        }
    }
}
