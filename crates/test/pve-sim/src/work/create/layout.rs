//! What volumes a guest gets: those given, or else the archive's layout on one storage (F57). Bind mounts come afterwards, for root.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::mount_path;
use crate::api::lxc::perms::new_disk;
use crate::error::ApiError;
use crate::state::guest_config::Section;
use crate::state::property::{MountPoint, format_size};
use crate::state::storage::{Storages, image_name};
use crate::state::volid::Volid;
use crate::task::worker::Worker;
use crate::work::{CreateJob, disks};

/// Bind and device mounts, which are written after the archive is unpacked.
pub(super) type Delayed = BTreeMap<String, MountPoint>;

/// A mounted volume.
#[derive(Debug)]
pub(super) struct Mounted {
    /// Path in the guest.
    pub(super) mount: String,
    /// Its directory.
    pub(super) path: PathBuf,
    /// Bytes, if it has a size.
    pub(super) size: Option<u64>,
}

/// Mount points to make, in their order, and those for later.
pub(super) fn wanted(
    worker: &Worker,
    job: &CreateJob,
    carried: &Section,
) -> Result<(Vec<(String, MountPoint)>, Delayed), ApiError> {
    if !job.mount_points.is_empty() {
        let mut section = Section::default();
        section.values.extend(job.mount_points.clone());
        let (volumes, others): (Vec<_>, Vec<_>) =
            section.mount_points().into_iter().partition(|(_, m)| m.is_volume());
        return Ok((volumes, others.into_iter().collect()));
    }
    if !job.restore {
        let mount = MountPoint::parse("rootfs", &format!("{}:4", job.storage)).map_err(ApiError::die)?;
        return Ok((vec![("rootfs".into(), mount)], Delayed::new()));
    }
    archived(worker, job, carried)
}

fn archived(
    worker: &Worker,
    job: &CreateJob,
    carried: &Section,
) -> Result<(Vec<(String, MountPoint)>, Delayed), ApiError> {
    let (mut volumes, mut delayed) = (Vec::new(), Delayed::new());
    if carried.get("rootfs").is_none() {
        return Err(ApiError::die(
            "rootfs configuration could not be recovered, please check and specify manually!",
        ));
    }
    for (key, mut mount) in carried.mount_points() {
        let kind = mount.kind();
        if mount.is_volume() {
            let bytes = mount.size().ok_or_else(|| {
                ApiError::die(format!("unable to detect disk size - please specify {key} (size)"))
            })?;
            #[expect(clippy::cast_precision_loss)]
            let gigabytes = bytes as f64 / f64::from(1 << 30);
            mount.volume = format!("{}:{gigabytes}", job.storage);
            mount.options.remove("size");
            volumes.push((key, mount));
        } else if key == "rootfs" {
            return Err(ApiError::die(format!(
                "restoring rootfs to {kind} mount is only possible by specifying -rootfs manually!"
            )));
        } else if !worker.is_root() {
            return Err(ApiError::die(format!(
                "restoring '{key}' to {kind} mount is only possible for root"
            )));
        } else {
            delayed.insert(key, mount);
        }
    }
    Ok((volumes, delayed))
}

/// Makes the volumes and writes them into the configuration; `made` lists those that are new.
pub(super) fn make(
    worker: &mut Worker,
    job: &CreateJob,
    (wanted, config): (&[(String, MountPoint)], &mut Section),
    made: &mut Vec<String>,
) -> Result<Vec<Mounted>, ApiError> {
    let mut all = Vec::new();
    for (key, mount) in wanted {
        let mut mount = mount.clone();
        if let Some((storage, gigabytes)) = new_disk(&mount.volume) {
            let bytes = disks::bytes(gigabytes);
            if bytes == 0 {
                return Err(ApiError::die("a volume without a size is not implemented by this simulator"));
            }
            let volid = disks::allocate(&worker.host, storage, job.vmid, bytes)?;
            made.push(volid.clone());
            disks::say_created(worker, &volid, bytes)?;
            mount.volume = volid;
            mount.options.set("size", format_size(bytes));
        }
        config.set(key, mount.to_text(key));
        let storages = Storages::load(&worker.host)?;
        let volid = Volid::parse(&mount.volume)?;
        let storage = storages.get(&volid.storage)?;
        let path = storage.path_of(&volid)?;
        if !path.is_dir() {
            return Err(ApiError::die(format!("volume '{volid}' does not exist")));
        }
        let size = storage.images().size(&image_name(&volid)?).ok().filter(|size| *size > 0);
        all.push(Mounted { mount: mount_path(&mount.mp), path, size });
        worker.check_stop()?;
    }
    Ok(all)
}
