//! Guests that are processes of this machine: the runtime `process`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Interface, Launch, Machine, Running, hostname};
use crate::api::lxc::link_down;
use crate::api::lxc::perms::is_net;
use crate::error::ApiError;
use crate::runtime::{Addresses, Guest, Mount, Start};
use crate::state::guest_config::Section;
use crate::state::property::Properties;
use crate::state::{Host, atomic, lock};
use crate::task::process;

/// Clock ticks a second.
pub(super) const TICKS: u64 = 100;

/// A guest.
pub(super) struct Processes<'a> {
    pub(super) host: &'a Host,
    pub(super) vmid: u32,
}

impl Processes<'_> {
    fn guest(&self) -> Result<Option<Guest>, ApiError> {
        Ok(Guest::open(self.host.dir.root(), self.vmid)?.map(|(guest, _)| guest))
    }
}

/// net0's address, if its link is up.
fn net0(addresses: Addresses, config: &Section) -> Option<Ipv4Addr> {
    let net0 = Properties::parse(config.get("net0")?, None).ok()?;
    (!link_down(&net0)).then_some(addresses.net0)
}

impl Machine for Processes<'_> {
    fn running(&self) -> Option<Running> {
        let (_, started) = Guest::open(self.host.dir.root(), self.vmid).ok()??;
        let uptime = process::uptime().saturating_sub(started.start_time / TICKS);
        let pid = u32::try_from(started.pid).ok()?;
        Some(Running { pid, uptime, memory: resident(pid) })
    }

    fn start(&self, launch: Launch<'_>) -> Result<(), ApiError> {
        let addresses = addresses(self.host, self.vmid)?;
        let start = Start {
            hostname: hostname(self.vmid, launch.config),
            lo: addresses.lo,
            net0: net0(addresses, launch.config),
            mounts: launch.mounts,
            program: process::SELF.into(),
        };
        Guest::new(self.host.dir.root(), self.vmid, &launch.rootfs).start(&start)?;
        Ok(())
    }

    fn stop(&self) -> Result<(), ApiError> {
        self.guest()?.map_or(Ok(()), |guest| Ok(guest.stop()?))
    }

    fn shutdown(&self, timeout: Duration) -> Result<bool, ApiError> {
        self.guest()?.map_or(Ok(true), |guest| Ok(guest.shutdown(timeout, false)?))
    }

    fn frozen(&self) -> Result<Option<bool>, ApiError> {
        self.guest()?.map(|guest| Ok(guest.frozen()?)).transpose()
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), ApiError> {
        let Some(guest) = self.guest()? else { return Ok(()) };
        if frozen {
            guest.freeze()?
        } else {
            guest.thaw()?
        }
        Ok(())
    }

    fn set_link(&self, key: &str, config: &Section) -> Result<(), ApiError> {
        let Some(guest) = self.guest()?.filter(|_| key == "net0") else { return Ok(()) };
        Ok(guest.set_link(net0(addresses(self.host, self.vmid)?, config))?)
    }

    fn plug(&self, mount: &Mount) -> Result<(), ApiError> {
        self.guest()?.map_or(Ok(()), |guest| Ok(guest.plug(mount)?))
    }

    /// Its own loopback address and net0's.
    fn interfaces(&self, config: &Section) -> Result<Vec<Interface>, ApiError> {
        let Some((_, started)) = Guest::open(self.host.dir.root(), self.vmid)? else { return Ok(Vec::new()) };
        let net0 = started.net0.map(|ip| (IpAddr::V4(ip), 32));
        Ok(configured(config, vec![(IpAddr::V4(started.lo), 8)], &|key| net0.filter(|_| key == "net0")))
    }
}

/// `lo` and what the configuration names, with the addresses that they have.
pub(super) fn configured(
    config: &Section,
    lo: Vec<(IpAddr, u8)>,
    address: &dyn Fn(&str) -> Option<(IpAddr, u8)>,
) -> Vec<Interface> {
    let mut all = vec![Interface { name: "lo".into(), mac: "00:00:00:00:00:00".into(), addresses: lo }];
    for (key, value) in config.values.iter().filter(|(key, _)| is_net(key)) {
        if let Ok(net) = Properties::parse(value, None) {
            all.push(Interface {
                name: net.get("name").unwrap_or(key).to_owned(),
                mac: net.get("hwaddr").unwrap_or_default().to_owned(),
                addresses: address(key).into_iter().collect(),
            });
        }
    }
    all
}

fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|p| p.parse::<u64>().ok()).unwrap_or_default() * 4096
}

/// A guest's two addresses, the same as long as the guest exists.
fn addresses(host: &Host, vmid: u32) -> Result<Addresses, ApiError> {
    let index = change_indexes(host, |all| match all.get(&vmid) {
        Some(index) => *index,
        None => {
            let free = (0..).find(|n| !all.values().any(|taken| taken == n)).unwrap_or_default();
            all.insert(vmid, free);
            free
        }
    })?;
    Addresses::new(host.net, index).ok_or_else(|| ApiError::die("no free address for another guest"))
}

/// Gives a destroyed guest's addresses back.
pub(crate) fn forget_addresses(host: &Host, vmid: u32) -> Result<(), ApiError> {
    change_indexes(host, |all| {
        all.remove(&vmid);
    })
}

fn change_indexes<T>(host: &Host, change: impl FnOnce(&mut BTreeMap<u32, u32>) -> T) -> Result<T, ApiError> {
    let _held = host.lock("addresses", lock::GUEST_TIMEOUT, &mut || ())?;
    let path = host.dir.root().join("etc/addresses.json");
    let old: BTreeMap<u32, u32> =
        atomic::read_optional(&path)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut all = old.clone();
    let result = change(&mut all);
    if all != old {
        atomic::write(&path, &serde_json::to_vec(&all).map_err(std::io::Error::other)?)?;
    }
    Ok(result)
}
