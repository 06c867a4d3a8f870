//! The subcommand `pve-sim reboot`: a power cycle of the host. Workers, archivers and guests are gone at once, with whatever they had
//! in memory; what was in files stays as it was. A serving process plays the machine itself and goes on.

use std::path::PathBuf;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::clock;
use crate::error::ApiError;
use crate::pvestatd;
use crate::state::{Host, guests};
use crate::task::{index, process, spawn};
use crate::work::{Job, machine};

/// `pve-sim reboot --state DIR`.
#[derive(Debug, Args)]
pub(crate) struct RebootArgs {
    /// State directory.
    #[arg(long, env = "PVE_SIM_STATE")]
    state: PathBuf,
    /// Do what pve-guests.service does last at boot: start guests with onboot=1, without left-over backup locks.
    #[arg(long)]
    guests: bool,
    /// Only power off: guests end, and their network on this machine goes.
    #[arg(long, conflicts_with = "guests")]
    off: bool,
}

/// Runs it.
///
/// # Errors
/// A state directory that was never served; a guest that cannot be ended.
pub(crate) fn run(args: &RebootArgs) -> Result<(), ApiError> {
    let host = Host::open(&args.state)?;
    clock::booted(&host)?;
    power_off(&host)?;
    pvestatd::forget(&host);
    if args.off {
        return Ok(());
    }
    machine::prepare(&host)?;
    if !args.guests {
        return Ok(());
    }
    // F92.
    let job = Job::StartAll { force: false, only: None };
    spawn::start_nested(&host, "startall", "", "root@pam", job).map(drop)
}

/// The lists of tasks are left alone: until the next round they show the dead as running (F90).
fn power_off(host: &Host) -> Result<(), ApiError> {
    let (active, _) = index::both(host)?;
    for entry in active.iter().filter(|e| process::running(e.upid.pid, e.upid.pstart)) {
        // A worker leads a group of its own, in which its archiver is, too.
        if let Some(group) = i32::try_from(entry.upid.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    for vmid in guests::list(host)? {
        machine::stop(host, vmid)?;
    }
    machine::poweroff(host)
}
