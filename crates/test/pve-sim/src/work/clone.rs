//! `vzclone` and `vztemplate`. A clone's source is locked (`disk`) until the task ends, its target (`create`) too; both locks are
//! taken before the task. A SIGKILL leaves both.

use std::time::Instant;

use super::{CloneJob, disks, move_volume};
use crate::error::ApiError;
use crate::state::guest_config::Section;
use crate::state::property::{MountPoint, format_size};
use crate::state::storage::{Storages, image_name};
use crate::state::volid::Volid;
use crate::state::{Host, access_file, guests};
use crate::task::worker::Worker;

/// The `vzclone` task.
pub(crate) fn run(worker: &mut Worker, job: &CloneJob) -> Result<(), ApiError> {
    let host = worker.host.clone();
    worker.say(format!("creating a clone of container {} with ID {}", job.vmid, job.newid));
    worker.phase("locked")?;
    let mut made = Vec::new();
    let copied = copy(worker, job, &mut made);
    if let Err(error) = guests::clear_lock(&host, job.vmid, Some("disk")) {
        worker.say(error.to_string());
    }
    if let Err(error) = copied {
        for volid in &made {
            disks::free(&host, volid)?;
        }
        guests::remove(&host, job.newid)?;
        return Err(error.prefixed("clone failed: "));
    }
    guests::clear_lock(&host, job.newid, Some("create"))
}

fn copy(worker: &mut Worker, job: &CloneJob, made: &mut Vec<String>) -> Result<(), ApiError> {
    let host = worker.host.clone();
    // Proxmox VE takes them as Perl's hash has them; here rootfs gets the first number.
    let source = Section { values: job.mount_points.clone(), ..Section::default() };
    for (key, mut mount) in source.mount_points() {
        mount.volume = if job.full {
            worker.say(format!("create full clone of mountpoint {key} ({})", mount.volume));
            full(worker, job, &mut mount, made)?
        } else {
            worker.say(format!("create linked clone of mount point {key} ({})", mount.volume));
            let volume = linked(&host, job, &mount.volume)?;
            made.push(volume.clone());
            volume
        };
        worker.phase("copied")?;
        let _held = host.lock_guest(job.newid)?;
        let mut config = guests::load(&host, job.newid)?;
        if config.current.get("lock") != Some("create") {
            return Err(ApiError::die("Lost 'create' config lock, aborting."));
        }
        config.current.set(&key, mount.to_text(&key));
        guests::save(&host, job.newid, &config)?;
        worker.phase("volume")?;
        worker.check_stop()?;
    }
    match &job.pool {
        None => Ok(()),
        Some(pool) => access_file::update(&host, |access| {
            if let Some(pool) = access.pools.get_mut(pool) {
                pool.vms.insert(job.newid);
            }
            Ok(())
        }),
    }
}

/// A new volume with a copy of everything.
fn full(
    worker: &mut Worker,
    job: &CloneJob,
    mount: &mut MountPoint,
    made: &mut Vec<String>,
) -> Result<String, ApiError> {
    let host = worker.host.clone();
    let source = Volid::parse(&mount.volume)?;
    let storages = Storages::load(&host)?;
    let (images, image) = (storages.get(&source.storage)?.images(), image_name(&source)?);
    let bytes = images.size(&image)?;
    let tree = match &job.snapshot {
        Some(name) => images.snapshot_tree(&image, name),
        None => images.tree(&image),
    };
    let target = job.storage.as_deref().unwrap_or(&source.storage);
    let new = disks::allocate(&host, target, job.newid, bytes)?;
    made.push(new.clone());
    disks::say_created(worker, &new, bytes)?;
    let started = Instant::now();
    let volid = Volid::parse(&new)?;
    let images = storages.get(&volid.storage)?.images();
    let report = images.fill(&image_name(&volid)?, &tree)?;
    let entries = disks::Entries::of(&images.tree(&image_name(&volid)?));
    move_volume::say_copied(worker, &report, &entries, started);
    mount.options.set("size", format_size(bytes));
    Ok(new)
}

fn linked(host: &Host, job: &CloneJob, volume: &str) -> Result<String, ApiError> {
    let volid = Volid::parse(volume)?;
    let storages = Storages::load(host)?;
    let storage = storages.get(&volid.storage)?;
    let name = storage.images().duplicate(&image_name(&volid)?, job.snapshot.as_deref(), job.newid)?;
    Ok(storage.volid(&name))
}

/// The `vztemplate` task: every volume is renamed to `base-…` (rec 2/585, 2/949), and only then the configuration is written, once
/// with the new names and once with `template` (Unrecorded: src/PVE/LXC.pm:1589, src/PVE/API2/LXC.pm:1869 of pve-container).
pub(crate) fn template(worker: &mut Worker, vmid: u32) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let _held = super::power::lock(worker, vmid)?;
    let mut config = guests::load(&host, vmid)?;
    let storages = Storages::load(&host)?;
    let mounts = config.current.mount_points();
    if let Some((_, other)) = mounts.iter().find(|(_, mount)| !mount.is_volume()) {
        return Err(ApiError::die(format!("Template feature is not available for '{}'", other.volume)));
    }
    for (key, mut mount) in mounts {
        let volid = Volid::parse(&mount.volume)?;
        let storage = storages.get(&volid.storage)?;
        let name = image_name(&volid)?;
        if !name.base {
            storage.activate(&host)?;
            mount.volume = storage.volid(&storage.images().make_base(&name)?);
        }
        config.current.set(&key, mount.to_text(&key));
        worker.phase("volume")?;
    }
    guests::save(&host, vmid, &config)?;
    worker.phase("renamed")?;
    config.current.set("template", "1");
    guests::save(&host, vmid, &config)
}
