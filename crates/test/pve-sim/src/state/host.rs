//! The one handle that everything takes: state directory, node name and runtime of this simulated host.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{StateDir, atomic, lock};
use crate::error::ApiError;
use crate::volume::owners::Ownership;

/// How guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuntimeKind {
    /// A guest's `/sbin/init` is a process of this machine.
    Process,
    /// A guest is a container of this machine, by `lxc-start`; needs root and LXC.
    Lxc,
    /// A guest that is started is only marked as running.
    None,
}

/// What `serve` was started with; kept in `etc/host.json` for the workers and for `pct`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostFile {
    /// Node name.
    pub(crate) node: String,
    /// How guests run.
    pub(crate) runtime: RuntimeKind,
    /// Number of this host among others on one machine: guests' addresses are in 127.NET.0.0/16, or in 10.198.NET.0/24 where they
    /// are containers.
    pub(crate) net: u8,
    /// Milliseconds that a volume's first mount takes after a rollback to a snapshot of a running guest (F53).
    #[serde(default)]
    pub(crate) mmp_wait_ms: u64,
}

/// State directory, node name and runtime.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Where the files are.
    pub(crate) dir: StateDir,
    /// The node's name.
    pub(crate) node: String,
    /// How guests run.
    pub(crate) runtime: RuntimeKind,
    /// See [`HostFile::net`].
    pub(crate) net: u8,
    /// See [`HostFile::mmp_wait_ms`].
    pub(crate) mmp_wait: Duration,
}

impl Host {
    /// Opens an existing state directory.
    ///
    /// # Errors
    /// If it does not exist or was never served.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let found =
            dir.canonicalize().map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", dir.display())))?;
        let dir = StateDir::new(found);
        let text = std::fs::read_to_string(dir.host_file()).map_err(|e| {
            io::Error::new(
                e.kind(),
                format!("{}: {e} (start `pve-sim serve` on it once)", dir.host_file().display()),
            )
        })?;
        let file: HostFile = serde_json::from_str(&text).map_err(io::Error::other)?;
        let mmp_wait = Duration::from_millis(file.mmp_wait_ms);
        Ok(Self { dir, node: file.node, runtime: file.runtime, net: file.net, mmp_wait })
    }

    /// Makes the directory if needed, records what it is served with, and opens it.
    pub(crate) fn create(dir: &Path, file: &HostFile) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let state = StateDir::new(dir.canonicalize()?);
        for sub in ["etc/pve/lxc", "etc/pve/priv", "run/lock", "run/guests", "var/log/pve/tasks"] {
            std::fs::create_dir_all(state.root().join(sub))?;
        }
        atomic::write(&state.host_file(), &serde_json::to_vec(file).map_err(io::Error::other)?)?;
        Self::open(dir)
    }

    /// How the owners of guests' files are kept.
    pub(crate) fn ownership(&self) -> Ownership {
        match self.runtime {
            RuntimeKind::Lxc => Ownership::CONTAINER,
            RuntimeKind::Process | RuntimeKind::None => Ownership::Table,
        }
    }

    /// Takes a guest's configuration lock, waiting up to ten seconds as Proxmox VE does.
    ///
    /// # Errors
    /// 500 `can't lock file '…' - got timeout`.
    pub(crate) fn lock_guest(&self, vmid: u32) -> Result<lock::Lock, ApiError> {
        self.lock_guest_noisy(vmid, &mut || ())
    }

    /// As [`Host::lock_guest`]; `on_wait` is called once if it has to wait (`trying to acquire lock...` in a task log).
    pub(crate) fn lock_guest_noisy(
        &self,
        vmid: u32,
        on_wait: &mut dyn FnMut(),
    ) -> Result<lock::Lock, ApiError> {
        self.lock(&format!("pve-config-{vmid}"), lock::GUEST_TIMEOUT, on_wait)
    }

    /// Takes the lock of user.cfg and its secrets.
    pub(crate) fn lock_access(&self) -> Result<lock::Lock, ApiError> {
        self.lock("user.cfg", lock::GUEST_TIMEOUT, &mut || ())
    }

    /// Takes the lock of the named shared thing.
    pub(crate) fn lock(
        &self,
        name: &str,
        timeout: Duration,
        on_wait: &mut dyn FnMut(),
    ) -> Result<lock::Lock, ApiError> {
        let path = self.dir.lock(name);
        match lock::acquire(&path, timeout, on_wait)? {
            Some(lock) => Ok(lock),
            None => Err(ApiError::die(format!("can't lock file '/run/lock/lxc/{name}.lock' - got timeout"))),
        }
    }
}
