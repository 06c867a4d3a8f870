//! Guests' volumes: allocate, free, resize; and deleting any volume of a storage.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::api::volumes::{log_path, notes_path, protected_path};
use crate::error::ApiError;
use crate::state::property::format_size;
use crate::state::storage::{Storages, image_name};
use crate::state::volid::{Volid, VolumeKind};
use crate::state::{Host, guests, secrets};
use crate::task::worker::Worker;
use crate::volume::VolumeError;

impl From<VolumeError> for ApiError {
    fn from(error: VolumeError) -> Self {
        Self::die(error.to_string())
    }
}

/// A size in GiB as Proxmox VE rounds it: down to whole MiB (0.3 becomes 307 MiB, F46).
pub(crate) fn bytes(gigabytes: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let mebibytes = (gigabytes * 1024.0) as u64;
    mebibytes << 20
}

/// Makes an empty volume and answers its id.
pub(crate) fn allocate(host: &Host, storage: &str, vmid: u32, bytes: u64) -> Result<String, ApiError> {
    let storages = Storages::load(host)?;
    let storage = storages.enabled(storage)?;
    storage.activate(host)?;
    let name = storage.images().allocate(vmid, bytes)?;
    Ok(format!("{}:{name}", storage.id))
}

/// What `mkfs` and `qemu-img` print for a new volume (rec 113, 121).
pub(crate) fn say_created(worker: &mut Worker, volid: &str, bytes: u64) -> Result<(), ApiError> {
    let storages = Storages::load(&worker.host)?;
    let (storage, path) = storages.path_of(volid)?;
    if !storage.snapshots() {
        worker.say(format!("Formatting '{}', fmt=raw size={bytes} preallocation=off", path.display()));
    }
    let blocks = bytes / 4096;
    worker.say(format!("Creating filesystem with {blocks} 4k blocks and {} inodes", blocks / 4));
    worker.say(format!("Filesystem UUID: {}", secrets::random_uuid()?));
    worker.say("Superblock backups stored on blocks: ");
    let copies = [1_u64, 3, 5, 7, 9, 25, 27, 49].map(|n| n * 32768);
    let shown: Vec<String> = copies.iter().filter(|b| **b < blocks).map(u64::to_string).collect();
    worker.say(format!("\t{}", shown.join(", ")));
    Ok(())
}

/// Frees a guest's volume; one that is gone already is no error.
pub(crate) fn free(host: &Host, volid: &str) -> Result<(), ApiError> {
    let volid = Volid::parse(volid)?;
    let storages = Storages::load(host)?;
    let storage = storages.get(&volid.storage)?;
    match storage.images().free(&image_name(&volid)?) {
        Err(VolumeError::Missing(_)) => Ok(()),
        other => Ok(other?),
    }
}

/// The `resize` task.
pub(crate) fn resize(worker: &mut Worker, vmid: u32, disk: &str, bytes: u64) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let _held = host.lock_guest(vmid)?;
    let mut config = guests::load(&host, vmid)?;
    guests::check_lock(&config)?;
    let mut points = config.current.mount_points();
    let Some((_, mount)) = points.iter_mut().find(|(key, _)| key == disk) else {
        return Err(ApiError::die(format!("disk '{disk}' does not exist")));
    };
    let volid = Volid::parse(&mount.volume)?;
    let storages = Storages::load(&host)?;
    storages.get(&volid.storage)?.images().set_size(&image_name(&volid)?, bytes)?;
    mount.options.set("size", format_size(bytes));
    config.current.set(disk, mount.to_text(disk));
    guests::save(&host, vmid, &config)
}

/// The `imgdel` task (F64): a missing archive is no error, a protected one is.
pub(crate) fn delete_volume(worker: &mut Worker, text: &str) -> Result<(), ApiError> {
    let volid = Volid::parse(text)?;
    let storages = Storages::load(&worker.host)?;
    let storage = storages.enabled(&volid.storage)?;
    let path = storage.path_of(&volid)?;
    match volid.parts()?.kind {
        VolumeKind::Images => storage.images().free(&image_name(&volid)?)?,
        VolumeKind::Backup => {
            if protected_path(&path).exists() {
                return Err(ApiError::die(format!(
                    "cannot remove protected volume '{}' on '{}'",
                    volid.name, volid.storage
                )));
            }
            remove_archive(&path)?;
        }
        VolumeKind::Template | VolumeKind::Iso => fs::remove_file(&path)?,
    }
    worker.say(format!("Removed volume '{text}'"));
    Ok(())
}

/// Removes an archive with its notes and its log. A missing file is no error.
pub(crate) fn remove_archive(path: &Path) -> Result<(), ApiError> {
    for file in [path.to_path_buf(), notes_path(path), log_path(path)] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
