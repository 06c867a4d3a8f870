//! What task workers do. Each job is one module; [`run`] is the only dispatcher.

pub(crate) mod clone;
pub(crate) mod compress;
pub(crate) mod create;
pub(crate) mod destroy;
pub(crate) mod disks;
pub(crate) mod guest_os;
pub(crate) mod hook;
pub(crate) mod machine;
pub(crate) mod merge;
pub(crate) mod move_volume;
pub(crate) mod power;
pub(crate) mod prune;
pub(crate) mod rescan;
pub(crate) mod rollback;
pub(crate) mod settings;
pub(crate) mod snapshot;
pub(crate) mod startall;
pub(crate) mod tar;
pub(crate) mod upload;
pub(crate) mod vzdump;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::task::worker::Worker;

/// A task's order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Job {
    /// `vzrestore` and `vzcreate`.
    Create(Box<CreateJob>),
    /// `vzstart`.
    Start {
        /// Guest.
        vmid: u32,
        /// Whether its lock does not matter (F43).
        skiplock: bool,
    },
    /// `vzstop`.
    Stop {
        /// Guest.
        vmid: u32,
        /// Whether its lock does not matter (F43).
        skiplock: bool,
    },
    /// `vzshutdown`.
    Shutdown {
        /// Guest.
        vmid: u32,
        /// Seconds to wait.
        timeout: u64,
        /// Whether to stop it then.
        force: bool,
    },
    /// `vzreboot`.
    Reboot {
        /// Guest.
        vmid: u32,
        /// Seconds to wait for its stop.
        timeout: u64,
    },
    /// `vzsuspend`.
    Suspend {
        /// Guest.
        vmid: u32,
    },
    /// `vzresume`.
    Resume {
        /// Guest.
        vmid: u32,
    },
    /// `vzdestroy`.
    Destroy {
        /// Guest.
        vmid: u32,
        /// Also if it runs.
        force: bool,
        /// Out of backup jobs too.
        purge: bool,
        /// All volumes of this VMID on all storages, too.
        unreferenced: bool,
    },
    /// `resize`.
    Resize {
        /// Guest.
        vmid: u32,
        /// `rootfs` or `mpN`.
        disk: String,
        /// New size, or `+` and what it grows by.
        size: String,
    },
    /// `move_volume` to another guest.
    Reassign(Box<move_volume::Reassign>),
    /// `move_volume` to another storage.
    MoveToStorage(Box<move_volume::ToStorage>),
    /// `imgdel`.
    DeleteVolume {
        /// Which.
        volid: String,
    },
    /// `imgcopy`.
    Upload(Box<upload::Upload>),
    /// `prunebackups`.
    Prune {
        /// Storage.
        storage: String,
        /// Only this guest's archives.
        vmid: Option<u32>,
        /// Retention as passed; else the storage's.
        keep: Option<String>,
        /// Only archives of virtual machines, of which there are none.
        only_qemu: bool,
    },
    /// `vzsnapshot`.
    Snapshot {
        /// Guest.
        vmid: u32,
        /// Name.
        name: String,
        /// Remark.
        description: String,
    },
    /// `vzdelsnapshot`.
    DeleteSnapshot {
        /// Guest.
        vmid: u32,
        /// Name.
        name: String,
        /// Whether to go on over errors.
        force: bool,
    },
    /// `vzclone`.
    Clone(Box<CloneJob>),
    /// `vztemplate`.
    Template {
        /// Guest.
        vmid: u32,
    },
    /// `startall`.
    StartAll {
        /// Also guests without onboot.
        force: bool,
        /// Only these.
        only: Option<Vec<u32>>,
    },
    /// `vzrollback`.
    Rollback {
        /// Guest.
        vmid: u32,
        /// Name.
        name: String,
        /// Start it afterwards, in a task of its own.
        start: bool,
    },
    /// `vzdump`.
    Vzdump(Box<vzdump::VzdumpJob>),
}

/// Creating a guest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CreateJob {
    /// Guest.
    pub(crate) vmid: u32,
    /// From an archive, not from a template.
    pub(crate) restore: bool,
    /// Volume id of archive or template.
    pub(crate) archive: String,
    /// Where volumes go that name no storage.
    pub(crate) storage: String,
    /// Pool to put it in.
    pub(crate) pool: Option<String>,
    /// `rootfs` and `mpN` as given.
    pub(crate) mount_points: BTreeMap<String, String>,
    /// Other options as given.
    pub(crate) options: BTreeMap<String, String>,
    /// As given; else from the archive.
    pub(crate) unprivileged: Option<bool>,
    /// New MAC addresses.
    pub(crate) unique: bool,
    /// Start it afterwards, in a task of its own.
    pub(crate) start: bool,
    /// Whether the guest was there when the call came: then it is overwritten (F55).
    pub(crate) overwrite: bool,
    /// Go on when the archive cannot be unpacked as a whole (F70).
    pub(crate) ignore_unpack_errors: bool,
    /// The caller may overwrite the guest, but not its firewall file.
    pub(crate) keep_firewall: bool,
    /// KiB of the archive a second.
    pub(crate) bwlimit: Option<u64>,
}

/// Copying a guest; both are locked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CloneJob {
    /// Source.
    pub(crate) vmid: u32,
    /// Target.
    pub(crate) newid: u32,
    /// From a snapshot, not from what the source has now.
    pub(crate) snapshot: Option<String>,
    /// Where the new volumes go; else where the old ones are.
    pub(crate) storage: Option<String>,
    /// Pool to put it in.
    pub(crate) pool: Option<String>,
    /// Copies, not clones that share what they have in common.
    pub(crate) full: bool,
    /// `rootfs` and `mpN` of the source.
    pub(crate) mount_points: BTreeMap<String, String>,
}

/// Does a job.
///
/// # Errors
/// What the task ends with.
pub(crate) fn run(worker: &mut Worker, job: Job) -> Result<(), ApiError> {
    match job {
        Job::Create(job) => create::run(worker, &job),
        Job::Start { vmid, skiplock } => power::start(worker, vmid, skiplock),
        Job::Stop { vmid, skiplock } => power::stop(worker, vmid, skiplock),
        Job::Shutdown { vmid, timeout, force } => power::shutdown(worker, vmid, timeout, force),
        Job::Reboot { vmid, timeout } => power::reboot(worker, vmid, timeout),
        Job::Suspend { vmid } => power::suspend(worker, vmid),
        Job::Resume { vmid } => power::resume(worker, vmid),
        Job::Destroy { vmid, force, purge, unreferenced } => {
            destroy::run(worker, vmid, (force, purge, unreferenced))
        }
        Job::Resize { vmid, disk, size } => disks::resize(worker, vmid, &disk, &size),
        Job::Reassign(job) => move_volume::reassign(worker, &job),
        Job::MoveToStorage(job) => move_volume::to_storage(worker, &job),
        Job::Prune { only_qemu: true, .. } => Ok(()),
        Job::Prune { storage, vmid, keep, .. } => prune::run(worker, (&storage, vmid), keep.as_deref()),
        Job::Upload(job) => upload::run(worker, &job),
        Job::DeleteVolume { volid } => disks::delete_volume(worker, &volid),
        Job::Snapshot { vmid, name, description } => snapshot::make(worker, vmid, &name, &description),
        Job::DeleteSnapshot { vmid, name, force } => snapshot::delete(worker, vmid, &name, force),
        Job::Clone(job) => clone::run(worker, &job),
        Job::Template { vmid } => clone::template(worker, vmid),
        Job::StartAll { force, only } => startall::run(worker, force, only.as_deref()),
        Job::Rollback { vmid, name, start } => rollback::run(worker, vmid, &name, start),
        Job::Vzdump(job) => vzdump::run(worker, &job),
    }
}
