//! Container runtime: a running guest is an unprivileged container of this machine, started by LXC's own programs, as on a real
//! node. Needs root, Debian's `lxc` and its `dnsmasq`, `iproute2` and `util-linux`, and root's ids in `/etc/subuid` and
//! `/etc/subgid`.
//!
//! ```text
//! start    what is left of an earlier run is ended; names and network go into the guest's files; STATE/var/lib/lxc/ID/config;
//!          lxc-start
//! running  while the monitor's command socket is there, by which a real node knows it, too (PVE/LXC.pm of pve-container)
//! network  one bridge of this machine for each bridge of the node, with a DHCP server, as a home network has one
//! ```
//!
//! A monitor (`lxc-start`) that is killed leaves the container's processes, its cgroups and its interface behind: the guest counts
//! as stopped, and the next start or stop ends them first (unrecorded).
//!
//! Names on this machine carry a mark of the state directory, so that several simulated hosts do not meet.

mod cgroup;
mod config;
mod container;
mod inside;
mod needs;
mod network;
mod program;
mod setup;

pub use container::{Address, Container, Launch};
pub(crate) use inside::{PlugArgs, plug, push};
pub use needs::check;
pub use network::{Interface, InterfaceAddress, Network, Wire};

use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Four hexadecimal digits of a state directory.
fn mark(state: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    hex::encode(&Sha256::digest(state.as_os_str().as_bytes())[..2])
}
