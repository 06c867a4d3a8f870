//! A guest's running state, whatever the runtime: `process` starts its `/sbin/init`, `none` only remembers that it was started.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::api::lxc::link_down;
use crate::clock;
use crate::error::ApiError;
use crate::runtime::{Addresses, Guest, Mount, RuntimeError, Start};
use crate::state::guest_config::Section;
use crate::state::property::{MountPoint, Properties};
use crate::state::storage::Storages;
use crate::state::{Host, RuntimeKind, atomic, lock};
use crate::task::process;
use crate::task::worker::Worker;
use crate::volume::busy_path;
use crate::volume::limit::is_destroyed;

/// Clock ticks a second.
const TICKS: u64 = 100;

/// Longer than any mount waits.
const LONG: Duration = Duration::from_secs(600);

/// What is known of a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// Init's process id.
    pub(crate) pid: u32,
    /// Seconds.
    pub(crate) uptime: u64,
    /// Bytes in use by init.
    pub(crate) memory: u64,
    /// Its own loopback address.
    pub(crate) lo: Ipv4Addr,
    /// net0's address, if its link is up.
    pub(crate) net0: Option<Ipv4Addr>,
}

/// The record of a guest in the `none` runtime.
#[derive(Debug, Serialize, Deserialize)]
struct Pretended {
    boot_id: String,
    since: u64,
    lo: Ipv4Addr,
    net0: Option<Ipv4Addr>,
    frozen: bool,
}

impl From<RuntimeError> for ApiError {
    fn from(error: RuntimeError) -> Self {
        Self::die(error.to_string())
    }
}

fn record(host: &Host, vmid: u32) -> std::path::PathBuf {
    host.dir.running().join(format!("{vmid}.none.json"))
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn pretended(host: &Host, vmid: u32) -> Option<Pretended> {
    let text = atomic::read_optional(&record(host, vmid)).ok()??;
    serde_json::from_str::<Pretended>(&text).ok().filter(|p| p.boot_id == boot_id())
}

fn save(host: &Host, vmid: u32, state: &Pretended) -> Result<(), ApiError> {
    let text = serde_json::to_vec(state).map_err(std::io::Error::other)?;
    Ok(atomic::write(&record(host, vmid), &text)?)
}

/// The guest, if it runs.
pub(crate) fn running(host: &Host, vmid: u32) -> Option<Running> {
    match host.runtime {
        RuntimeKind::None => pretended(host, vmid).map(|p| Running {
            pid: 1,
            uptime: clock::now(host).saturating_sub(p.since),
            memory: 0,
            lo: p.lo,
            net0: p.net0,
        }),
        RuntimeKind::Process => {
            let (_, started) = Guest::open(host.dir.root(), vmid).ok()??;
            let uptime = process::uptime().saturating_sub(started.start_time / TICKS);
            let pid = u32::try_from(started.pid).ok()?;
            Some(Running { pid, uptime, memory: resident(pid), lo: started.lo, net0: started.net0 })
        }
    }
}

fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|p| p.parse::<u64>().ok()).unwrap_or_default() * 4096
}

fn guest(host: &Host, vmid: u32) -> Result<Option<Guest>, ApiError> {
    Ok(Guest::open(host.dir.root(), vmid)?.map(|(guest, _)| guest))
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
            std::path::PathBuf::from(&mount.volume)
        };
        if key == "rootfs" {
            rootfs = Some(source);
        } else {
            mounts.push(Mount { path: mount.mp.clone(), source, volume: mount.is_volume() });
        }
    }
    let rootfs = rootfs.ok_or_else(|| ApiError::die("missing 'rootfs' configuration"))?;
    let addresses = addresses(host, vmid)?;
    let up = net0(config).is_some_and(|n| !link_down(&n));
    let net0 = up.then_some(addresses.net0);
    if host.runtime == RuntimeKind::None {
        return save(
            host,
            vmid,
            &Pretended { boot_id: boot_id(), since: clock::now(host), lo: addresses.lo, net0, frozen: false },
        );
    }
    let hostname = config.get("hostname").map_or_else(|| format!("CT{vmid}"), str::to_owned);
    let start = Start { hostname, lo: addresses.lo, net0, mounts, program: process::SELF.into() };
    Guest::new(host.dir.root(), vmid, &rootfs).start(&start)?;
    Ok(())
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

fn net0(config: &Section) -> Option<Properties> {
    Properties::parse(config.get("net0")?, None).ok()
}

/// Ends it at once. No error if it does not run.
pub(crate) fn stop(host: &Host, vmid: u32) -> Result<(), ApiError> {
    if host.runtime == RuntimeKind::None {
        return forget(host, vmid);
    }
    match guest(host, vmid)? {
        Some(guest) => Ok(guest.stop()?),
        None => Ok(()),
    }
}

fn forget(host: &Host, vmid: u32) -> Result<(), ApiError> {
    match fs::remove_file(record(host, vmid)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Asks it to end; answers whether it did, by itself or because `force` was set.
pub(crate) fn shutdown(host: &Host, vmid: u32, timeout: Duration, force: bool) -> Result<bool, ApiError> {
    if host.runtime == RuntimeKind::None {
        let frozen = pretended(host, vmid).is_some_and(|p| p.frozen);
        if frozen && !force {
            return Ok(false);
        }
        return forget(host, vmid).map(|()| true);
    }
    let Some(guest) = guest(host, vmid)? else { return Ok(true) };
    // A frozen guest does not hear that it is to end (F99).
    let started = Instant::now();
    while guest.frozen()? {
        if started.elapsed() >= timeout {
            return if force { guest.stop().map(|()| true).map_err(ApiError::from) } else { Ok(false) };
        }
        lock::pause(Duration::from_millis(10));
    }
    Ok(guest.shutdown(timeout.saturating_sub(started.elapsed()), force)? || force)
}

/// Freezes (`true`) or thaws it. No error if it does not run.
pub(crate) fn set_frozen(host: &Host, vmid: u32, frozen: bool) -> Result<(), ApiError> {
    if host.runtime == RuntimeKind::None {
        return match pretended(host, vmid) {
            Some(state) => save(host, vmid, &Pretended { frozen, ..state }),
            None => Ok(()),
        };
    }
    match guest(host, vmid)? {
        Some(guest) if frozen => Ok(guest.freeze()?),
        Some(guest) => Ok(guest.thaw()?),
        None => Ok(()),
    }
}

/// Whether it is frozen; `None` if it does not run.
pub(crate) fn frozen(host: &Host, vmid: u32) -> Result<Option<bool>, ApiError> {
    if host.runtime == RuntimeKind::None {
        return Ok(pretended(host, vmid).map(|state| state.frozen));
    }
    match guest(host, vmid)? {
        Some(guest) => Ok(Some(guest.frozen()?)),
        None => Ok(None),
    }
}

/// Puts net0's link up or takes it down, on a running guest.
pub(crate) fn set_link(host: &Host, vmid: u32, up: bool) -> Result<(), ApiError> {
    let address = if up { Some(addresses(host, vmid)?.net0) } else { None };
    if host.runtime == RuntimeKind::None {
        return match pretended(host, vmid) {
            Some(state) => save(host, vmid, &Pretended { net0: address, ..state }),
            None => Ok(()),
        };
    }
    match guest(host, vmid)? {
        Some(guest) => Ok(guest.set_link(address)?),
        None => Ok(()),
    }
}

/// Adds a mount point to a running guest. No error if it does not run.
pub(crate) fn plug(host: &Host, vmid: u32, (key, mount): (&str, &MountPoint)) -> Result<(), ApiError> {
    let source = if mount.is_volume() {
        let (_, path) = Storages::load(host)?.path_of(&mount.volume)?;
        path
    } else {
        std::path::PathBuf::from(&mount.volume)
    };
    if !source.is_dir() {
        let text = format!("unable to hotplug {key}: directory '{}' does not exist\n", source.display());
        return Err(ApiError::param(key, text));
    }
    if host.runtime == RuntimeKind::None {
        return Ok(());
    }
    match guest(host, vmid)? {
        Some(guest) => {
            Ok(guest.plug(&Mount { path: mount.mp.clone(), source, volume: mount.is_volume() })?)
        }
        None => Ok(()),
    }
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
