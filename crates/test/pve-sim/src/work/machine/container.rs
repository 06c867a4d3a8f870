//! Guests that are containers of this machine: the runtime `lxc`.

use std::time::Duration;

use super::processes::TICKS;
use super::{Interface, Launch, Machine, Running, hostname};
use crate::api::lxc::link_down;
use crate::api::lxc::perms::is_net;
use crate::error::ApiError;
use crate::runtime::Mount;
use crate::runtime::lxc::{self, Container, Network, Wire};
use crate::state::guest_config::Section;
use crate::state::property::Properties;
use crate::state::{Host, RuntimeKind, lock};
use crate::task::process;

/// A guest.
pub(super) struct Containers<'a> {
    pub(super) host: &'a Host,
    pub(super) vmid: u32,
}

impl Containers<'_> {
    fn container(&self) -> Container {
        Container::new(self.host.dir.root(), self.vmid)
    }

    fn wires(&self, config: &Section) -> Result<Vec<Wire>, ApiError> {
        let nets = config.values.iter().filter(|(key, _)| is_net(key));
        nets.map(|(key, value)| self.wire(key, value)).collect()
    }

    fn wire(&self, key: &str, value: &str) -> Result<Wire, ApiError> {
        let net = Properties::parse(value, None).map_err(ApiError::die)?;
        let number = number(key);
        let network = network(self.host);
        Ok(Wire {
            number,
            outside: network.outside(self.vmid, number),
            bridge: network.bridge(net.get("bridge").unwrap_or_default())?,
            inside: net.get("name").unwrap_or("eth0").to_owned(),
            mac: net.get("hwaddr").map(str::to_owned),
            up: !link_down(&net),
        })
    }
}

impl Machine for Containers<'_> {
    fn running(&self) -> Option<Running> {
        let container = self.container();
        let (pid, start_time) = container.init()?;
        let uptime = process::uptime().saturating_sub(start_time / TICKS);
        Some(Running { pid, uptime, memory: container.memory() })
    }

    fn start(&self, launch: Launch<'_>) -> Result<(), ApiError> {
        let config = launch.config;
        if !config.flag("unprivileged") {
            let text = "only unprivileged containers can be started with the runtime lxc";
            return Err(ApiError::die(format!("startup for container '{}' failed: {text}", self.vmid)));
        }
        ensure_network(self.host)?;
        let number = |key: &str| config.get(key).and_then(|value| value.parse::<u64>().ok());
        let features = config.get("features").and_then(|value| Properties::parse(value, None).ok());
        let addresses = config.values.iter().filter(|(key, _)| is_net(key)).filter_map(|(_, value)| {
            let net = Properties::parse(value, None).ok()?;
            Some(lxc::Address {
                interface: net.get("name")?.to_owned(),
                ip: net.get("ip")?.to_owned(),
                gateway: net.get("gw").map(str::to_owned),
            })
        });
        self.container().start(&lxc::Launch {
            hostname: hostname(self.vmid, config),
            rootfs: launch.rootfs,
            mounts: launch.mounts,
            wires: self.wires(config)?,
            addresses: addresses.collect(),
            nesting: features.is_some_and(|all| all.get("nesting") == Some("1")),
            memory: (number("memory").unwrap_or(512), number("swap").unwrap_or(0)),
        })?;
        Ok(())
    }

    fn stop(&self) -> Result<(), ApiError> {
        Ok(self.container().stop()?)
    }

    fn shutdown(&self, timeout: Duration) -> Result<bool, ApiError> {
        Ok(self.container().shutdown(timeout)?)
    }

    fn frozen(&self) -> Result<Option<bool>, ApiError> {
        Ok(self.container().frozen()?)
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), ApiError> {
        Ok(self.container().set_frozen(frozen)?)
    }

    fn set_link(&self, key: &str, config: &Section) -> Result<(), ApiError> {
        let container = self.container();
        match config.get(key) {
            Some(value) => Ok(container.set_link(&self.wire(key, value)?)?),
            None => Ok(container.unplug(&network(self.host).outside(self.vmid, number(key)))?),
        }
    }

    fn plug(&self, mount: &Mount) -> Result<(), ApiError> {
        Ok(self.container().plug(mount)?)
    }

    fn interfaces(&self, _: &Section) -> Result<Vec<Interface>, ApiError> {
        let all = self.container().interfaces()?.into_iter().map(|interface| {
            let parsed = |a: &lxc::InterfaceAddress| Some((a.local.parse().ok()?, a.prefixlen));
            let addresses = interface.addresses.iter().filter_map(parsed).collect();
            Interface { name: interface.name, mac: interface.mac, addresses }
        });
        Ok(all.collect())
    }
}

/// 1 of `net1`.
fn number(key: &str) -> u32 {
    key.trim_start_matches("net").parse().unwrap_or_default()
}

fn network(host: &Host) -> Network {
    Network::of(host.dir.root(), host.net)
}

fn ensure_network(host: &Host) -> Result<(), ApiError> {
    let _held = host.lock("network", lock::GUEST_TIMEOUT, &mut || ())?;
    Ok(network(host).ensure()?)
}

/// What the host needs before its first guest starts.
///
/// # Errors
/// What this machine lacks for containers.
pub(crate) fn prepare(host: &Host) -> Result<(), ApiError> {
    if host.runtime != RuntimeKind::Lxc {
        return Ok(());
    }
    lxc::check(host.dir.root()).map_err(ApiError::die)?;
    ensure_network(host)
}

/// This machine's address on the network of the host's guests, if they have one of their own.
pub(crate) fn bridge(host: &Host) -> Option<std::net::Ipv4Addr> {
    (host.runtime == RuntimeKind::Lxc).then(|| network(host).address())
}

/// What the host leaves on this machine when it is powered off: nothing.
///
/// # Errors
/// A program of this machine failed.
pub(crate) fn poweroff(host: &Host) -> Result<(), ApiError> {
    if host.runtime == RuntimeKind::Lxc { Ok(network(host).remove()?) } else { Ok(()) }
}
