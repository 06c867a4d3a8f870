//! The `vzdump` task (F61, F65, F67, F68, F71, F72, F91, F97, F99, F101).
//!
//! One at a time on a node ([`job_lock`]). The settings are the call's, else the host's, else Proxmox VE's ([`settings`]). For
//! each guest: limits, `lock: backup`, data standing still ([`modes`]), archive ([`archive`]), notes, protection, prune
//! ([`crate::work::prune`]), clean up ([`undo`]); the host's hook script hears of each phase ([`hook`]). Each line goes to the task log, and
//! with its time to `var/log/vzdump/lxc-ID.log`, which becomes the archive's `.log` at the end. If the worker is killed, lock,
//! snapshot, `.tar.dat` and `.tmp` stay, and the archiver runs on.

mod archive;
mod command;
mod guest;
mod hook;
mod journal;
mod modes;
mod settings;
mod suspend;
mod sync;
mod undo;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::perm;
use crate::state::{Host, access_file, atomic, guests, lock};
use crate::task::worker::Worker;

pub(crate) use command::quote;
use journal::Journal;
use settings::Settings;

/// How the data is made to stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A backup order: what was passed. The host's defaults are read when the task runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VzdumpJob {
    /// Guests.
    pub(crate) vmids: Vec<u32>,
    /// Options as passed.
    pub(crate) given: BTreeMap<String, String>,
    /// Patterns to leave out, as passed.
    pub(crate) exclude_path: Vec<String>,
    /// For the first log line.
    pub(crate) command: String,
}

/// `run/vzdump.pid`: the UPID of the backup that holds the node's lock.
pub(crate) fn pid_file(host: &Host) -> std::path::PathBuf {
    host.dir.root().join("run/vzdump.pid")
}

/// Backs up every guest of the order.
pub(crate) fn run(worker: &mut Worker, job: &VzdumpJob) -> Result<(), ApiError> {
    let settings = Settings::prepare(worker, job)?;
    worker.phase("lock")?;
    let _held = job_lock(worker, settings.lockwait);
    atomic::write(&pid_file(&worker.host), worker.upid.to_string().as_bytes())?;
    worker.say(format!("INFO: starting new backup job: {}", job.command));
    let vmids = permitted(worker, job, &settings)?;
    match all_guests(worker, &settings, &vmids) {
        Ok(0) => {
            worker.say("INFO: Backup job finished successfully");
            let _ = std::fs::remove_file(pid_file(&worker.host));
            Ok(())
        }
        Ok(_) => {
            worker.say("INFO: Backup job finished with errors");
            Err(ApiError::die("job errors"))
        }
        Err(mut error) => {
            if let Err(more) = hook::outer(worker, &settings, "job-abort") {
                error.message = format!("{}\n{}", error.message, more.message);
            }
            Journal::default().error(worker, &format!("Backup job failed - {error}"));
            Err(error)
        }
    }
}

/// Guests in ascending order. A missing right ends the task before the first one (rec 775); with `all` it only leaves the guest
/// out (F65). Guests that do not exist fail later.
fn permitted(worker: &Worker, job: &VzdumpJob, settings: &Settings) -> Result<Vec<u32>, ApiError> {
    let access = access_file::load(&worker.host)?;
    let mut all = job.vmids.clone();
    all.sort_unstable();
    let mut kept = Vec::new();
    for vmid in all {
        if guests::exists(&worker.host, vmid) {
            match perm::check(&access, worker.authid(), &format!("/vms/{vmid}"), &["VM.Backup"]) {
                Err(_) if settings.all => continue,
                other => other?,
            }
        }
        kept.push(vmid);
    }
    Ok(kept)
}

/// How many failed.
fn all_guests(worker: &mut Worker, settings: &Settings, vmids: &[u32]) -> Result<usize, ApiError> {
    hook::outer(worker, settings, "job-start")?;
    let mut failed = 0;
    for vmid in vmids {
        failed += usize::from(!guest::back_up(worker, settings, *vmid)?);
    }
    hook::outer(worker, settings, "job-end")?;
    Ok(failed)
}

/// F39: vzdump is serialised per node. Without the lock the worker ends without a last line, so that its status is `unexpected
/// status` (Unrecorded: PVE/API2/VZDump.pm:143 of pve-manager, `exit(-1)`).
fn job_lock(worker: &mut Worker, minutes: u64) -> lock::Lock {
    const FILE: &str = "/var/run/vzdump.lock";
    let path = worker.host.dir.lock("vzdump");
    let free = || lock::acquire(&path, Duration::ZERO, &mut || ());
    let reason = match free() {
        Ok(Some(held)) => return held,
        Err(error) => format!("can't open lock on file '{FILE}' - {error}"),
        Ok(None) if minutes == 0 => format!("can't acquire lock '{FILE}' (wait = 0)"),
        Ok(None) => {
            worker.say("INFO: trying to get global lock - waiting...");
            let mut left = Duration::from_secs(minutes.saturating_mul(60));
            let step = Duration::from_millis(20);
            loop {
                match free() {
                    Ok(Some(held)) => {
                        worker.say("INFO: got global lock");
                        return held;
                    }
                    Err(error) => break format!("can't acquire lock '{FILE}' - {error}"),
                    Ok(None) if worker.stopping() => {
                        break format!("can't acquire lock '{FILE}' - interrupted by signal");
                    }
                    Ok(None) if left.is_zero() => break format!("can't acquire lock '{FILE}' - got timeout"),
                    Ok(None) => lock::pause(step),
                }
                left = left.saturating_sub(step);
            }
        }
    };
    worker.say(format!("ERROR: {reason}"));
    std::process::exit(255)
}
