//! A guest's running state, whatever the runtime. What a node looks at before a start is here, what a runtime does is in its own
//! module.

mod container;
mod pretended;
mod processes;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::container::Containers;
use self::pretended::Pretence;
use self::processes::Processes;
use crate::error::ApiError;
use crate::runtime::{Mount, RuntimeError};
use crate::state::guest_config::Section;
use crate::state::property::MountPoint;
use crate::state::storage::Storages;
use crate::state::{Host, RuntimeKind, lock};
use crate::task::worker::Worker;
use crate::volume::busy_path;
use crate::volume::limit::is_destroyed;

pub(crate) use self::container::{bridge, poweroff, prepare};
pub(crate) use self::processes::forget_addresses;

/// Longer than any mount waits.
const LONG: Duration = Duration::from_secs(600);

/// What is known of a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// Init's process id.
    pub(crate) pid: u32,
    /// Seconds.
    pub(crate) uptime: u64,
    /// Bytes of memory in use.
    pub(crate) memory: u64,
}

/// A network interface of a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name in the guest.
    pub(crate) name: String,
    /// Its hardware address.
    pub(crate) mac: String,
    /// Addresses with the bits of their network.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
}

/// What a guest is started with.
struct Launch<'a> {
    rootfs: PathBuf,
    mounts: Vec<Mount>,
    config: &'a Section,
}

/// What can be done with one guest.
trait Machine {
    /// What is known of it; `None` if it does not run.
    fn running(&self) -> Option<Running>;
    /// Starts it.
    fn start(&self, launch: Launch<'_>) -> Result<(), ApiError>;
    /// Ends it at once. No error if it does not run.
    fn stop(&self) -> Result<(), ApiError>;
    /// Asks it to end and waits; whether it did.
    fn shutdown(&self, timeout: Duration) -> Result<bool, ApiError>;
    /// Whether it is frozen; `None` if it does not run.
    fn frozen(&self) -> Result<Option<bool>, ApiError>;
    /// Freezes or thaws it, which runs.
    fn set_frozen(&self, frozen: bool) -> Result<(), ApiError>;
    /// Makes an interface of the running guest as its configuration says now.
    fn set_link(&self, key: &str, config: &Section) -> Result<(), ApiError>;
    /// Adds a mount point to the running guest.
    fn plug(&self, mount: &Mount) -> Result<(), ApiError>;
    /// The running guest's interfaces.
    fn interfaces(&self, config: &Section) -> Result<Vec<Interface>, ApiError>;
}

fn of(host: &Host, vmid: u32) -> Box<dyn Machine + '_> {
    match host.runtime {
        RuntimeKind::None => Box::new(Pretence { host, vmid }),
        RuntimeKind::Process => Box::new(Processes { host, vmid }),
        RuntimeKind::Lxc => Box::new(Containers { host, vmid }),
    }
}

impl From<RuntimeError> for ApiError {
    fn from(error: RuntimeError) -> Self {
        Self::die(error.to_string())
    }
}

/// The guest, if it runs.
pub(crate) fn running(host: &Host, vmid: u32) -> Option<Running> {
    of(host, vmid).running()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Starts it with a configuration.
pub(crate) fn start(host: &Host, vmid: u32, config: &Section) -> Result<(), ApiError> {
    let _starting = first_mounts(host, vmid, config)?;
    let storages = Storages::load(host)?;
    let (mut rootfs, mut mounts) = (None, Vec::new());
    for (key, mount) in config.mount_points() {
        let source = if mount.is_volume() {
            let (storage, path) = storages.path_of(&mount.volume)?;
            storage.activate(host)?;
            if !path.is_dir() {
                return Err(ApiError::die(format!("volume '{}' does not exist", mount.volume)));
            }
            if is_destroyed(&path) {
                return Err(cannot_start(vmid));
            }
            path
        } else {
            PathBuf::from(&mount.volume)
        };
        if key == "rootfs" {
            rootfs = Some(source);
        } else {
            mounts.push(Mount { path: mount.mp.clone(), source, volume: mount.is_volume() });
        }
    }
    let rootfs = rootfs.ok_or_else(|| ApiError::die("missing 'rootfs' configuration"))?;
    of(host, vmid).start(Launch { rootfs, mounts, config })
}

/// F53: volumes that a rollback took from a snapshot of a running guest wait at their first mount, one after the other. The lock
/// that is answered holds the guest's status back until it is dropped.
fn first_mounts(host: &Host, vmid: u32, config: &Section) -> Result<Option<lock::Lock>, ApiError> {
    let storages = Storages::load(host)?;
    let volumes = config.mount_points().into_iter().filter(|(_, m)| m.is_volume());
    let trees = volumes.filter_map(|(_, m)| storages.path_of(&m.volume).ok()).map(|(_, path)| path);
    let busy: Vec<_> = trees.map(|tree| busy_path(&tree)).filter(|path| path.exists()).collect();
    let waits = !busy.is_empty() && !host.mmp_wait.is_zero();
    let held = if waits { Some(host.lock(&mounting(vmid), LONG, &mut || ())?) } else { None };
    for path in busy {
        let until = Instant::now() + host.mmp_wait;
        while Instant::now() < until {
            lock::pause(until.saturating_duration_since(Instant::now()));
        }
        fs::remove_file(path)?;
    }
    Ok(held)
}

fn mounting(vmid: u32) -> String {
    format!("mount-{vmid}")
}

/// Waits while a guest's volumes wait at their first mount.
///
/// # Errors
/// After ten minutes.
pub(crate) fn await_mounts(host: &Host, vmid: u32) -> Result<(), ApiError> {
    if host.mmp_wait.is_zero() {
        return Ok(());
    }
    host.lock(&mounting(vmid), LONG, &mut || ()).map(drop)
}

/// F69, rec2 1049: a volume that cannot be mounted. What lxc-start says about it is in [`say_why`].
pub(crate) fn cannot_start(vmid: u32) -> ApiError {
    ApiError::die(format!("startup for container '{vmid}' failed"))
}

/// What lxc-start prints before a start fails (rec2 1050).
pub(crate) fn say_why(worker: &mut Worker, vmid: u32, error: &ApiError) {
    if *error == cannot_start(vmid) {
        worker.say("run_buffer: 571 Script exited with status 255");
        worker.say(format!("lxc_init: 845 Failed to run lxc.hook.pre-start for container \"{vmid}\""));
        worker.say(format!("__lxc_start: 2039 Failed to initialize container \"{vmid}\""));
    }
}

/// Ends it at once. No error if it does not run.
pub(crate) fn stop(host: &Host, vmid: u32) -> Result<(), ApiError> {
    of(host, vmid).stop()
}

/// Asks it to end; answers whether it did, by itself or because `force` was set.
pub(crate) fn shutdown(host: &Host, vmid: u32, timeout: Duration, force: bool) -> Result<bool, ApiError> {
    let machine = of(host, vmid);
    let forced = || if force { machine.stop().map(|()| true) } else { Ok(false) };
    // A frozen guest does not hear that it is to end (F99).
    let started = Instant::now();
    while machine.frozen()?.unwrap_or_default() {
        if started.elapsed() >= timeout || host.runtime == RuntimeKind::None {
            return forced();
        }
        lock::pause(Duration::from_millis(10));
    }
    if machine.shutdown(timeout.saturating_sub(started.elapsed()))? { Ok(true) } else { forced() }
}

/// Freezes (`true`) or thaws it. No error if it does not run.
pub(crate) fn set_frozen(host: &Host, vmid: u32, frozen: bool) -> Result<(), ApiError> {
    let machine = of(host, vmid);
    if machine.running().is_some() { machine.set_frozen(frozen) } else { Ok(()) }
}

/// Whether it is frozen; `None` if it does not run.
pub(crate) fn frozen(host: &Host, vmid: u32) -> Result<Option<bool>, ApiError> {
    of(host, vmid).frozen()
}

/// Plugs an interface of a running guest in, or pulls it, as its configuration says.
pub(crate) fn set_link(host: &Host, vmid: u32, key: &str, config: &Section) -> Result<(), ApiError> {
    let machine = of(host, vmid);
    if machine.running().is_some() { machine.set_link(key, config) } else { Ok(()) }
}

/// Adds a mount point to a running guest. No error if it does not run.
pub(crate) fn plug(host: &Host, vmid: u32, (key, mount): (&str, &MountPoint)) -> Result<(), ApiError> {
    let source = if mount.is_volume() {
        let (_, path) = Storages::load(host)?.path_of(&mount.volume)?;
        path
    } else {
        PathBuf::from(&mount.volume)
    };
    if !source.is_dir() {
        let text = format!("unable to hotplug {key}: directory '{}' does not exist\n", source.display());
        return Err(ApiError::param(key, text));
    }
    let machine = of(host, vmid);
    if machine.running().is_none() {
        return Ok(());
    }
    machine.plug(&Mount { path: mount.mp.clone(), source, volume: mount.is_volume() })
}

/// The interfaces of a guest; `None` if it does not run.
pub(crate) fn interfaces(
    host: &Host,
    vmid: u32,
    config: &Section,
) -> Result<Option<Vec<Interface>>, ApiError> {
    let machine = of(host, vmid);
    if machine.running().is_some() { machine.interfaces(config).map(Some) } else { Ok(None) }
}

fn hostname(vmid: u32, config: &Section) -> String {
    config.get("hostname").map_or_else(|| format!("CT{vmid}"), str::to_owned)
}
