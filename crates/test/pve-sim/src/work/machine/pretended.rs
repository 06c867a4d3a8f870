//! Guests that are only marked as running: the runtime `none`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::processes::configured;
use super::{Interface, Launch, Machine, Running, boot_id};
use crate::clock;
use crate::error::ApiError;
use crate::runtime::Mount;
use crate::state::guest_config::Section;
use crate::state::storage::Storages;
use crate::state::{Host, atomic};

/// A guest.
pub(super) struct Pretence<'a> {
    pub(super) host: &'a Host,
    pub(super) vmid: u32,
}

/// Its record.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    boot_id: String,
    since: u64,
    frozen: bool,
}

impl Pretence<'_> {
    fn path(&self) -> std::path::PathBuf {
        self.host.dir.running().join(format!("{}.none.json", self.vmid))
    }

    fn load(&self) -> Option<Record> {
        let text = atomic::read_optional(&self.path()).ok()??;
        serde_json::from_str::<Record>(&text).ok().filter(|record| record.boot_id == boot_id())
    }

    fn save(&self, record: &Record) -> Result<(), ApiError> {
        let text = serde_json::to_vec(record).map_err(std::io::Error::other)?;
        Ok(atomic::write(&self.path(), &text)?)
    }
}

impl Machine for Pretence<'_> {
    fn running(&self) -> Option<Running> {
        self.load().map(|record| Running {
            pid: 1,
            uptime: clock::now(self.host).saturating_sub(record.since),
            memory: 0,
        })
    }

    fn start(&self, _: Launch<'_>) -> Result<(), ApiError> {
        self.save(&Record { boot_id: boot_id(), since: clock::now(self.host), frozen: false })
    }

    fn stop(&self) -> Result<(), ApiError> {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn shutdown(&self, _: Duration) -> Result<bool, ApiError> {
        self.stop().map(|()| true)
    }

    fn frozen(&self) -> Result<Option<bool>, ApiError> {
        Ok(self.load().map(|record| record.frozen))
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), ApiError> {
        self.load().map_or(Ok(()), |record| self.save(&Record { frozen, ..record }))
    }

    fn set_link(&self, _: &str, _: &Section) -> Result<(), ApiError> {
        Ok(())
    }

    fn plug(&self, _: &Mount) -> Result<(), ApiError> {
        Ok(())
    }

    /// None has an address, as in a guest whose system did not configure its interfaces (rec 171), but for what the kernel gives
    /// `lo` if its init brings that up (rec 2/535).
    fn interfaces(&self, config: &Section) -> Result<Vec<Interface>, ApiError> {
        let up = init_brings_lo_up(self.host, config);
        let lo = [(IpAddr::V4(Ipv4Addr::LOCALHOST), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
        Ok(configured(config, if up { lo.to_vec() } else { Vec::new() }, &|_| None))
    }
}

/// Whether the guest's `/sbin/init` is a script that brings the loopback interface up, without which it has no addresses.
fn init_brings_lo_up(host: &Host, config: &Section) -> bool {
    let rootfs = config.mount_points().into_iter().find(|(key, _)| key == "rootfs");
    let Some((_, mount)) = rootfs else { return false };
    let tree = Storages::load(host).and_then(|all| all.path_of(&mount.volume).map(|(_, path)| path));
    let script = tree.ok().and_then(|tree| fs::read_to_string(tree.join("sbin/init")).ok());
    let up = |line: &str| line.contains("ifconfig lo") || line.contains("link set lo up");
    script.is_some_and(|text| text.starts_with("#!") && text.lines().any(up))
}
