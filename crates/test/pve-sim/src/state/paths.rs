//! Where each file of the state directory is. No I/O here.

use std::path::{Path, PathBuf};

/// The root of the state directory, always absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    /// Takes an absolute directory; [`crate::state::host::Host::open`] makes it so.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// `etc/host.json`: what `serve` was started with.
    pub(crate) fn host_file(&self) -> PathBuf {
        self.0.join("etc/host.json")
    }

    /// `etc/pve/lxc`: one file a guest.
    pub(crate) fn guests(&self) -> PathBuf {
        self.0.join("etc/pve/lxc")
    }

    /// `etc/pve/lxc/ID.conf`.
    pub(crate) fn guest_config(&self, vmid: u32) -> PathBuf {
        self.guests().join(format!("{vmid}.conf"))
    }

    /// `etc/pve/firewall/ID.fw`.
    pub(crate) fn guest_firewall(&self, vmid: u32) -> PathBuf {
        self.0.join(format!("etc/pve/firewall/{vmid}.fw"))
    }

    /// `etc/pve/user.cfg`.
    pub(crate) fn user_config(&self) -> PathBuf {
        self.0.join("etc/pve/user.cfg")
    }

    /// `etc/pve/priv/token.cfg`: token secrets.
    pub(crate) fn token_secrets(&self) -> PathBuf {
        self.0.join("etc/pve/priv/token.cfg")
    }

    /// `etc/pve/priv/shadow.cfg`: salted password hashes of all realms.
    pub(crate) fn shadow(&self) -> PathBuf {
        self.0.join("etc/pve/priv/shadow.cfg")
    }

    /// `etc/pve/storage.cfg`.
    pub(crate) fn storage_config(&self) -> PathBuf {
        self.0.join("etc/pve/storage.cfg")
    }

    /// `control/faults.json`: see [`crate::fault`].
    pub(crate) fn faults(&self) -> PathBuf {
        self.0.join("control/faults.json")
    }

    /// `var/log/pveproxy/access.log`.
    pub(crate) fn access_log(&self) -> PathBuf {
        self.0.join("var/log/pveproxy/access.log")
    }

    /// `var/log/destroyed.log`: see [`crate::destroyed`].
    pub(crate) fn destroyed_log(&self) -> PathBuf {
        self.0.join("var/log/destroyed.log")
    }

    /// `run/held`: one file for each held place that somebody waits at.
    pub(crate) fn held(&self) -> PathBuf {
        self.0.join("run/held")
    }

    /// `run/faults`: how often a rule's place was reached.
    pub(crate) fn fault_counts(&self) -> PathBuf {
        self.0.join("run/faults")
    }

    /// `run/booted`: when the host was last rebooted.
    pub(crate) fn boot_record(&self) -> PathBuf {
        self.0.join("run/booted")
    }

    /// `run/pvestatd.json`: what the last round noted of each guest.
    pub(crate) fn statistics(&self) -> PathBuf {
        self.0.join("run/pvestatd.json")
    }

    /// `control/disks.json`: see [`crate::state::disk`].
    pub(crate) fn disks(&self) -> PathBuf {
        self.0.join("control/disks.json")
    }

    /// `etc/pve/datacenter.cfg`: settings of the host's owner for all of it.
    pub(crate) fn datacenter_config(&self) -> PathBuf {
        self.0.join("etc/pve/datacenter.cfg")
    }

    /// `etc/vzdump.conf`.
    pub(crate) fn vzdump_config(&self) -> PathBuf {
        self.0.join("etc/vzdump.conf")
    }

    /// `etc/pve/local/pveproxy-ssl.pem`.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("etc/pve/local/pveproxy-ssl.pem")
    }

    /// `etc/pve/local/pveproxy-ssl.key`.
    pub(crate) fn certificate_key(&self) -> PathBuf {
        self.0.join("etc/pve/local/pveproxy-ssl.key")
    }

    /// `etc/pve/authkey`: the key that signs tickets.
    pub(crate) fn ticket_key(&self) -> PathBuf {
        self.0.join("etc/pve/authkey")
    }

    /// `run/lock/NAME.lock`.
    pub(crate) fn lock(&self, name: &str) -> PathBuf {
        self.0.join("run/lock").join(format!("{name}.lock"))
    }

    /// `run/guests`: running guests of the process runtime.
    pub(crate) fn running(&self) -> PathBuf {
        self.0.join("run/guests")
    }

    /// `var/log/pve/tasks`.
    pub(crate) fn tasks(&self) -> PathBuf {
        self.0.join("var/log/pve/tasks")
    }
}
