//! Snapshots of guests: `vzsnapshot`, `vzdelsnapshot`, and vzdump's own (F50–F52, F91, F99, F100).
//!
//! ```text
//! make    entry with `snapstate: prepare`, lock `snapshot` → freeze → each volume → thaw → entry complete, lock gone
//! delete  lock `snapshot-delete`, `snapstate: delete` → each volume, out of the entry → entry and lock gone
//! ```
//! Between the steps the guest's file lock is free; only its `lock` key keeps others away. A SIGKILL leaves what is there by then:
//! a frozen guest, the lock, the half-made entry.

use std::collections::BTreeSet;
use std::path::Path;

use super::machine;
use crate::api::lxc::can_snapshot;
use crate::clock;
use crate::destroyed::{self, Kind};
use crate::error::ApiError;
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::property::MountPoint;
use crate::state::storage::{Storages, image_name};
use crate::state::volid::Volid;
use crate::state::{Host, guests};
use crate::task::worker::Worker;
use crate::volume::{VolumeError, busy_path};

/// vzdump's temporary snapshot.
pub(crate) const VZDUMP: &str = "vzdump";

/// Makes a snapshot of what the guest has now; vzdump's covers what is backed up only.
///
/// # Errors
/// What the task ends with. If a volume fails, what was made is taken away again.
pub(crate) fn make(worker: &mut Worker, vmid: u32, name: &str, description: &str) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let entry = prepare(worker, vmid, name, description)?;
    worker.phase("prepared")?;
    let running = machine::running(&host, vmid).is_some();
    let mut made = BTreeSet::new();
    let taken = take(worker, vmid, (name, &entry), running, &mut made);
    if running {
        machine::set_frozen(&host, vmid, false)?;
    }
    if let Err(error) = taken {
        worker.say("snapshot create failed: starting cleanup");
        if let Err(error) = remove(worker, vmid, name, Removal { force: true, made: Some(&made) }) {
            worker.say(error.to_string());
        }
        return Err(error);
    }
    commit(&host, vmid, name)
}

/// What of a mount point a snapshot covers (F91: vzdump's only what is backed up).
fn covered(name: &str, entry: &Section) -> Vec<(String, MountPoint)> {
    let all = entry.mount_points().into_iter();
    all.filter(|(key, mount)| mount.is_volume() && (name != VZDUMP || mount.in_backup(key))).collect()
}

/// Whether the guest's volumes can be snapshotted; what vzdump leaves out does not matter to it (F97).
fn possible(host: &Host, name: &str, current: &Section) -> Result<bool, ApiError> {
    let mut asked = current.clone();
    if name == VZDUMP {
        for (key, _) in current.mount_points().iter().filter(|(k, m)| !m.in_backup(k)) {
            asked.values.remove(key);
        }
    }
    Ok(can_snapshot(&Storages::load(host)?, &asked))
}

/// Enters the snapshot as half-made and locks the guest; answers the entry.
fn prepare(worker: &mut Worker, vmid: u32, name: &str, description: &str) -> Result<Section, ApiError> {
    let host = worker.host.clone();
    let _held = super::power::lock(worker, vmid)?;
    let mut config = guests::load(&host, vmid)?;
    if config.current.flag("template") {
        return Err(ApiError::die("you can't take a snapshot if it's a template"));
    }
    guests::check_lock(&config)?;
    if config.snapshots.contains_key(name) {
        return Err(ApiError::die(format!("snapshot name '{name}' already used")));
    }
    if !possible(&host, name, &config.current)? {
        return Err(ApiError::die("snapshot feature is not available"));
    }
    // Unrecorded: AbstractConfig.pm:758 of pve-guest-common: an old entry may still name a snapshot that is gone as its parent.
    for (other, section) in &mut config.snapshots {
        if section.get("parent") == Some(name) {
            worker.say(format!(
                "deleting parent '{name}' reference from '{other}' to avoid bogus snapshot cycle."
            ));
            section.values.remove("parent");
        }
    }
    let mut entry = copied(&config.current);
    entry.set("snaptime", clock::now(&host).to_string());
    entry.set("snapstate", "prepare");
    if !description.is_empty() {
        entry.set("description", description);
    }
    config.snapshots.insert(name.to_owned(), entry.clone());
    config.current.set("lock", "snapshot");
    guests::save(&host, vmid, &config)?;
    Ok(entry)
}

/// What a snapshot keeps of a configuration, and gives back: everything but these (rec 962, AbstractConfig.pm:691).
pub(crate) fn copied(source: &Section) -> Section {
    let mut copy = source.clone();
    for key in ["snapstate", "snaptime", "lock", "description"] {
        copy.values.remove(key);
    }
    copy.values.retain(|key, _| !key.starts_with("unused"));
    copy
}

fn take(
    worker: &mut Worker,
    vmid: u32,
    (name, entry): (&str, &Section),
    running: bool,
    made: &mut BTreeSet<String>,
) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let volumes = covered(name, entry);
    let storages = Storages::load(&host)?;
    for (_, mount) in &volumes {
        storages.get(&Volid::parse(&mount.volume)?.storage)?.activate(&host)?;
    }
    machine::set_frozen(&host, vmid, true)?;
    worker.phase("frozen")?;
    for (key, mount) in volumes {
        snapshot_volume(&storages, &mount.volume, name, running)?;
        made.insert(key);
        worker.phase("volume")?;
    }
    Ok(())
}

fn snapshot_volume(storages: &Storages, volid: &str, name: &str, running: bool) -> Result<(), ApiError> {
    let volid = Volid::parse(volid)?;
    let (images, image) = (storages.get(&volid.storage)?.images(), image_name(&volid)?);
    let target = images.snapshot_tree(&image, name);
    let failed = |why: &str| {
        let (from, to) = (subvolume(&images.tree(&image)), subvolume(&target));
        ApiError::die(format!("command 'btrfs subvolume snapshot -r -- {from} {to}' failed: ERROR: {why}\n"))
    };
    match images.snapshot(&image, name) {
        // rec 862: a volume that is attached twice.
        Err(VolumeError::Exists(_)) => {
            return Err(failed("Could not create subvolume: Read-only file system"));
        }
        Err(VolumeError::Missing(_)) => return Err(failed("Could not statfs: No such file or directory")),
        other => other?,
    };
    if running {
        std::fs::write(busy_path(&target), "")?;
    }
    Ok(())
}

/// The directory that would be the subvolume.
fn subvolume(tree: &Path) -> String {
    tree.parent().unwrap_or(tree).display().to_string()
}

/// Completes the entry; the guest's lock goes.
fn commit(host: &Host, vmid: u32, name: &str) -> Result<(), ApiError> {
    let _held = host.lock_guest(vmid)?;
    let mut config = guests::load(host, vmid)?;
    if config.current.get("lock") != Some("snapshot") {
        return Err(ApiError::die("missing snapshot lock"));
    }
    let entry = config.snapshots.get_mut(name).ok_or_else(|| missing(name))?;
    if entry.get("snapstate") != Some("prepare") {
        return Err(ApiError::die("wrong snapshot state"));
    }
    entry.values.remove("snapstate");
    config.current.set("parent", name);
    config.current.values.remove("lock");
    guests::save(host, vmid, &config)
}

/// `snapshot 'x' does not exist`.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::die(format!("snapshot '{name}' does not exist"))
}

/// Deletes a snapshot.
///
/// # Errors
/// What the task ends with. Without `force`, if a volume has no such snapshot: lock `snapshot-delete` and what is left of the
/// entry stay then (F100).
pub(crate) fn delete(worker: &mut Worker, vmid: u32, name: &str, force: bool) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let config = guests::load(&host, vmid)?;
    let entry = config.snapshots.get(name).ok_or_else(|| missing(name))?;
    let storages = Storages::load(&host)?;
    for (_, mount) in covered("", entry) {
        storages.get(&Volid::parse(&mount.volume)?.storage)?.activate(&host)?;
    }
    {
        let _held = super::power::lock(worker, vmid)?;
        let mut config = guests::load(&host, vmid)?;
        guests::check_lock(&config)?;
        config.current.set("lock", "snapshot-delete");
        guests::save(&host, vmid, &config)?;
    }
    remove(worker, vmid, name, Removal { force, made: None })
}

/// How a snapshot is removed.
#[derive(Clone, Copy, Debug)]
struct Removal<'a> {
    /// Errors of volumes are only logged.
    force: bool,
    /// After a failed creation, which holds lock `snapshot`: the mount points whose volumes were snapshotted.
    made: Option<&'a BTreeSet<String>>,
}

impl Removal<'_> {
    /// Changes configuration and entry under the guest's file lock, if the lock is still this removal's.
    fn change(
        self,
        host: &Host,
        vmid: u32,
        name: &str,
        change: impl FnOnce(&mut GuestConfig, Section) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let _held = host.lock_guest(vmid)?;
        let mut config = guests::load(host, vmid)?;
        let expected = if self.made.is_some() { "snapshot" } else { "snapshot-delete" };
        if config.current.get("lock") != Some(expected) {
            return Err(ApiError::die(format!("encountered invalid lock, expected '{expected}'")));
        }
        let entry = config.snapshots.get(name).cloned().ok_or_else(|| missing(name))?;
        change(&mut config, entry)?;
        guests::save(host, vmid, &config)
    }
}

fn remove(worker: &mut Worker, vmid: u32, name: &str, removal: Removal<'_>) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let mut volumes = Vec::new();
    removal.change(&host, vmid, name, |config, mut entry| {
        if config.current.flag("template") {
            return Err(ApiError::die("you can't delete a snapshot if vm is a template"));
        }
        volumes = covered(name, &entry);
        entry.set("snapstate", "delete");
        config.snapshots.insert(name.to_owned(), entry);
        Ok(())
    })?;
    worker.phase("prepared")?;
    let storages = Storages::load(&host)?;
    let mut unused = Vec::new();
    for (key, mount) in volumes {
        if removal.made.is_none_or(|made| made.contains(&key)) {
            match delete_volume(&worker.host, &storages, &mount.volume, name) {
                Ok(()) => unused.push(mount.volume.clone()),
                Err(error) if removal.force => worker.say(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        worker.phase("removed")?;
        if !removal.force {
            removal.change(&host, vmid, name, |config, mut entry| {
                entry.values.remove(&key);
                entry.add_unused(&mount.volume)?;
                config.snapshots.insert(name.to_owned(), entry);
                Ok(())
            })?;
        }
        worker.phase("volume")?;
    }
    removal.change(&host, vmid, name, |config, entry| {
        config.snapshots.remove(name);
        unlink(config, name, entry.get("parent"));
        config.current.values.remove("lock");
        unused.iter().try_for_each(|volid| config.current.add_unused(volid))
    })
}

fn delete_volume(host: &Host, storages: &Storages, volid: &str, name: &str) -> Result<(), ApiError> {
    let volid = Volid::parse(volid)?;
    let (images, image) = (storages.get(&volid.storage)?.images(), image_name(&volid)?);
    if !images.snapshots(&image)?.iter().any(|s| s == name) {
        let place = subvolume(&images.snapshot_tree(&image, name));
        return Err(ApiError::die(format!(
            "command 'btrfs subvolume delete -- {place}' failed: ERROR: Could not statfs: No such file or directory"
        )));
    }
    destroyed::note(host, Kind::Snapshot, &format!("{volid}@{name}"))?;
    Ok(images.remove_snapshot(&image, name)?)
}

/// Whoever had the snapshot as parent gets its parent instead.
fn unlink(config: &mut GuestConfig, name: &str, parent: Option<&str>) {
    let others = config.snapshots.values_mut().chain(std::iter::once(&mut config.current));
    for section in others.filter(|s| s.get("parent") == Some(name)) {
        match parent {
            Some(parent) => section.set("parent", parent),
            None => {
                section.values.remove("parent");
            }
        }
    }
}
