//! The network of a host's containers: a bridge of this machine with a DHCP server on it, as a home network has one. Nothing leads
//! from there to other networks.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use super::program::{self, run};
use crate::runtime::RuntimeError;
use crate::runtime::process::proc::Process;

/// The one bridge that a node has.
const BRIDGE: &str = "vmbr0";
/// Bits of the network's part of an address.
const PREFIX: u8 = 24;

/// The bridge of a simulated host.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its name on this machine.
    name: String,
    /// This machine's address on it.
    address: Ipv4Addr,
    state: PathBuf,
}

/// One network interface of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// 0 is net0.
    pub number: u32,
    /// Name of the end on this machine.
    pub outside: String,
    /// Name of the bridge on this machine.
    pub bridge: String,
    /// Name in the container.
    pub inside: String,
    /// Hardware address.
    pub mac: Option<String>,
    /// Whether it is plugged in.
    pub up: bool,
}

/// An interface as the container's kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Interface {
    /// `eth0`.
    #[serde(rename = "ifname")]
    pub name: String,
    /// Hardware address.
    #[serde(rename = "address", default)]
    pub mac: String,
    /// Addresses.
    #[serde(rename = "addr_info", default)]
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InterfaceAddress {
    /// `inet` or `inet6`.
    pub family: String,
    /// `10.198.100.10`.
    pub local: String,
    /// 24.
    pub prefixlen: u8,
}

impl Network {
    /// The network of the host with this state directory and number; nothing is touched.
    #[must_use]
    pub fn of(state: &Path, net: u8) -> Self {
        let name = format!("v{}{BRIDGE}", super::mark(state));
        // A private one, as at home, and one that is seldom at home.
        Self { name, address: Ipv4Addr::new(10, 198, net, 1), state: state.to_path_buf() }
    }

    /// This machine's own address on the bridge.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The name on this machine of a bridge of the node.
    ///
    /// # Errors
    /// [`RuntimeError::NoBridge`]: the node has only one.
    pub fn bridge(&self, of_the_node: &str) -> Result<String, RuntimeError> {
        if of_the_node == BRIDGE {
            return Ok(self.name.clone());
        }
        Err(RuntimeError::NoBridge(of_the_node.to_owned()))
    }

    /// The name of a container's interface on this machine.
    #[must_use]
    pub fn outside(&self, vmid: u32, number: u32) -> String {
        format!("v{}{vmid}i{number}", super::mark(&self.state))
    }

    /// Makes sure that the bridge and its DHCP server are there. The caller sees to it that nobody else does so at once.
    ///
    /// # Errors
    /// [`RuntimeError::Program`], [`RuntimeError::Io`].
    pub fn ensure(&self) -> Result<(), RuntimeError> {
        if !exists(&self.name) {
            // With a forwarding delay a guest would hear nothing for 15 seconds.
            run("ip", ["link", "add", &self.name, "type", "bridge", "forward_delay", "0"])?;
        }
        run("ip", ["address", "replace", &format!("{}/{PREFIX}", self.address), "dev", &self.name])?;
        run("ip", ["link", "set", &self.name, "up"])?;
        match self.server() {
            Some(_) => Ok(()),
            None => self.serve_addresses(),
        }
    }

    /// Takes bridge and DHCP server away. No error if they are not there.
    ///
    /// # Errors
    /// [`RuntimeError::Program`], [`RuntimeError::Io`].
    pub fn remove(&self) -> Result<(), RuntimeError> {
        if let Some(server) = self.server() {
            server
                .signal(rustix::process::Signal::KILL)
                .map_err(RuntimeError::io("end", &self.pid_file()))?;
        }
        match fs::remove_file(self.pid_file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(RuntimeError::io("remove", &self.pid_file())(error));
            }
            _ => {}
        }
        if exists(&self.name) {
            run("ip", ["link", "delete", &self.name])?;
        }
        super::cgroup::forget(&super::mark(&self.state));
        Ok(())
    }

    fn serve_addresses(&self) -> Result<(), RuntimeError> {
        let folder = self.state.join("var/lib/misc");
        fs::create_dir_all(&folder).map_err(RuntimeError::io("create", &folder))?;
        let [a, b, c, _] = self.address.octets();
        let mut command = program::command("dnsmasq");
        command
            .args([
                "--conf-file=/dev/null",
                "--port=0",
                "--bind-interfaces",
                "--except-interface=lo",
                "--no-ping",
            ])
            .args(["--user=root", "--dhcp-authoritative", "--dhcp-no-override", "--quiet-dhcp"])
            .arg(format!("--interface={}", self.name))
            .arg(format!("--dhcp-range={a}.{b}.{c}.10,{a}.{b}.{c}.250,12h"))
            .arg(format!("--dhcp-leasefile={}", folder.join("dnsmasq.leases").display()))
            .arg(format!("--pid-file={}", self.pid_file().display()))
            .stdout(Stdio::null());
        program::answer("dnsmasq", &mut command).map(drop)
    }

    fn pid_file(&self) -> PathBuf {
        self.state.join("run/dnsmasq.pid")
    }

    /// The DHCP server, if it runs: a process with its number and with its file in its arguments.
    fn server(&self) -> Option<Process> {
        let pid: i32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let process = Process::of(pid)?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let named = format!("--pid-file={}", self.pid_file().display());
        command.split(|byte| *byte == 0).any(|argument| argument == named.as_bytes()).then_some(process)
    }
}

/// Plugs a container's interface in or pulls it.
pub(super) fn set_link(wire: &Wire) -> Result<(), RuntimeError> {
    let dev = ["link", "set", "dev", wire.outside.as_str()];
    if wire.up {
        run("ip", dev.into_iter().chain(["master", wire.bridge.as_str()]))?;
        run("ip", dev.into_iter().chain(["up"]))?;
    } else {
        run("ip", dev.into_iter().chain(["nomaster"]))?;
        run("ip", dev.into_iter().chain(["down"]))?;
    }
    Ok(())
}

/// Takes away what a dead container left of an interface.
pub(super) fn delete_leftover(outside: &str) -> Result<(), RuntimeError> {
    if exists(outside) { run("ip", ["link", "delete", outside]).map(drop) } else { Ok(()) }
}

/// Interfaces of the network that this process is in.
pub(super) fn interfaces_of(pid: i32) -> Result<Vec<Interface>, RuntimeError> {
    let text = run("nsenter", ["--target", &pid.to_string(), "--net", "--", "ip", "--json", "address"])?;
    serde_json::from_str(&text).map_err(RuntimeError::io("read addresses from", Path::new("ip")))
}

fn exists(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_what_the_kernel_takes_and_differ_by_state_directory() {
        let (one, two) = (Network::of(Path::new("/a"), 100), Network::of(Path::new("/b"), 101));
        assert_ne!(one.bridge("vmbr0").unwrap(), two.bridge("vmbr0").unwrap());
        for name in [one.bridge("vmbr0").unwrap(), one.outside(9_999_999, 1)] {
            assert!(name.len() <= 15, "{name}");
        }
        assert_eq!(one.address(), Ipv4Addr::new(10, 198, 100, 1));
        assert!(one.bridge("vmbr1").unwrap_err().to_string().contains("bridge 'vmbr1' does not exist"));
    }

    #[test]
    fn addresses_are_read_as_ip_prints_them() {
        let text = r#"[{"ifindex":1,"ifname":"lo","address":"00:00:00:00:00:00","addr_info":[{"family":"inet","local":"127.0.0.1",
            "prefixlen":8,"scope":"host"}]},{"ifname":"eth0","address":"bc:24:11:00:00:01","addr_info":[]}]"#;
        let all: Vec<Interface> = serde_json::from_str(text).unwrap();
        assert_eq!((all[0].addresses[0].prefixlen, all[1].name.as_str()), (8, "eth0"));
    }
}
