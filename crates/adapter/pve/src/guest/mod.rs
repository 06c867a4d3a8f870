//! Containers: list, state, power, destruction.
//!
//! **Architecture invariant:** `unique`, `skiplock`, `ignore-unpack-errors`, `destroy-unreferenced-disks`, a nested
//! `start=1`, and `force` of anything but a snapshot's deletion have no expression in these types.

mod config;
mod restore;
mod snapshot;
mod volume;

use serde::Deserialize;

use crate::decode::{opt_text, opt_u64, text, u64_or_zero};
use crate::error::Error;
use crate::form::Form;
use crate::ids::Vmid;
use crate::node::Node;
use crate::upid::Upid;

pub use config::{ConfigUpdate, GuestConfig, Setting};
pub use restore::{RestoreMount, RestoreRequest};
pub use snapshot::Snapshot;
pub use volume::{AttachedVolume, VolumeKey, VolumeMove, volume_owner};

/// Whether a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It runs, or is frozen: PVE calls both running.
    Running,
    /// It does not.
    Stopped,
    /// PVE does not know at the moment.
    Unknown,
}

/// A guest's state now.
#[derive(Debug, Clone, Deserialize)]
pub struct GuestStatus {
    /// Its number.
    #[serde(default, deserialize_with = "u64_or_zero")]
    vmid: u64,
    /// `running` or `stopped`.
    #[serde(default, deserialize_with = "text")]
    status: String,
    /// Its hostname, `CT101` while it has none.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// The lock that holds it, e.g. `backup`, `create`.
    #[serde(default, deserialize_with = "opt_text")]
    pub lock: Option<String>,
    /// Tags, joined with `;`.
    #[serde(default, deserialize_with = "opt_text")]
    pub tags: Option<String>,
    /// Seconds since its start.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub uptime: u64,
    /// Its init's process id at the host.
    #[serde(default, deserialize_with = "opt_u64")]
    pub pid: Option<u64>,
    /// Cores allowed; a fraction where they are limited otherwise.
    #[serde(default, deserialize_with = "text")]
    pub cpus: String,
    /// Main memory in use, bytes.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub mem: u64,
    /// Main memory allowed, bytes.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub maxmem: u64,
    /// Swap allowed, bytes.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub maxswap: u64,
    /// Root file system in use, bytes.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub disk: u64,
    /// Root file system's size, bytes.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub maxdisk: u64,
}

impl GuestStatus {
    /// Its number, if PVE gave a valid one.
    #[must_use]
    pub fn vmid(&self) -> Option<Vmid> {
        Vmid::try_from(u32::try_from(self.vmid).ok()?).ok()
    }

    /// Whether it runs.
    #[must_use]
    pub fn state(&self) -> RunState {
        match self.status.as_str() {
            "running" => RunState::Running,
            "stopped" => RunState::Stopped,
            _ => RunState::Unknown,
        }
    }
}

/// A guest's network interface as seen now.
#[derive(Debug, Clone, Deserialize)]
pub struct Interface {
    /// e.g. `eth0`.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// The MAC address in lower case.
    #[serde(default, deserialize_with = "opt_text")]
    pub hwaddr: Option<String>,
    /// IPv4 address with prefix, e.g. `10.99.0.101/24`.
    #[serde(default, deserialize_with = "opt_text")]
    pub inet: Option<String>,
    /// IPv6 address with prefix.
    #[serde(default, deserialize_with = "opt_text")]
    pub inet6: Option<String>,
}

/// A guest at its node.
#[derive(Debug, Clone)]
pub struct Guest {
    node: Node,
    vmid: Vmid,
}

impl Node {
    /// The guests that the caller may see. **Missing rights show as an empty list**; a guest that is being restored is not
    /// in it.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn guests(&self) -> Result<Vec<GuestStatus>, Error> {
        self.pve.get(&self.path("/lxc"), &Form::new()).await
    }

    /// A handle on a guest; nothing is sent.
    #[must_use]
    pub fn guest(&self, vmid: Vmid) -> Guest {
        Guest { node: self.clone(), vmid }
    }

    /// Restores an archive into a new guest. It fails if the VMID is taken; it cannot overwrite. **The UPID means almost
    /// nothing**: wait for the task, nothing else identifies the new guest until it ends.
    ///
    /// # Errors
    /// [`Error::Exists`] if the VMID is taken, [`Error::Forbidden`] without rights, else any [`Error`] of the call.
    pub async fn restore(&self, request: &RestoreRequest) -> Result<Upid, Error> {
        self.pve.post(&self.path("/lxc"), &request.form()).await
    }
}

impl Guest {
    /// Its number.
    #[must_use]
    pub fn vmid(&self) -> Vmid {
        self.vmid
    }

    fn path(&self, rest: &str) -> String {
        self.node.path(&format!("/lxc/{}{rest}", self.vmid))
    }

    async fn power(&self, verb: &str, form: Form) -> Result<Upid, Error> {
        self.node.pve.post(&self.path(&format!("/status/{verb}")), &form).await
    }

    /// Its state now.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such guest, [`Error::Forbidden`] also while it is being restored, else any
    /// [`Error`] of the call.
    pub async fn status(&self) -> Result<GuestStatus, Error> {
        self.node.pve.get(&self.path("/status/current"), &Form::new()).await
    }

    /// Starts it.
    ///
    /// # Errors
    /// Any [`Error`] of the call; a lock or a missing volume fails in the task.
    pub async fn start(&self) -> Result<Upid, Error> {
        self.power("start", Form::new()).await
    }

    /// Stops it at once.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn stop(&self) -> Result<Upid, Error> {
        self.power("stop", Form::new()).await
    }

    /// Asks its init to shut down and waits for that many seconds; then the task fails, or with `then_stop` stops it.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn shutdown(&self, timeout_seconds: u32, then_stop: bool) -> Result<Upid, Error> {
        let form = Form::new().with("timeout", timeout_seconds).with_flag("forceStop", then_stop);
        self.power("shutdown", form).await
    }

    /// Shuts it down and starts it again. **Never while a backup holds it**: the stop half ignores the lock, the start half
    /// does not, and the guest stays down.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn reboot(&self, timeout_seconds: u32) -> Result<Upid, Error> {
        self.power("reboot", Form::new().with("timeout", timeout_seconds)).await
    }

    /// Destroys a stopped, unprotected guest with the volumes that its configuration names. `purge` takes it out of backup
    /// jobs as well. Its archives stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::Refused`] if it runs or is protected, else any [`Error`] of the
    /// call.
    pub async fn destroy(&self, purge: bool) -> Result<Upid, Error> {
        self.node.pve.delete(&self.path(""), &Form::new().with_flag("purge", purge)).await
    }

    /// Its network interfaces as seen now; it has to run.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        self.node.pve.get(&self.path("/interfaces"), &Form::new()).await
    }

    /// Grows a volume to this size in GiB; `disk` is `rootfs` or `mpN`. Smaller than it is fails.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn resize(&self, disk: &str, gib: std::num::NonZeroU32) -> Result<Upid, Error> {
        let form = Form::new().with("disk", disk).with("size", format!("{gib}G"));
        self.node.pve.put(&self.path("/resize"), &form).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_states() {
        let creating: GuestStatus = serde_json::from_str(
            r#"{"maxmem":536870912,"cpu":0,"type":"lxc","ha":{"managed":0},"status":"stopped","vmid":101,"name":"CT101","uptime":0,"lock":"create"}"#,
        )
        .unwrap();
        assert_eq!(
            (creating.state(), creating.lock.as_deref(), creating.pid),
            (RunState::Stopped, Some("create"), None)
        );
        let running: GuestStatus = serde_json::from_str(
            r#"{"name":"ct101","uptime":3,"mem":2740224,"pressureiofull":"0.00","vmid":"101","status":"running","tags":"db;prod","pid":580}"#,
        )
        .unwrap();
        assert_eq!((running.state(), running.vmid().map(u32::from)), (RunState::Running, Some(101)));
        let interface: Interface = serde_json::from_str(
            r#"{"ip-addresses":[],"hwaddr":"bc:24:11:d3:a4:92","name":"eth0","hardware-address":"bc:24:11:d3:a4:92"}"#,
        )
        .unwrap();
        assert_eq!(interface.inet, None);
    }
}
