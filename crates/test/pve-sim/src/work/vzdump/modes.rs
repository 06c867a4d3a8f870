//! Making a guest's data stand still: snapshot, suspend, stop (F61, F97).

use std::time::{Duration, Instant};

use super::archive::Source;
use super::guest::Task;
use super::undo::Undo;
use super::{Mode, hook, suspend};
use crate::api::lxc::can_snapshot;
use crate::error::ApiError;
use crate::state::guest_config::GuestConfig;
use crate::state::guests;
use crate::state::property::MountPoint;
use crate::state::storage::{Storages, image_name};
use crate::state::volid::Volid;
use crate::task::worker::Worker;
use crate::work::snapshot::{self, VZDUMP};
use crate::work::{machine, power};

/// Chooses the mode and makes the data stand still.
pub(super) fn prepare(
    worker: &mut Worker,
    task: &mut Task<'_>,
    undo: &mut Undo,
    running: bool,
) -> Result<Source, ApiError> {
    let mut mode = if running { task.mode } else { Mode::Stop };
    let mut source = None;
    if mode == Mode::Snapshot {
        let described = describe(worker, task)?;
        if snapshots_possible(worker, task.vmid)? {
            remove_old(worker, task)?;
            source = Some(described);
        } else {
            task.say(worker, "mode failure - some volumes do not support snapshots");
            task.say(worker, "trying 'suspend' mode instead");
            mode = Mode::Suspend;
        }
    }
    undo.prepared = true;
    task.mode = mode;
    task.say(worker, &format!("backup mode: {}", mode.name()));
    if task.settings.bwlimit > 0 {
        let text = format!("bandwidth limit: {} KiB/s", task.settings.bwlimit);
        task.say(worker, &text);
    }
    let text = format!("ionice priority: {}", task.settings.ionice);
    task.say(worker, &text);
    let source = match source {
        Some(source) => source,
        None => describe(worker, task)?,
    };
    hook::inner(worker, task, "backup-start")?;
    match mode {
        Mode::Snapshot => take(worker, task, undo, source),
        Mode::Suspend => suspend::copy(worker, task, undo, source),
        Mode::Stop => {
            if running {
                stop(worker, task, undo)?;
            }
            Ok(source)
        }
    }
}

/// Only volumes that are backed up are asked (F97).
fn snapshots_possible(worker: &Worker, vmid: u32) -> Result<bool, ApiError> {
    let mut asked = guests::load(&worker.host, vmid)?.current;
    asked.values.retain(|key, value| {
        !crate::api::lxc::fields::is_mount_point(key)
            || MountPoint::parse(key, value).is_ok_and(|m| m.in_backup(key))
    });
    Ok(can_snapshot(&Storages::load(&worker.host)?, &asked))
}

/// Names what is archived and what is not (F54), from what the guest runs with: pending changes do not count (F95).
fn describe(worker: &mut Worker, task: &mut Task<'_>) -> Result<Source, ApiError> {
    let GuestConfig { current, .. } = guests::load(&worker.host, task.vmid)?;
    if let Some(name) = current.get("hostname") {
        task.say(worker, &format!("CT Name: {name}"));
    }
    task.hostname = Some(current.get("hostname").map_or_else(|| format!("CT{}", task.vmid), str::to_owned));
    let storages = Storages::load(&worker.host)?;
    let mut source = Source { unprivileged: current.flag("unprivileged"), ..Source::default() };
    for (key, mount) in current.mount_points() {
        let mp = &mount.mp;
        if mount.in_backup(&key) {
            task.say(worker, &format!("including mount point {key} ('{mp}') in backup"));
            let (_, path) = storages.path_of(&mount.volume)?;
            source.trees.push((mp.clone(), path));
            source.volids.push(mount.volume.clone());
        } else {
            let kind = mount.kind();
            let reason = if mount.is_volume() { "disabled" } else { "not a volume" };
            task.say(worker, &format!("excluding {kind} mount point {key} ('{mp}') from backup ({reason})"));
            source.not_backed_up.push(mp.clone());
        }
    }
    Ok(source)
}

/// What a killed backup left behind (F91, F99).
fn remove_old(worker: &mut Worker, task: &mut Task<'_>) -> Result<(), ApiError> {
    let (host, vmid) = (worker.host.clone(), task.vmid);
    let config = guests::load(&host, vmid)?;
    if !config.snapshots.contains_key(VZDUMP) {
        return Ok(());
    }
    task.say(worker, "found old vzdump snapshot (force removal)");
    guests::clear_lock(&host, vmid, Some("backup"))?;
    snapshot::delete(worker, vmid, VZDUMP, true)?;
    guests::set_lock(&host, vmid, "backup").map(drop)
}

/// Snapshots what is backed up; the guest is frozen meanwhile, and from before it if there are several volumes.
fn take(
    worker: &mut Worker,
    task: &mut Task<'_>,
    undo: &mut Undo,
    mut source: Source,
) -> Result<Source, ApiError> {
    let (host, vmid) = (worker.host.clone(), task.vmid);
    hook::inner(worker, task, "pre-stop")?;
    let several = source.volids.len() > 1;
    if several {
        task.say(worker, "suspend vm to make snapshot");
        undo.freeze(worker, task)?;
    }
    task.say(worker, "create storage snapshot 'vzdump'");
    worker.phase("snapshot")?;
    undo.unlock = false;
    guests::clear_lock(&host, vmid, Some("backup"))?;
    snapshot::make(worker, vmid, VZDUMP, "vzdump backup snapshot\n")?;
    guests::set_lock(&host, vmid, "backup")?;
    undo.unlock = true;
    undo.snapshot = true;
    worker.phase("snapshotted")?;
    let storages = Storages::load(&host)?;
    for (tree, volid) in source.trees.iter_mut().zip(&source.volids) {
        let volid = Volid::parse(volid)?;
        tree.1 = storages.get(&volid.storage)?.images().snapshot_tree(&image_name(&volid)?, VZDUMP);
    }
    hook::inner(worker, task, "pre-restart")?;
    if several {
        task.say(worker, "resume vm");
        undo.thaw(worker, task)?;
        task.online_again(worker);
    }
    hook::inner(worker, task, "post-restart")?;
    Ok(source)
}

/// Without force: a guest that does not end in time stays up, and its backup fails.
fn stop(worker: &mut Worker, task: &mut Task<'_>, undo: &mut Undo) -> Result<(), ApiError> {
    task.say(worker, "stopping virtual guest");
    task.offline = Some(Instant::now());
    hook::inner(worker, task, "pre-stop")?;
    let (vmid, seconds) = (task.vmid, task.settings.stopwait * 60);
    let limit = Duration::from_secs(seconds);
    let ended = power::ended(worker, vmid, |host| machine::shutdown(host, vmid, limit, false));
    undo.restart = machine::running(&worker.host, vmid).is_none();
    if !ended? {
        let command = format!("lxc-stop -n {vmid} --nokill --timeout {seconds}");
        worker.say(format!("command '{command}' failed: exit code 1"));
        return Err(ApiError::die("container did not stop"));
    }
    Ok(())
}
