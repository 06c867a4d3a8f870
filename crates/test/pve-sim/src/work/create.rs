//! `vzrestore` and `vzcreate` (F55–F60, F69, F74, F76, F77).
//!
//! ```text
//! the archive's configuration → rights on its nets → volumes → unpack → merge configurations → write → pool
//! ```
//! Until the last write the guest's file is `lock: create` and nothing else. A failure takes volumes and file away again; a
//! SIGKILL leaves everything as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{CreateJob, Job, disks, merge, power, settings, tar};
use crate::api::lxc::perms::{check_bridge, is_net, new_disk};
use crate::archive;
use crate::error::ApiError;
use crate::perm;
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::property::{MountPoint, format_size};
use crate::state::storage::Storages;
use crate::state::{access_file, guests};
use crate::task::spawn;
use crate::task::worker::Worker;

/// Makes a guest.
pub(crate) fn run(worker: &mut Worker, job: &CreateJob) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let held = power::lock(worker, job.vmid)?;
    let mut made = Vec::new();
    if let Err(error) = build(worker, job, &mut made) {
        for volid in &made {
            disks::free(&host, volid)?;
        }
        guests::remove(&host, job.vmid)?;
        let verb = if job.restore { "restore" } else { "create" };
        return Err(error.prefixed(&format!("unable to {verb} CT {} - ", job.vmid)));
    }
    if let Some(pool) = &job.pool {
        access_file::update(&host, |access| {
            if let Some(pool) = access.pools.get_mut(pool) {
                pool.vms.insert(job.vmid);
            }
            Ok(())
        })?;
    }
    drop(held);
    if job.start {
        spawn::start_nested(
            &host,
            "vzstart",
            &job.vmid.to_string(),
            worker.authid(),
            Job::Start { vmid: job.vmid },
        )?;
    }
    Ok(())
}

fn build(worker: &mut Worker, job: &CreateJob, made: &mut Vec<String>) -> Result<(), ApiError> {
    let archive = archive_path(worker, job)?;
    let old = if job.restore { recover(worker, job, &archive)? } else { Section::default() };
    let mut config = Section::default();
    for (key, value) in &job.options {
        config.set(key, if is_net(key) { settings::net_value(value)? } else { value.clone() });
    }
    if job.unprivileged.unwrap_or_else(|| old.flag("unprivileged")) {
        config.set("unprivileged", "1");
    } else if old.flag("unprivileged") {
        let access = access_file::load(&worker.host)?;
        perm::check(&access, worker.authid(), "/", &["Sys.Modify"])?;
    }
    let (wanted, delayed) = mount_points(worker, job, &old)?;
    let trees = make_volumes(worker, job, (&wanted, &mut config), made)?;
    unpack(worker, job, &archive, trees.clone())?;
    if job.restore {
        worker.say("merging backed-up and given configuration..");
        let skipped = merge::merge(&mut config, &old, worker.is_root(), job.unique)?;
        if !skipped.is_empty() {
            worker.warn("skipping custom lxc options, restore manually as root:");
            worker.say("--------------------------------");
            skipped.iter().for_each(|line| worker.say(line));
            worker.say("--------------------------------");
        }
        remove_vzdump_files(&trees);
    }
    finish(worker, job, config, delayed)
}

fn archive_path(worker: &mut Worker, job: &CreateJob) -> Result<PathBuf, ApiError> {
    if job.restore {
        worker.say(format!("recovering backed-up configuration from '{}'", job.archive));
    }
    let storages = Storages::load(&worker.host)?;
    let (storage, path) = storages.path_of(&job.archive)?;
    storage.activate(&worker.host)?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(ApiError::die(format!("volume '{}' does not exist", job.archive)))
    }
}

fn recover(worker: &Worker, job: &CreateJob, archive: &Path) -> Result<Section, ApiError> {
    let text = archive::read_config(archive).map_err(|e| ApiError::die(e.to_string()))?.config;
    let old = GuestConfig::parse(&text).current;
    if !worker.is_root() {
        let access = access_file::load(&worker.host)?;
        for (key, value) in old.values.iter().filter(|(k, _)| is_net(k) && !job.options.contains_key(*k)) {
            let _ = key;
            check_bridge(&access, worker.authid(), value)?;
        }
    }
    Ok(old)
}

type Values = BTreeMap<String, MountPoint>;

/// What volumes to make: those given, or else the archive's layout on one storage (F57). Bind mounts come afterwards, for root.
fn mount_points(
    worker: &Worker,
    job: &CreateJob,
    old: &Section,
) -> Result<(Vec<(String, MountPoint)>, Values), ApiError> {
    let mut delayed = Values::new();
    if !job.mount_points.is_empty() {
        let mut section = Section::default();
        section.values.extend(job.mount_points.clone());
        let (volumes, others): (Vec<_>, Vec<_>) =
            section.mount_points().into_iter().partition(|(_, m)| m.is_volume());
        delayed.extend(others);
        return Ok((volumes, delayed));
    }
    if !job.restore {
        let mount = MountPoint::parse("rootfs", &format!("{}:4", job.storage)).map_err(ApiError::die)?;
        return Ok((vec![("rootfs".into(), mount)], delayed));
    }
    let mut wanted = Vec::new();
    for (key, mut mount) in old.mount_points() {
        if mount.is_volume() {
            let bytes = mount.size().ok_or_else(|| {
                ApiError::die(format!("unable to detect disk size - please specify {key} (size)"))
            })?;
            #[expect(clippy::cast_precision_loss)]
            let gigabytes = bytes as f64 / f64::from(1 << 30);
            mount.volume = format!("{}:{gigabytes}", job.storage);
            mount.options.remove("size");
            wanted.push((key, mount));
        } else if key == "rootfs" {
            let kind = mount.kind();
            return Err(ApiError::die(format!(
                "restoring rootfs to {kind} mount is only possible by specifying -rootfs manually!"
            )));
        } else if !worker.is_root() {
            return Err(ApiError::die(format!(
                "restoring '{key}' to {} mount is only possible for root",
                mount.kind()
            )));
        } else {
            delayed.insert(key, mount);
        }
    }
    if !wanted.iter().any(|(key, _)| key == "rootfs") {
        return Err(ApiError::die(
            "rootfs configuration could not be recovered, please check and specify manually!",
        ));
    }
    Ok((wanted, delayed))
}

/// Makes the volumes in PVE's order and writes them into the configuration. Answers mount paths and directories.
fn make_volumes(
    worker: &mut Worker,
    job: &CreateJob,
    (wanted, config): (&[(String, MountPoint)], &mut Section),
    made: &mut Vec<String>,
) -> Result<Vec<(String, PathBuf)>, ApiError> {
    let mut trees = Vec::new();
    for (key, mount) in wanted {
        let mut mount = mount.clone();
        if let Some((storage, gigabytes)) = new_disk(&mount.volume) {
            let bytes = disks::bytes(gigabytes);
            let volid = disks::allocate(&worker.host, storage, job.vmid, bytes)?;
            made.push(volid.clone());
            disks::say_created(worker, &volid, bytes)?;
            mount.volume = volid;
            mount.options.set("size", format_size(bytes));
        }
        let (_, path) = Storages::load(&worker.host)?.path_of(&mount.volume)?;
        trees.push((mount.mp.clone(), path));
        config.set(key, mount.to_text(key));
        worker.check_stop()?;
    }
    Ok(trees)
}

fn unpack(
    worker: &mut Worker,
    job: &CreateJob,
    archive: &Path,
    trees: Vec<(String, PathBuf)>,
) -> Result<(), ApiError> {
    if job.restore {
        worker.say(format!("restoring '{}' now..", job.archive));
    }
    worker.say(format!("extracting archive '{}'", archive.display()));
    let started = Instant::now();
    let storages = Storages::load(&worker.host)?;
    let below = trees.iter().filter_map(|(_, tree)| storages.below(tree)).collect();
    let done = tar::call(worker, &tar::Order::Extract { archive: archive.to_path_buf(), trees, below })?;
    worker.say(format!("Total bytes read: {}", tar::totals(done.bytes, started.elapsed().as_secs_f64())));
    Ok(())
}

/// The archive carries its configuration inside; it does not stay in the guest.
fn remove_vzdump_files(trees: &[(String, PathBuf)]) {
    if let Some((_, rootfs)) = trees.iter().find(|(mount, _)| mount == "/") {
        let dir = rootfs.join("etc/vzdump");
        let is_real = |p: &Path| p.symlink_metadata().is_ok_and(|m| m.is_dir());
        if is_real(&rootfs.join("etc")) && is_real(&dir) {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn finish(worker: &Worker, job: &CreateJob, mut config: Section, delayed: Values) -> Result<(), ApiError> {
    for (key, default) in
        [("hostname", format!("CT{}", job.vmid)), ("memory", "512".into()), ("swap", "512".into())]
    {
        config.values.entry(key.to_owned()).or_insert(default);
    }
    for (key, default) in [("arch", "amd64"), ("ostype", "debian")] {
        config.values.entry(key.to_owned()).or_insert_with(|| default.to_owned());
    }
    if config.get("description") == Some("") {
        config.values.remove("description");
    }
    for (key, mount) in delayed {
        config.set(&key, mount.to_text(&key));
    }
    guests::save(&worker.host, job.vmid, &GuestConfig { current: config, ..GuestConfig::default() })
}
