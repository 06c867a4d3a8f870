//! The `vzdestroy` task (F45, F78, F84, F87): what the configuration names goes, what it does not name stays.

use std::collections::BTreeSet;

use super::{disks, machine, power};
use crate::destroyed::{self, Kind};
use crate::error::ApiError;
use crate::state::guest_config::GuestConfig;
use crate::state::storage::Storages;
use crate::state::volid::Volid;
use crate::state::{access_file, guests, jobs};
use crate::task::worker::Worker;

/// Destroys a guest.
pub(crate) fn run(
    worker: &mut Worker,
    vmid: u32,
    (force, purge, unreferenced): (bool, bool, bool),
) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let _held = power::lock(worker, vmid)?;
    let config = guests::load(&host, vmid)?;
    if config.current.flag("protection") {
        return Err(ApiError::die(format!("can't remove CT {vmid} - protection mode enabled")));
    }
    guests::check_lock(&config)?;
    if machine::running(&host, vmid).is_some() {
        if !force {
            return Err(ApiError::die(format!("unable to destroy CT {vmid} - container is running")));
        }
        worker.say(format!("forced to stop CT {vmid} before destroying!"));
        power::kill(worker, vmid)?;
    }
    free_volumes(worker, vmid, &config)?;
    if unreferenced {
        free_unreferenced(worker, vmid)?;
    }
    let mut left = GuestConfig::default();
    left.current.set("lock", "destroyed");
    guests::save(&host, vmid, &left)?;
    worker.phase("freed")?;
    access_file::update(&host, |access| {
        access.forget_guest(vmid);
        Ok(())
    })?;
    if purge {
        worker.say(format!("purging CT {vmid} from related configurations.."));
        jobs::update(&worker.host, |jobs| {
            jobs.forget(vmid);
            Ok(())
        })?;
    }
    machine::forget_addresses(&host, vmid)?;
    guests::remove_firewall(&host, vmid)?;
    destroyed::note(&host, Kind::Guest, &vmid.to_string())?;
    guests::remove(&host, vmid)
}

/// Volumes of the configuration and of its pending changes, each with its snapshots; not what only a snapshot refers to.
fn free_volumes(worker: &mut Worker, vmid: u32, config: &GuestConfig) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let mut done = BTreeSet::new();
    for volid in config.current.volids().into_iter().chain(config.pending.volids()) {
        if done.insert(volid.clone()) {
            disks::remove(&host, vmid, &volid, &mut |text| worker.say(text))?;
            worker.phase("volume")?;
        }
    }
    Ok(())
}

/// All volumes that carry the VMID, on every storage that takes guests' volumes. What cannot be removed is only mentioned.
fn free_unreferenced(worker: &mut Worker, vmid: u32) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let storages = Storages::load(&host)?;
    for storage in storages.0.iter().filter(|s| s.holds("rootdir") && !s.disabled()) {
        for info in storage.images().list(Some(vmid))? {
            let volid = Volid::parse(&storage.volid(&info.name))?;
            if let Err(error) = disks::remove_image(&host, storage, &volid, &mut |text| worker.say(text)) {
                worker.say(error.to_string());
            }
        }
    }
    Ok(())
}
