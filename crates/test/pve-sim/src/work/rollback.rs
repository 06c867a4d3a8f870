//! `vzrollback` (F51, F53, F100): back to a snapshot's volumes and configuration.
//!
//! ```text
//! check → end the guest, lock `rollback` → each volume → the snapshot's configuration, lock gone → perhaps start, in a task of its own
//! ```
//! What the snapshot does not know (volumes added since) becomes `unusedN`; the description and pending changes are not the
//! snapshot's: the one stays, the others go.

use super::{Job, machine, snapshot};
use crate::destroyed::{self, Kind};
use crate::error::ApiError;
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::guests;
use crate::state::storage::{Storages, image_name};
use crate::state::volid::Volid;
use crate::task::spawn;
use crate::task::worker::Worker;

/// The `vzrollback` task.
pub(crate) fn run(worker: &mut Worker, vmid: u32, name: &str, start: bool) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let entry = prepare(worker, vmid, name)?;
    worker.phase("prepared")?;
    let storages = Storages::load(&host)?;
    for volid in volumes(&entry) {
        let volid = Volid::parse(&volid)?;
        destroyed::note(&host, Kind::Contents, &volid.to_string())?;
        storages.get(&volid.storage)?.images().rollback(&image_name(&volid)?, name)?;
        worker.phase("volume")?;
    }
    {
        let _held = super::power::lock(worker, vmid)?;
        let mut config = guests::load(&host, vmid)?;
        let entry = complete(&config, name)?.clone();
        if machine::running(&host, vmid).is_some() {
            return Err(ApiError::die(format!("unable to rollback vm {vmid}: vm is running")));
        }
        if config.current.get("lock") != Some("rollback") {
            return Err(ApiError::die("got wrong lock"));
        }
        apply(&mut config, &entry, name)?;
        guests::save(&host, vmid, &config)?;
    }
    if !start {
        return Ok(());
    }
    if machine::running(&host, vmid).is_some() {
        return Err(ApiError::die(format!("CT {vmid} already running")));
    }
    spawn::start_nested(
        &host,
        "vzstart",
        &vmid.to_string(),
        worker.authid(),
        Job::Start { vmid, skiplock: false },
    )
    .map(drop)
}

/// The entry, if one can go back to it.
fn complete<'a>(config: &'a GuestConfig, name: &str) -> Result<&'a Section, ApiError> {
    if config.current.flag("template") {
        return Err(ApiError::die("you can't rollback if vm is a template"));
    }
    let entry = config.snapshots.get(name).ok_or_else(|| snapshot::missing(name))?;
    match entry.get("snapstate") {
        // F100.
        Some(state) => {
            Err(ApiError::die(format!("unable to rollback to incomplete snapshot (snapstate = {state})")))
        }
        None => Ok(entry),
    }
}

fn volumes(entry: &Section) -> Vec<String> {
    entry.mount_points().into_iter().filter(|(_, m)| m.is_volume()).map(|(_, m)| m.volume).collect()
}

fn prepare(worker: &mut Worker, vmid: u32, name: &str) -> Result<Section, ApiError> {
    let host = worker.host.clone();
    let _held = super::power::lock(worker, vmid)?;
    let mut config = guests::load(&host, vmid)?;
    let entry = complete(&config, name)?.clone();
    let storages = Storages::load(&host)?;
    for volid in volumes(&entry) {
        storages.get(&Volid::parse(&volid)?.storage)?.activate(&host)?;
    }
    guests::check_lock(&config)?;
    super::power::kill(worker, vmid)?;
    config.current.set("lock", "rollback");
    guests::save(&host, vmid, &config)?;
    Ok(entry)
}

/// The snapshot's options, with the description and the unused volumes of now (rec 962).
fn apply(config: &mut GuestConfig, entry: &Section, name: &str) -> Result<(), ApiError> {
    let (known, old) = (volumes(entry), config.current.clone());
    let mut new = snapshot::copied(entry);
    for (key, value) in old.values.iter().filter(|(k, _)| *k == "description" || k.starts_with("unused")) {
        new.set(key, value.clone());
    }
    for volid in volumes(&old).iter().filter(|v| !known.contains(v)) {
        new.add_unused(volid)?;
    }
    new.set("parent", name);
    config.current = new;
    config.pending = Section::default();
    Ok(())
}
