//! The `vzdump` task (F61, F65, F67, F71, F72, F91, F97, F101).
//!
//! One at a time on a node ([`job_lock`]). For each guest: checks, mode, `lock: backup`, data standing still ([`modes`]), archive
//! ([`archive`]), notes, protection, prune ([`prune`]), clean up. Each line goes to the task log, and with its time to the
//! archive's `.log`. If the worker is killed, lock, snapshot, `.tar.dat` and `.tmp` stay, and the archiver runs on.

mod archive;
mod guest;
mod modes;
mod sync;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::perm;
use crate::state::storage::{Storage, Storages};
use crate::state::vzdump_conf::Defaults;
use crate::state::{access_file, lock};
use crate::task::worker::Worker;
use crate::work::prune;

/// How the data is made to stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Storage snapshots.
    Snapshot,
    /// Copy, freeze, copy the rest, thaw.
    Suspend,
    /// Stop, archive, start.
    Stop,
}

impl Mode {
    /// By name; anything else is `snapshot`.
    pub(crate) fn parse(name: &str) -> Self {
        match name {
            "suspend" => Self::Suspend,
            "stop" => Self::Stop,
            _ => Self::Snapshot,
        }
    }

    /// As the log has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Suspend => "suspend",
            Self::Stop => "stop",
        }
    }
}

/// A backup order, with the host's defaults already in it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VzdumpJob {
    /// Guests.
    pub(crate) vmids: Vec<u32>,
    /// Target.
    pub(crate) storage: String,
    /// Mode asked for.
    pub(crate) mode: Mode,
    /// `.tar.zst`, else `.tar`.
    pub(crate) zstd: bool,
    /// Whether older archives are pruned.
    pub(crate) remove: bool,
    /// Mark it.
    pub(crate) protected: bool,
    /// With `{{guestname}}` and the like.
    pub(crate) notes_template: Option<String>,
    /// Minutes to wait for another backup.
    pub(crate) lockwait: u64,
    /// Minutes to wait for a guest to stop.
    pub(crate) stopwait: u64,
    /// Patterns to leave out.
    pub(crate) exclude_path: Vec<String>,
    /// And the standard ones.
    pub(crate) stdexcludes: bool,
    /// Retention as passed; else the storage's, else the host's.
    pub(crate) prune: Option<String>,
    /// For the first log line.
    pub(crate) command: String,
    /// Whether it was asked for all guests.
    pub(crate) all: bool,
}

/// Backs up every guest of the order.
pub(crate) fn run(worker: &mut Worker, job: &VzdumpJob) -> Result<(), ApiError> {
    let storage = target(worker, job)?;
    let _held = job_lock(worker, job)?;
    worker.say(format!("INFO: starting new backup job: {}", job.command));
    // Missing rights end the task before the first guest (rec 775).
    let access = access_file::load(&worker.host)?;
    for vmid in &job.vmids {
        perm::check(&access, worker.authid(), &format!("/vms/{vmid}"), &["VM.Backup"])?;
    }
    let mut failed = false;
    for vmid in &job.vmids {
        failed |= !guest::back_up(worker, job, &storage, *vmid);
        if worker.stopping() {
            failed = true;
            break;
        }
    }
    if failed {
        worker.say("INFO: Backup job finished with errors");
        return Err(ApiError::die("job errors"));
    }
    worker.say("INFO: Backup job finished successfully");
    Ok(())
}

/// rec 254, 416, rec2 921, 939: what is wrong with the target is known before anything else.
fn target(worker: &Worker, job: &VzdumpJob) -> Result<Storage, ApiError> {
    let id = &job.storage;
    let storages = Storages::load(&worker.host)?;
    let wrong = || ApiError::die(format!("can't use storage '{id}' for backups - wrong content type"));
    let found = storages.get(id).and_then(|s| if s.holds("backup") { Ok(s) } else { Err(wrong()) });
    let mut errors = Vec::new();
    if let Err(error) = storages.get(id).and_then(|s| s.activate(&worker.host)) {
        errors.push(format!("could not activate storage '{id}': {}", error.message));
    }
    if let Err(error) = &found {
        errors.push(format!("could not get storage information for '{id}': {}", error.message));
    }
    match found {
        Ok(storage) if errors.is_empty() => Ok(storage.clone()),
        _ => Err(ApiError::die(errors.join(" "))),
    }
}

/// F39: vzdump is serialised per node.
fn job_lock(worker: &mut Worker, job: &VzdumpJob) -> Result<lock::Lock, ApiError> {
    let path = worker.host.dir.lock("vzdump");
    if let Some(held) = lock::acquire(&path, Duration::ZERO, &mut || ())? {
        return Ok(held);
    }
    if job.lockwait == 0 {
        let text = "can't acquire lock '/var/run/vzdump.lock' (wait = 0)";
        worker.say(format!("ERROR: {text}"));
        return Err(ApiError::die(text));
    }
    worker.say("INFO: trying to get global lock - waiting...");
    let mut left = job.lockwait * 60;
    while left > 0 {
        worker.check_stop()?;
        if let Some(held) = lock::acquire(&path, Duration::from_secs(1), &mut || ())? {
            worker.say("INFO: got global lock");
            return Ok(held);
        }
        left -= 1;
    }
    Err(ApiError::die("can't acquire lock '/var/run/vzdump.lock' - got timeout"))
}

/// Retention that counts: parameter, storage, host, or keep everything (F67).
fn retention(worker: &Worker, job: &VzdumpJob, storage: &Storage) -> Result<prune::Keep, ApiError> {
    let host = Defaults::load(&worker.host)?.get("prune-backups");
    let text = job.prune.clone().or_else(|| storage.options.get("prune-backups").cloned()).or(host);
    Ok(prune::Keep::parse(text.as_deref().unwrap_or("keep-all=1")))
}
