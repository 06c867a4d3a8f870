//! What a dead task's worker leaves on the host, and how it goes away: processes, mounts, temporary files.
//!
//! ```text
//! SIGKILL of a worker ─┬─▶ its tar goes on            end_processes      by process group and by what it works on
//!                      ├─▶ /var/lib/lxc/ID/rootfs     unmount_guest      by mount point, last mounted first
//!                      └─▶ …_33.tmp, …_33.tar.dat     remove_dump_files  by exact name
//! ```
//! Source: a real node after `kill -9` of a restore (F77) and of a backup (F91). Locks, configurations and volumes are
//! Proxmox's own: see [`crate::Host::unlock`] and [`crate::Host::rescan`].

mod dump;
mod mounts;
mod processes;

use std::path::{Path, PathBuf};

use felhom_model::Vmid;

use crate::act::RootAct;
use crate::error::HostError;

pub use dump::{DeadBackup, DumpName, NoDumpName};
pub use processes::Process;

/// Where the host has its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The host's `/`, for its settings and storages.
    pub root: PathBuf,
    /// The kernel's view of devices and control groups: `/sys`.
    pub sys: PathBuf,
    /// The kernel's view of processes: `/proc`.
    pub proc: PathBuf,
    /// Where guests' roots are mounted, each as `ID/rootfs`: `/var/lib/lxc`.
    pub lxc: PathBuf,
    /// Where a backup has its temporary files if not beside the archive: `/var/tmp`.
    pub tmp: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Roots {
    /// Those of a host whose `/` is this directory; its kernel and processes are this machine's.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            sys: "/sys".into(),
            proc: "/proc".into(),
            lxc: root.join("var/lib/lxc"),
            tmp: root.join("var/tmp"),
        }
    }

    /// A path of the host, as this machine has it.
    #[must_use]
    pub fn of_host(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Where a guest's root is mounted while a restore fills it.
    #[must_use]
    pub fn rootfs(&self, vmid: Vmid) -> PathBuf {
        self.lxc.join(vmid.to_string()).join("rootfs")
    }
}

/// A task's worker that is dead, as its UPID names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadWorker {
    /// Its process id.
    pub pid: u32,
    /// Its start in clock ticks since the host's boot.
    pub started: u64,
}

fn problem(act: RootAct, doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> HostError {
    let path = path.to_owned();
    move |source| HostError::File { act, doing, path, source }
}

fn refused(act: RootAct, target: impl std::fmt::Display, reason: impl Into<String>) -> HostError {
    HostError::Refused { act, target: target.to_string(), reason: reason.into() }
}
