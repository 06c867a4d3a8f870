//! The `vzdestroy` task (F45, F78, F84, F87): what the configuration names goes, what it does not name stays.

use std::collections::BTreeSet;

use super::{disks, machine, power};
use crate::error::ApiError;
use crate::state::guest_config::GuestConfig;
use crate::state::storage::{StorageKind, Storages, image_name};
use crate::state::volid::Volid;
use crate::state::{Host, access_file, guests};
use crate::task::worker::Worker;
use crate::volume::VolumeError;

/// Destroys a guest.
pub(crate) fn run(
    worker: &mut Worker,
    vmid: u32,
    (force, purge, unreferenced): (bool, bool, bool),
) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let _held = power::lock(worker, vmid)?;
    let config = guests::load(&host, vmid)?;
    guests::check_lock(&config)?;
    if config.current.flag("protection") {
        return Err(ApiError::die(format!("can't remove CT {vmid} - protection mode enabled")));
    }
    if machine::running(&host, vmid).is_some() {
        if !force {
            return Err(ApiError::die(format!("unable to destroy CT {vmid} - container is running")));
        }
        machine::stop(&host, vmid)?;
    }
    free_volumes(&host, vmid, &config)?;
    if unreferenced {
        free_unreferenced(&host, vmid)?;
    }
    if purge {
        worker.say(format!("purging CT {vmid} from related configurations.."));
    }
    access_file::update(&host, |access| {
        access.forget_guest(vmid);
        Ok(())
    })?;
    machine::forget_addresses(&host, vmid)?;
    guests::remove(&host, vmid)
}

/// Volumes of the configuration and of its snapshots; not those of other guests.
pub(crate) fn free_volumes(host: &Host, vmid: u32, config: &GuestConfig) -> Result<(), ApiError> {
    let snapshots = config.snapshots.values().flat_map(|s| s.volids());
    let all: BTreeSet<String> = config.current.volids().into_iter().chain(snapshots).collect();
    for volid in all {
        let Ok(parsed) = Volid::parse(&volid) else { continue };
        let storages = Storages::load(host)?;
        let (Ok(storage), Ok(name)) = (storages.get(&parsed.storage), image_name(&parsed)) else { continue };
        if name.vmid != vmid {
            continue;
        }
        match storage.images().free(&name) {
            // F84: on btrfs a missing volume stops the removal, on dir it is skipped.
            Err(VolumeError::Missing(_)) if storage.kind == StorageKind::Dir => {}
            other => other?,
        }
    }
    Ok(())
}

fn free_unreferenced(host: &Host, vmid: u32) -> Result<(), ApiError> {
    for storage in Storages::load(host)?.0.iter().filter(|s| s.holds("rootdir") && !s.disabled()) {
        for info in storage.images().list(Some(vmid))? {
            disks::free(host, &format!("{}:{}", storage.id, info.name))?;
        }
    }
    Ok(())
}
