//! The `move_volume` task: to another guest, which renames the volume, or to another storage, which copies it (F82–F85).
//!
//! ```text
//! to a guest:   rename → write the source's configuration → write the target's
//! to a storage: lock `disk` → new volume → copy → write the configuration → old one unused, or removed → unlock
//! ```
//! **The first one is not atomic.** What ends it between its two writes (a SIGKILL, a protected target) leaves a volume that is in
//! nobody's configuration; a SIGKILL before the first write leaves one that the source looks for under its old name.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{disks, machine, settings};
use crate::api::lxc::fields::is_unused;
use crate::error::ApiError;
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::property::{MountPoint, Properties, format_size};
use crate::state::storage::{Storages, image_name};
use crate::state::volid::Volid;
use crate::state::{Host, guests, lock};
use crate::task::worker::Worker;
use crate::volume::{CopyReport, VolumeError};
use crate::work::power;

/// What a guest is locked with while a volume of it moves to another storage.
pub(crate) const LOCK: &str = "disk";

/// Moving to another guest, or to another key of the same one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reassign {
    /// Source.
    pub(crate) vmid: u32,
    /// Its key.
    pub(crate) key: String,
    /// Target.
    pub(crate) target: u32,
    /// The target's key.
    pub(crate) target_key: String,
    /// The source's configuration as the caller knows it.
    pub(crate) digest: Option<String>,
    /// The target's.
    pub(crate) target_digest: Option<String>,
}

/// Moving to another storage.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToStorage {
    /// Guest.
    pub(crate) vmid: u32,
    /// Its key.
    pub(crate) key: String,
    /// What lies there now.
    pub(crate) volume: String,
    /// Where it is to lie.
    pub(crate) storage: String,
    /// Whether the old one goes.
    pub(crate) delete: bool,
    /// KiB a second.
    pub(crate) bwlimit: Option<f64>,
}

/// A move that is allowed.
#[derive(Debug)]
pub(crate) struct Found {
    /// The source's configuration.
    source: GuestConfig,
    /// The target's; `None` if it is the same guest.
    target: Option<GuestConfig>,
    /// What moves.
    pub(crate) mount: MountPoint,
}

/// What refuses a move to another guest, in Proxmox VE's order: asked before the task and again in it (F85).
///
/// # Errors
/// 500 with the reason.
pub(crate) fn check(host: &Host, job: &Reassign) -> Result<Found, ApiError> {
    let die = |text: String| Err(ApiError::die(text));
    if job.key == "rootfs" || job.target_key == "rootfs" {
        return die("Cannot move to/from 'rootfs'".into());
    }
    if is_unused(&job.key) && !is_unused(&job.target_key) {
        return die("Moving an unused volume to a used one is not possible".into());
    }
    // Unrecorded: API2/LXC.pm:2726 of pve-container 6.1.10.
    if let Some(missing) = [job.vmid, job.target].iter().find(|vmid| !guests::exists(host, **vmid)) {
        return die(format!("could not find CT {missing}"));
    }
    let source = guests::load(host, job.vmid)?;
    guests::check_lock(&source)?;
    let target = if job.target == job.vmid { None } else { Some(guests::load(host, job.target)?) };
    if let Some(target) = &target {
        guests::check_lock(target)?;
    }
    let aim = target.as_ref().unwrap_or(&source);
    // Unrecorded: API2/LXC.pm:2746 of pve-container 6.1.10.
    if source.current.flag("template") || aim.current.flag("template") {
        return die("Can't move volumes from or to template CT".into());
    }
    check_digests(job, &source, aim)?;
    if source.current.get(&job.key).is_none() {
        return die(format!("volume '{}' for container '{}' does not exist", job.key, job.vmid));
    }
    if aim.current.get(&job.target_key).is_some() {
        let (key, target) = (&job.target_key, job.target);
        return die(format!("Target volume key '{key}' is already in use for container '{target}'"));
    }
    let mount = parse(&source, &job.key)?;
    if in_snapshot(&source, &mount.volume) {
        return die("Cannot move volume used by a snapshot to another container".into());
    }
    if !mount.is_volume() {
        return die("Storage does not support moving of this disk to another container".into());
    }
    let volid = Volid::parse(&mount.volume)?;
    Storages::load(host)?.get(&volid.storage)?;
    image_name(&volid)?;
    if !is_unused(&job.key) && machine::running(host, job.vmid).is_some() {
        let text = "Cannot move in-use volume while the source CT is running - detach or shutdown first";
        return die(text.into());
    }
    Ok(Found { source, target, mount })
}

fn check_digests(job: &Reassign, source: &GuestConfig, target: &GuestConfig) -> Result<(), ApiError> {
    for (vmid, wanted, config) in [(job.vmid, &job.digest, source), (job.target, &job.target_digest, target)]
    {
        if wanted.as_ref().is_some_and(|digest| *digest != config.digest()) {
            return Err(ApiError::die(format!(
                "Container {vmid}: detected modified configuration - file changed by other user? Try again."
            )));
        }
    }
    Ok(())
}

/// An unused volume is a volume id alone.
fn parse(config: &GuestConfig, key: &str) -> Result<MountPoint, ApiError> {
    if !is_unused(key) {
        return disks::stored_mount_point(config, key);
    }
    let volume = config.current.get(key).unwrap_or_default().to_owned();
    Ok(MountPoint { volume, mp: String::new(), options: Properties::default() })
}

/// Whether a snapshot of a guest holds a volume.
pub(crate) fn in_snapshot(config: &GuestConfig, volume: &str) -> bool {
    config.snapshots.values().flat_map(Section::mount_points).any(|(_, m)| m.volume == volume)
}

/// The task of a move to another guest.
pub(crate) fn reassign(worker: &mut Worker, job: &Reassign) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let _source = power::lock(worker, job.vmid)?;
    let _target = if job.target == job.vmid { None } else { Some(power::lock(worker, job.target)?) };
    let Found { mut source, target, mut mount } = check(&host, job)?;
    worker.say(format!("moving volume '{}' from container '{}' to '{}'", job.key, job.vmid, job.target));
    let volid = Volid::parse(&mount.volume)?;
    let renamed = rename(&host, &volid, job.target)?;
    worker.phase("renamed")?;
    mount.volume = renamed;
    source.current.values.remove(&job.key);
    worker.say(format!("removing volume '{}' from container '{}' config", job.key, job.vmid));
    guests::save(&host, job.vmid, &source)?;
    worker.phase("source-written")?;
    let mut config = target.unwrap_or(source);
    if is_unused(&job.target_key) {
        config.current.set(&job.target_key, mount.volume);
    } else {
        attach(worker, job, &mut config, mount)?;
    }
    guests::save(&host, job.target, &config)?;
    worker.say(format!("target container '{}' updated with '{}'", job.target, job.target_key));
    Ok(())
}

fn rename(host: &Host, volid: &Volid, target: u32) -> Result<String, ApiError> {
    let storages = Storages::load(host)?;
    let storage = storages.enabled(&volid.storage)?;
    storage.activate(host)?;
    let (images, name) = (storage.images(), image_name(volid)?);
    match images.rename(&name, target) {
        Ok(new) => Ok(storage.volid(&new)),
        // Unrecorded: Storage/Plugin.pm:2403 of pve-storage 9.1.7, where btrfs goes on as if nothing were wrong (F84).
        Err(VolumeError::Missing(_)) => {
            let (old, new) = (images.tree(&name), images.tree(&images.first_free(target)?));
            let (old, new) = (storage.shown(&old), storage.shown(&new));
            Err(ApiError::die(format!("rename '{old}' to '{new}' failed - No such file or directory")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The second half, which a protected target refuses only now (F82): `update_pct_config`.
fn attach(
    worker: &mut Worker,
    job: &Reassign,
    config: &mut GuestConfig,
    mut mount: MountPoint,
) -> Result<(), ApiError> {
    let (host, key) = (worker.host.clone(), job.target_key.as_str());
    if config.current.flag("protection") {
        return Err(ApiError::die(format!(
            "can't update CT {} drive '{key}' - protection mode enabled",
            job.target
        )));
    }
    settings::check_content(&host, &mount)?;
    if let Some(text) = disks::rescan(&host, &mut mount) {
        worker.say(text);
    }
    let value = mount.to_text(key);
    settings::revert(config, key);
    if machine::running(&host, job.target).is_some() {
        let plugged = worker.phase("hotplug").and_then(|()| machine::plug(&host, job.target, (key, &mount)));
        if let Err(error) = plugged {
            let text = error.errors.get(key).cloned();
            worker.warn(text.unwrap_or_else(|| format!("unable to hotplug {key}: {error}")).trim_end());
            config.pending.set(key, value);
            return Ok(());
        }
    }
    config.current.set(key, value);
    config.current.values.retain(|k, v| !(is_unused(k) && *v == mount.volume));
    Ok(())
}

/// The task of a move to another storage; the guest is locked already.
pub(crate) fn to_storage(worker: &mut Worker, job: &ToStorage) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let done = worker.phase("locked").and_then(|()| relocate(worker, job));
    match (done, guests::clear_lock(&host, job.vmid, Some(LOCK))) {
        (Err(error), _) => Err(error),
        (Ok(()), Err(error)) => {
            worker.say(error.to_string());
            Ok(())
        }
        (Ok(()), Ok(())) => Ok(()),
    }
}

fn relocate(worker: &mut Worker, job: &ToStorage) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let before = guests::load(&host, job.vmid)?;
    let mut mount = parse(&before, &job.key)?;
    if !mount.is_volume() {
        return Err(ApiError::die(format!("cannot copy volumes of type {}", mount.kind())));
    }
    if before.current.flag("template") {
        let text = "moving a template's volume to another storage is not implemented by this simulator";
        return Err(ApiError { status: 501, ..ApiError::die(text) });
    }
    let new = copy(worker, job, &mut mount)?;
    mount.volume.clone_from(&new);
    let written = worker.phase("config").and_then(|()| write(&host, job, (&before, &mount)));
    if let Err(error) = written {
        disks::free(&host, &new)?;
        return Err(error);
    }
    if job.delete
        && let Err(error) = disks::remove(&host, job.vmid, &job.volume, &mut |text| worker.say(text))
    {
        // Unrecorded: API2/LXC.pm:2683–2701 of pve-container 6.1.10: what cannot be removed stays as unused.
        worker.say(error.to_string());
        let _held = power::lock(worker, job.vmid)?;
        let mut config = guests::load(&host, job.vmid)?;
        settings::add_unused(&mut config.current, &job.volume)?;
        guests::save(&host, job.vmid, &config)?;
    }
    Ok(())
}

/// Makes the new volume and fills it. A failure takes it away again.
fn copy(worker: &mut Worker, job: &ToStorage, mount: &mut MountPoint) -> Result<String, ApiError> {
    let host = worker.host.clone();
    let storages = Storages::load(&host)?;
    let (storage, tree) = storages.path_of(&mount.volume)?;
    storage.activate(&host)?;
    let bytes = match storage.images().size(&image_name(&Volid::parse(&mount.volume)?)?) {
        Ok(bytes) if tree.is_dir() => bytes,
        _ => return Err(ApiError::die(format!("volume '{}' does not exist", mount.volume))),
    };
    if !storages.get(&job.storage)?.holds("rootdir") {
        let id = &job.storage;
        return Err(ApiError::die(format!(
            "content type 'rootdir' is not available or configured on storage '{id}'"
        )));
    }
    let new = disks::allocate(&host, &job.storage, job.vmid, bytes)?;
    let copied = disks::say_created(worker, &new, bytes).and_then(|()| fill(worker, job, (&new, &tree)));
    if let Err(error) = copied.and_then(|()| worker.phase("copied")).and_then(|()| worker.check_stop()) {
        disks::free(&host, &new)?;
        return Err(error);
    }
    mount.options.set("size", format_size(bytes));
    Ok(new)
}

fn fill(worker: &mut Worker, job: &ToStorage, (new, tree): (&str, &Path)) -> Result<(), ApiError> {
    let (volid, started) = (Volid::parse(new)?, Instant::now());
    let storages = Storages::load(&worker.host)?;
    let images = storages.get(&volid.storage)?.images();
    let report = images.fill(&image_name(&volid)?, tree)?;
    if let Some(limit) = job.bwlimit.filter(|limit| *limit > 0.0) {
        #[expect(clippy::cast_precision_loss)]
        let wanted = Duration::from_secs_f64(report.bytes as f64 / 1024.0 / limit);
        while started.elapsed() < wanted {
            worker.check_stop()?;
            lock::pause(Duration::from_millis(20));
        }
    }
    say_copied(worker, &report, &disks::Entries::of(&images.tree(&image_name(&volid)?)), started);
    Ok(())
}

fn write(host: &Host, job: &ToStorage, (before, mount): (&GuestConfig, &MountPoint)) -> Result<(), ApiError> {
    let _held = host.lock_guest(job.vmid)?;
    let mut config = guests::load(host, job.vmid)?;
    if config.digest() != before.digest() {
        return Err(ApiError::die(
            "detected modified configuration - file changed by other user? Try again.",
        ));
    }
    config.current.set(&job.key, mount.to_text(&job.key));
    if !job.delete {
        settings::add_unused(&mut config.current, &job.volume)?;
    }
    guests::save(host, job.vmid, &config)
}

/// The statistics of the copy, as rsync prints them (rec 2/455, 463).
pub(crate) fn say_copied(
    worker: &mut Worker,
    report: &CopyReport,
    entries: &disks::Entries,
    started: Instant,
) {
    let (bytes, count) = (thousands(report.bytes), report.files);
    let kinds = |directories: u64| {
        let all = [("reg", entries.files), ("dir", directories), ("link", entries.links)];
        let shown: Vec<String> = all
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(kind, n)| format!("{kind}: {}", thousands(*n)))
            .collect();
        let total = thousands(all.iter().map(|(_, n)| n).sum());
        if shown.is_empty() { total } else { format!("{total} ({})", shown.join(", ")) }
    };
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = thousands((report.bytes as f64 / seconds) as u64);
    worker.say("");
    worker.say(format!("Number of files: {}", kinds(entries.directories)));
    worker.say(format!("Number of created files: {}", kinds(entries.directories - 1)));
    worker.say("Number of deleted files: 0");
    worker.say(format!("Number of regular files transferred: {}", thousands(count)));
    for what in ["Total file size", "Total transferred file size", "Literal data"] {
        worker.say(format!("{what}: {bytes} bytes"));
    }
    worker.say("Matched data: 0 bytes");
    worker.say("File list size: 0");
    worker.say("File list generation time: 0.001 seconds");
    worker.say("File list transfer time: 0.000 seconds");
    worker.say(format!("Total bytes sent: {bytes}"));
    worker.say("Total bytes received: 0");
    worker.say("");
    worker.say(format!("sent {bytes} bytes  received 0 bytes  {rate}.00 bytes/sec"));
    worker.say(format!("total size is {bytes}  speedup is 1.00"));
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1308, "1,308"), (84_124_413, "84,124,413")] {
            assert_eq!(thousands(number), text);
        }
    }
}
