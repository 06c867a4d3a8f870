//! Making a guest's data stand still, and undoing it: snapshot, suspend, stop (F61, F97).

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use super::archive::Source;
use super::guest::Task;
use super::{Mode, sync};
use crate::api::lxc::can_snapshot;
use crate::error::ApiError;
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::guests;
use crate::state::property::MountPoint;
use crate::state::storage::{Storages, image_name};
use crate::state::volid::Volid;
use crate::task::worker::Worker;
use crate::volume::copy_tree;
use crate::work::machine;
use crate::work::snapshot::{self, VZDUMP};

/// What has been done to the guest, so that it can be undone.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    locked: bool,
    snapshot: bool,
    frozen: bool,
    stopped: Option<Instant>,
    copied: bool,
    /// Whether the archive is complete.
    pub(super) archived: bool,
}

/// Chooses the mode, locks the guest and makes its data stand still.
pub(super) fn prepare(
    worker: &mut Worker,
    task: &mut Task<'_>,
    quiet: &mut Quiet,
) -> Result<Source, ApiError> {
    let vmid = task.vmid;
    let host = worker.host.clone();
    let running = machine::running(&host, vmid).is_some();
    task.say(worker, &format!("status = {}", if running { "running" } else { "stopped" }));
    let mut mode = if running { task.job.mode } else { Mode::Stop };
    let config = guests::load(&host, vmid)?;
    let storages = Storages::load(&host)?;
    if mode == Mode::Snapshot {
        let source = describe(worker, task, &config)?;
        let mut asked = config.current.clone();
        asked.values.retain(|k, v| !is_left_out(k, v));
        if can_snapshot(&storages, &asked) {
            announce(worker, task, mode);
            lock(worker, task, quiet)?;
            return take_snapshot(worker, task, quiet, source);
        }
        task.say(worker, "mode failure - some volumes do not support snapshots");
        task.say(worker, "trying 'suspend' mode instead");
        mode = Mode::Suspend;
    }
    announce(worker, task, mode);
    lock(worker, task, quiet)?;
    let source = describe(worker, task, &config)?;
    match mode {
        Mode::Suspend => suspend(worker, task, quiet, source),
        _ if running => stop(worker, task, quiet).map(|()| source),
        _ => Ok(source),
    }
}

fn is_left_out(key: &str, value: &str) -> bool {
    crate::api::lxc::fields::is_mount_point(key)
        && !MountPoint::parse(key, value).is_ok_and(|m| m.in_backup(key))
}

fn announce(worker: &mut Worker, task: &mut Task<'_>, mode: Mode) {
    task.say(worker, &format!("backup mode: {}", mode.name()));
    task.say(worker, "ionice priority: 7");
}

fn lock(worker: &mut Worker, task: &Task<'_>, quiet: &mut Quiet) -> Result<(), ApiError> {
    guests::set_lock(&worker.host, task.vmid, "backup")?;
    quiet.locked = true;
    Ok(())
}

/// Names what is archived and what is not (F54), from what the guest runs with: pending changes do not count (F95).
fn describe(worker: &mut Worker, task: &mut Task<'_>, config: &GuestConfig) -> Result<Source, ApiError> {
    let current = &config.current;
    let name = current.get("hostname").map_or_else(|| format!("CT{}", task.vmid), str::to_owned);
    task.say(worker, &format!("CT Name: {name}"));
    let storages = Storages::load(&worker.host)?;
    let mut source = Source { config: config.to_archive_text(), ..Source::default() };
    for (key, mount) in current.mount_points() {
        let mp = &mount.mp;
        if mount.in_backup(&key) {
            task.say(worker, &format!("including mount point {key} ('{mp}') in backup"));
            let (_, path) = storages.path_of(&mount.volume)?;
            if !path.is_dir() {
                return Err(ApiError::die(format!("volume '{}' does not exist", mount.volume)));
            }
            source.trees.push((mp.clone(), path));
        } else {
            let kind = mount.kind();
            let reason = if mount.is_volume() { "disabled" } else { "not a volume" };
            task.say(worker, &format!("excluding {kind} mount point {key} ('{mp}') from backup ({reason})"));
            source.not_backed_up.push(mp.clone());
        }
    }
    Ok(source)
}

fn backed_up(section: &Section) -> Vec<String> {
    section.mount_points().into_iter().filter(|(k, m)| m.in_backup(k)).map(|(_, m)| m.volume).collect()
}

fn take_snapshot(
    worker: &mut Worker,
    task: &mut Task<'_>,
    quiet: &mut Quiet,
    mut source: Source,
) -> Result<Source, ApiError> {
    let (host, vmid) = (worker.host.clone(), task.vmid);
    let config = guests::load(&host, vmid)?;
    if config.snapshots.contains_key(VZDUMP) {
        task.say(worker, "found old vzdump snapshot (force removal)");
        guests::clear_lock(&host, vmid, Some("backup"))?;
        snapshot::delete(worker, vmid, VZDUMP, true)?;
        guests::set_lock(&host, vmid, "backup")?;
    }
    let volumes = backed_up(&config.current);
    let several = volumes.len() > 1;
    let paused = Instant::now();
    if several {
        task.say(worker, "suspend vm to make snapshot");
        quiet.frozen = true;
        machine::set_frozen(&host, vmid, true)?;
    }
    task.say(worker, "create storage snapshot 'vzdump'");
    guests::clear_lock(&host, vmid, Some("backup"))?;
    let made = snapshot::make(worker, vmid, VZDUMP, "vzdump backup snapshot\n");
    guests::set_lock(&host, vmid, "backup")?;
    made?;
    quiet.snapshot = true;
    quiet.frozen = false;
    if several {
        task.say(worker, "resume vm");
        online_again(worker, task, paused);
    }
    let storages = Storages::load(&host)?;
    for (tree, volid) in source.trees.iter_mut().zip(&volumes) {
        let volid = Volid::parse(volid)?;
        tree.1 = storages.get(&volid.storage)?.images().snapshot_tree(&image_name(&volid)?, VZDUMP);
    }
    Ok(source)
}

fn online_again(worker: &mut Worker, task: &mut Task<'_>, since: Instant) {
    let seconds = since.elapsed().as_secs();
    let shown = if seconds == 0 { "<1".to_owned() } else { seconds.to_string() };
    task.say(worker, &format!("guest is online again after {shown} seconds"));
}

/// Copies while the guest runs, then once more while it is frozen.
fn suspend(
    worker: &mut Worker,
    task: &mut Task<'_>,
    quiet: &mut Quiet,
    mut source: Source,
) -> Result<Source, ApiError> {
    let (host, vmid) = (worker.host.clone(), task.vmid);
    let tmp = task.file(".tmp");
    let pid = machine::running(&host, vmid).map_or(0, |r| r.pid);
    fs::create_dir_all(&tmp)?;
    quiet.copied = true;
    let route = format!("/proc/{pid}/root/ to {}", tmp.display());
    task.say(worker, &format!("starting first sync {route}"));
    let (since, started) = (SystemTime::now(), Instant::now());
    let mut bytes = 0;
    let mut copies = Vec::new();
    for (index, (_, path)) in source.trees.iter().enumerate() {
        let place = tmp.join(index.to_string());
        bytes += copy_tree(path, &place)?.bytes;
        copies.push(place);
        worker.check_stop()?;
    }
    task.say(
        worker,
        &format!(
            "first sync finished - transferred {} in {}s",
            megabytes(bytes),
            started.elapsed().as_secs()
        ),
    );
    let paused = Instant::now();
    task.say(worker, "suspending guest");
    quiet.frozen = true;
    machine::set_frozen(&host, vmid, true)?;
    task.say(worker, &format!("starting final sync {route}"));
    let started = Instant::now();
    let mut bytes = 0;
    for (tree, place) in source.trees.iter_mut().zip(copies) {
        bytes += sync::bring_up_to_date(&tree.1, &place, since)?;
        tree.1 = place;
    }
    task.say(
        worker,
        &format!(
            "final sync finished - transferred {} in {}s",
            megabytes(bytes),
            started.elapsed().as_secs()
        ),
    );
    task.say(worker, "resuming guest");
    machine::set_frozen(&host, vmid, false)?;
    quiet.frozen = false;
    online_again(worker, task, paused);
    Ok(source)
}

fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss)]
    let value = bytes as f64 / 1_000_000.0;
    if bytes == 0 { "0 bytes".into() } else { format!("{value:.2}M bytes") }
}

fn stop(worker: &mut Worker, task: &mut Task<'_>, quiet: &mut Quiet) -> Result<(), ApiError> {
    task.say(worker, "stopping virtual guest");
    quiet.stopped = Some(Instant::now());
    let timeout = Duration::from_secs(task.job.stopwait * 60);
    machine::shutdown(&worker.host, task.vmid, timeout, true).map(drop)
}

impl Quiet {
    /// Undoes everything, whatever happened; the first thing that fails is the result.
    pub(super) fn undo(&mut self, worker: &mut Worker, task: &mut Task<'_>) -> Result<(), ApiError> {
        let (host, vmid) = (worker.host.clone(), task.vmid);
        let mut result = Ok(());
        if self.frozen {
            result = result.and(machine::set_frozen(&host, vmid, false));
        }
        if let Some(since) = self.stopped {
            task.say(worker, "restarting vm");
            result =
                result.and(guests::load(&host, vmid).and_then(|c| machine::start(&host, vmid, &c.current)));
            online_again(worker, task, since);
        }
        if self.locked {
            result = result.and(guests::clear_lock(&host, vmid, Some("backup")));
        }
        if self.snapshot {
            task.say(worker, "cleanup temporary 'vzdump' snapshot");
            result = result.and(snapshot::delete(worker, vmid, VZDUMP, false));
        }
        if self.copied {
            result = result.and(crate::volume::copy::remove_tree(&task.file(".tmp")).map_err(ApiError::from));
        }
        result
    }
}
