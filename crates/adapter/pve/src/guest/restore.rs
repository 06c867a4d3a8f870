//! The restore request: always into a new guest, always with every volume named.

use std::collections::BTreeMap;

use crate::form::Form;
use crate::ids::{PoolId, StorageId, Vmid, Volid};
use crate::props::{NetInterface, NewVolume};

/// A mount point of the archive, to be made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreMount {
    /// The new volume.
    pub volume: NewVolume,
    /// Where it is mounted inside the guest.
    pub path: String,
    /// Whether later backups hold it.
    pub backup: bool,
}

/// A restore into a new guest. What is not passed comes from the archive, so what matters is always passed: pool,
/// volumes, network, hostname, description, `onboot=0`, `protection=0`, `unprivileged=1`. Features cannot be passed by a
/// token; read the archive's configuration first and refuse what must not come along.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The new guest's number; must be free.
    pub vmid: Vmid,
    /// The archive.
    pub archive: Volid,
    /// The pool that the new guest joins; carries the rights.
    pub pool: PoolId,
    /// Where volumes go.
    pub storage: StorageId,
    /// The new root file system.
    pub rootfs: NewVolume,
    /// Every mount point that the archive holds; one that is left out lands as files inside of the root file system.
    pub mounts: BTreeMap<u8, RestoreMount>,
    /// Interfaces; without `hwaddr` each gets a fresh MAC address. One of the archive that is not overridden stays.
    pub nets: BTreeMap<u8, NetInterface>,
    /// The hostname.
    pub hostname: String,
    /// The description; PVE writes it at the very end.
    pub description: String,
    /// Main memory in MiB; `None` takes the archive's.
    pub memory_mib: Option<u32>,
    /// Swap in MiB; `None` takes the archive's.
    pub swap_mib: Option<u32>,
    /// CPU cores; `None` takes the archive's.
    pub cores: Option<u32>,
}

impl RestoreRequest {
    /// The parameters as they are sent.
    #[must_use]
    pub fn form(&self) -> Form {
        let mut form = Form::new()
            .with("vmid", self.vmid)
            .with("ostemplate", &self.archive)
            .with_flag("restore", true)
            .with("pool", &self.pool)
            .with("storage", &self.storage)
            .with("rootfs", &self.rootfs)
            .with("hostname", &self.hostname)
            .with("description", &self.description)
            .with_flag("onboot", false)
            .with_flag("protection", false)
            .with_flag("unprivileged", true)
            .with_opt("memory", self.memory_mib)
            .with_opt("swap", self.swap_mib)
            .with_opt("cores", self.cores);
        for (n, mount) in &self.mounts {
            let value = format!("{},mp={},backup={}", mount.volume, mount.path, u8::from(mount.backup));
            form = form.with(&format!("mp{n}"), value);
        }
        for (n, net) in &self.nets {
            form = form.with(&format!("net{n}"), net);
        }
        form
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn says_everything_and_nothing_forbidden() {
        let volume = |gib| NewVolume { storage: "btr".parse().unwrap(), gib: NonZeroU32::new(gib).unwrap() };
        let request = RestoreRequest {
            vmid: "200".parse().unwrap(),
            archive: "local:backup/vzdump-lxc-1999-2026_11_23-11_28_42.tar.zst".parse().unwrap(),
            pool: "felhom".parse().unwrap(),
            storage: "btr".parse().unwrap(),
            rootfs: volume(4),
            mounts: BTreeMap::from([(
                0,
                RestoreMount { volume: volume(2), path: "/data".into(), backup: true },
            )]),
            nets: BTreeMap::from([(0, NetInterface::dhcp("eth0", "vmbr0".parse().unwrap()))]),
            hostname: "alma".into(),
            description: "felhom uuid=1".into(),
            memory_mib: Some(512),
            swap_mib: None,
            cores: None,
        };
        let form = request.form();
        let pairs: BTreeMap<&str, &str> =
            form.pairs().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs["mp0"], "btr:2,mp=/data,backup=1");
        assert_eq!(pairs["net0"], "name=eth0,bridge=vmbr0,ip=dhcp");
        assert_eq!(
            (pairs["restore"], pairs["onboot"], pairs["protection"], pairs["unprivileged"]),
            ("1", "0", "0", "1")
        );
        for forbidden in ["force", "unique", "skiplock", "ignore-unpack-errors", "start", "features", "swap"]
        {
            assert!(!pairs.contains_key(forbidden), "{forbidden}");
        }
    }
}
