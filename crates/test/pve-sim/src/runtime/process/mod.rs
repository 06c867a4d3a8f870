//! Process runtime: a running guest is its own `/sbin/init` and all processes that come of it, without any isolation.
//!
//! ```text
//! start    empty <rootfs>/run, link mount points in, write run/pve-sim/net0, spawn the monitor
//! monitor  `pve-sim monitor …`: own session, spawns init, records it, reaps, ends the rest when init ends
//! init     <rootfs>/sbin/init, own session, cwd = rootfs, environment only:
//!          PATH (directories of the rootfs), PVE_SIM_ROOTFS, PVE_SIM_HOSTNAME, PVE_SIM_LO, PVE_SIM_NET0 (absent while down)
//! ```
//!
//! The monitor and init do not depend on the simulator: it may be killed and started again, and finds them by `guest.json`
//! (pid, start time and boot id, so that a reused pid is not mistaken). A guest's processes are all whose environment says
//! `PVE_SIM_ROOTFS=<its rootfs>`, their descendants, and all whose program lies in the rootfs.
//!
//! Each guest has two own loopback addresses ([`Addresses`]): `lo`, always there, and net0's, which `set_link` takes away:
//! `<rootfs>/run/pve-sim/net0` holds the address, or is empty while the link is down; programs of the guest watch that file.
//! Addresses isolate nothing: every process of this machine reaches every guest.
//!
//! A mount point is a symbolic link in the rootfs to the volume's tree while the guest runs (a real directory before and
//! after). Shutdown sends SIGTERM to init (LXC would send SIGPWR, which few programs know).

mod address;
mod guest;
mod links;
mod monitor;
mod power;
pub(super) mod proc;
mod program;
mod record;

pub use address::Addresses;
pub use guest::{Guest, Start};
pub use monitor::monitor;
pub use record::Started;

pub(crate) use program::command;

use super::tree;
use super::{Mount, RuntimeError};
