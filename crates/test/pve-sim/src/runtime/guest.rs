//! One guest of the process runtime.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RuntimeError;

/// A mount point of a guest: a volume's tree or a bind-mounted directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Path in the guest, absolute, not `/`.
    pub path: String,
    /// Directory on this machine.
    pub source: PathBuf,
    /// A storage volume has an owner side table, a bind mount has none.
    pub volume: bool,
}

/// A guest, running or not: where its files are.
#[derive(Debug, Clone)]
pub struct Guest {
    /// VMID.
    pub vmid: u32,
    /// Tree of its root volume.
    pub rootfs: PathBuf,
    /// Where the runtime keeps `guest.json` and `console.log`: `STATE/run/guests/VMID`, see [`Guest::open`].
    pub dir: PathBuf,
}

/// How a guest is to be started.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its host name.
    pub hostname: String,
    /// Its own loopback address.
    pub lo: Ipv4Addr,
    /// net0's address; `None` while the link is down or the guest has no net0.
    pub net0: Option<Ipv4Addr>,
    /// Its mount points other than the rootfs.
    pub mounts: Vec<Mount>,
    /// The `pve-sim` program (`std::env::current_exe()`), which runs the monitor.
    pub program: PathBuf,
}

/// A running guest, as `guest.json` records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// VMID.
    pub vmid: u32,
    /// Tree of its root volume.
    pub rootfs: PathBuf,
    /// Process id of init.
    pub pid: i32,
    /// Start time of init in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Host name it was started with.
    pub hostname: String,
    /// Its loopback address.
    pub lo: Ipv4Addr,
    /// net0's address, absent while the link is down.
    pub net0: Option<Ipv4Addr>,
    /// Mount points that are linked into the rootfs.
    pub mounts: Vec<Mount>,
}

impl Guest {
    /// The guest with root volume `rootfs`; its runtime files are in `STATE/run/guests/VMID`.
    #[must_use]
    pub fn new(state: &Path, vmid: u32, rootfs: &Path) -> Self {
        Self { vmid, rootfs: rootfs.to_path_buf(), dir: state.join("run/guests").join(vmid.to_string()) }
    }

    /// The running guest `vmid`, its rootfs taken from its record; `None` if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn open(state: &Path, vmid: u32) -> Result<Option<(Self, Started)>, RuntimeError> {
        let _ = (state, vmid);
        Ok(None)
    }

    /// Starts init and returns when it runs. Processes of an earlier run are ended first; `/run` is emptied.
    ///
    /// # Errors
    /// [`RuntimeError::AlreadyRunning`], [`RuntimeError::NoProgram`] without `/sbin/init`, [`RuntimeError::StartFailed`].
    pub fn start(&self, start: &Start) -> Result<Started, RuntimeError> {
        let _ = start;
        Err(RuntimeError::AlreadyRunning(self.vmid))
    }

    /// The record of the running guest, or `None` if init does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn running(&self) -> Result<Option<Started>, RuntimeError> {
        Ok(None)
    }

    /// Process ids of the guest: init, its descendants and what left them.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn processes(&self) -> Result<Vec<i32>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Ends all processes at once (SIGKILL, frozen ones too) and takes the mount points out of the rootfs. No error if
    /// nothing runs.
    ///
    /// # Errors
    /// [`RuntimeError::Timeout`], [`RuntimeError::Io`].
    pub fn stop(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Asks init to end (SIGTERM), waits up to `timeout`, then does what [`Guest::stop`] does if the guest did end or
    /// `force` is set. Returns whether it ended by itself; `false` without `force` leaves it running.
    ///
    /// # Errors
    /// [`RuntimeError::Timeout`], [`RuntimeError::Io`].
    pub fn shutdown(&self, timeout: Duration, force: bool) -> Result<bool, RuntimeError> {
        let _ = (timeout, force);
        Ok(true)
    }

    /// Freezes all processes (SIGSTOP), also those that are forked meanwhile; returns when all are stopped.
    ///
    /// A process that the guest itself stopped before (state T) is left alone here and in [`Guest::thaw`]: in LXC the
    /// freezer is another mechanism than the guest's own pause, which it must not end.
    ///
    /// # Errors
    /// [`RuntimeError::Timeout`] after 10 s (then all are thawed again), [`RuntimeError::Io`].
    pub fn freeze(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Thaws the processes that [`Guest::freeze`] stopped (SIGCONT), no others. No error if nothing is frozen.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn thaw(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Whether init is frozen.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn frozen(&self) -> Result<bool, RuntimeError> {
        Ok(false)
    }

    /// Sets net0's address of the running guest, or takes it away (`link_down`). No error if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn set_link(&self, net0: Option<Ipv4Addr>) -> Result<(), RuntimeError> {
        let _ = net0;
        Ok(())
    }

    /// Adds a mount point to the running guest (a hotplug). No error if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::BadPath`], [`RuntimeError::Io`].
    pub fn plug(&self, mount: &Mount) -> Result<(), RuntimeError> {
        let _ = mount;
        Ok(())
    }
}
