//! Snapshots of guests: `vzsnapshot`, `vzdelsnapshot`, and vzdump's own (F50, F52, F91, F99, F100).
//!
//! prepare (lock `snapshot`, entry with `snapstate: prepare`) → freeze → each volume → thaw → commit (entry complete, lock gone).
//! A SIGKILL between leaves what is there by then: a frozen guest, the lock, the half-made entry.

use super::{machine, power};
use crate::api::lxc::can_snapshot;
use crate::clock;
use crate::error::ApiError;
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::storage::{Storages, image_name};
use crate::state::volid::Volid;
use crate::state::{Host, guests};
use crate::task::worker::Worker;

/// vzdump's temporary snapshot.
pub(crate) const VZDUMP: &str = "vzdump";

/// The `vzsnapshot` task.
pub(crate) fn create(worker: &mut Worker, vmid: u32, name: &str, description: &str) -> Result<(), ApiError> {
    let host = worker.host.clone();
    {
        let _held = power::lock(worker, vmid)?;
        let mut config = guests::load(&host, vmid)?;
        guests::check_lock(&config)?;
        if config.snapshots.contains_key(name) {
            return Err(ApiError::die(format!("snapshot name '{name}' already used")));
        }
        if !can_snapshot(&Storages::load(&host)?, &config.current) {
            return Err(ApiError::die("snapshot feature is not available"));
        }
        prepare(&host, vmid, &mut config, (name, description))?;
    }
    let volumes = volumes(&guests::load(&host, vmid)?.current);
    take(&host, vmid, name, &volumes)?;
    commit(&host, vmid, name, None)
}

/// Volume ids of a section's mount points.
fn volumes(section: &Section) -> Vec<String> {
    section.mount_points().into_iter().filter(|(_, m)| m.is_volume()).map(|(_, m)| m.volume).collect()
}

/// Enters the snapshot as half-made and locks the guest; the caller holds its file lock.
pub(crate) fn prepare(
    host: &Host,
    vmid: u32,
    config: &mut GuestConfig,
    (name, description): (&str, &str),
) -> Result<(), ApiError> {
    let mut entry = config.current.clone();
    for key in ["lock", "description"] {
        entry.values.remove(key);
    }
    entry.values.retain(|k, _| !k.starts_with("unused"));
    entry.set("snaptime", clock::now(host).to_string());
    entry.set("snapstate", "prepare");
    if !description.is_empty() {
        entry.set("description", description);
    }
    config.snapshots.insert(name.to_owned(), entry);
    config.current.set("lock", "snapshot");
    guests::save(host, vmid, config)
}

/// Freezes a running guest, snapshots the volumes, thaws it.
pub(crate) fn take(host: &Host, vmid: u32, name: &str, volumes: &[String]) -> Result<(), ApiError> {
    machine::set_frozen(host, vmid, true)?;
    let taken = volumes.iter().try_for_each(|volid| snapshot_volume(host, volid, name));
    machine::set_frozen(host, vmid, false)?;
    taken
}

fn snapshot_volume(host: &Host, volid: &str, name: &str) -> Result<(), ApiError> {
    let volid = Volid::parse(volid)?;
    let storages = Storages::load(host)?;
    storages.get(&volid.storage)?.images().snapshot(&image_name(&volid)?, name)?;
    Ok(())
}

/// Completes the entry; the guest's lock goes, or becomes `lock` (`backup` under vzdump).
pub(crate) fn commit(host: &Host, vmid: u32, name: &str, lock: Option<&str>) -> Result<(), ApiError> {
    let _held = host.lock_guest(vmid)?;
    let mut config = guests::load(host, vmid)?;
    if let Some(entry) = config.snapshots.get_mut(name) {
        entry.values.remove("snapstate");
    }
    config.current.set("parent", name);
    match lock {
        Some(lock) => config.current.set("lock", lock),
        None => {
            config.current.values.remove("lock");
        }
    }
    guests::save(host, vmid, &config)
}

/// The `vzdelsnapshot` task.
pub(crate) fn delete(worker: &mut Worker, vmid: u32, name: &str, force: bool) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let _held = power::lock(worker, vmid)?;
    let mut config = guests::load(&host, vmid)?;
    guests::check_lock(&config)?;
    if !config.snapshots.contains_key(name) {
        return Err(ApiError::die(format!("snapshot '{name}' does not exist")));
    }
    remove(&host, vmid, &mut config, (name, force))
}

/// Removes a snapshot's volumes and entry; the caller holds the guest's file lock.
///
/// # Errors
/// Without `force`, if a volume has no such snapshot: the lock `snapshot-delete` stays then (F100).
pub(crate) fn remove(
    host: &Host,
    vmid: u32,
    config: &mut GuestConfig,
    (name, force): (&str, bool),
) -> Result<(), ApiError> {
    let Some(entry) = config.snapshots.get(name).cloned() else { return Ok(()) };
    let storages = Storages::load(host)?;
    let kept = config.current.get("lock").map(str::to_owned);
    config.current.set("lock", "snapshot-delete");
    guests::save(host, vmid, config)?;
    for volid in volumes(&entry) {
        let volid = Volid::parse(&volid)?;
        let (storage, image) = (storages.get(&volid.storage)?, image_name(&volid)?);
        // vzdump's own covers only what was backed up (F91); its removal is always forced.
        let there = storage.images().snapshots(&image)?.iter().any(|s| s == name);
        if !there && !force {
            let path = storage.images().snapshot_tree(&image, name);
            return Err(ApiError::die(format!(
                "command 'btrfs -q subvolume delete -- {}' failed: exit code 1",
                path.display()
            )));
        }
        storage.images().remove_snapshot(&image, name)?;
    }
    let parent = entry.get("parent").map(str::to_owned);
    config.snapshots.remove(name);
    let others = config.snapshots.values_mut().chain(std::iter::once(&mut config.current));
    for section in others.filter(|s| s.get("parent") == Some(name)) {
        match &parent {
            Some(parent) => section.set("parent", parent.clone()),
            None => {
                section.values.remove("parent");
            }
        }
    }
    match kept {
        Some(lock) => config.current.set("lock", lock),
        None => {
            config.current.values.remove("lock");
        }
    }
    guests::save(host, vmid, config)
}
