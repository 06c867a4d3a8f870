//! `vzrestore` and `vzcreate` (F55–F60, F69, F70, F74–F77, F80).
//!
//! ```text
//! locked   the archive's configuration → rights on its nets → layout
//! disks    new volumes → an overwritten guest's old volumes go, with all that is on them (F55)
//! unpack   tar → merged configuration
//! config   the guest's file is written as a whole
//! pool     the pool gets its entry
//! ```
//! Until `config` the file of a new guest is `lock: create` and nothing else (F76). A failure before `disks` leaves an existing
//! guest as it was; one after it takes new volumes and configuration away, whoever's they were (F56). A SIGKILL leaves everything
//! as it is at that moment (F77).

mod layout;
mod unpack;

use std::path::{Path, PathBuf};

use super::{CreateJob, Job, disks, guest_os, hook, machine, merge, power, settings};
use crate::api::lxc::perms::{check_bridge, is_net};
use crate::archive;
use crate::destroyed::{self, Kind};
use crate::error::ApiError;
use crate::perm;
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::storage::{StorageKind, Storages};
use crate::state::volid::Volid;
use crate::state::{access_file, atomic, guests};
use crate::task::spawn;
use crate::task::worker::Worker;
use crate::volume::VolumeError;

/// What an attempt has done so far.
#[derive(Debug)]
struct Attempt {
    /// New volumes.
    made: Vec<String>,
    /// Whether a failure takes the guest's configuration away.
    destroy: bool,
}

/// What an archive carries besides files.
#[derive(Debug, Default)]
struct Carried {
    config: Section,
    firewall: Option<Vec<u8>>,
}

/// Makes a guest.
pub(crate) fn run(worker: &mut Worker, job: &CreateJob) -> Result<(), ApiError> {
    let mut attempt = Attempt { made: Vec::new(), destroy: !job.overwrite };
    if let Err(error) = locked(worker, job, &mut attempt) {
        if !attempt.destroy {
            guests::clear_lock(&worker.host, job.vmid, Some("create"))?;
        }
        return Err(error);
    }
    if job.start {
        start(worker, job.vmid)?;
    }
    Ok(())
}

/// F36: the start is a task of its own, which nobody waits for.
fn start(worker: &Worker, vmid: u32) -> Result<(), ApiError> {
    if machine::running(&worker.host, vmid).is_some() {
        return Err(ApiError::die(format!("CT {vmid} already running")));
    }
    let authid = worker.authid().to_owned();
    spawn::start_nested(
        &worker.host,
        "vzstart",
        &vmid.to_string(),
        &authid,
        Job::Start { vmid, skiplock: false },
    )
    .map(drop)
}

fn locked(worker: &mut Worker, job: &CreateJob, attempt: &mut Attempt) -> Result<(), ApiError> {
    let _held = power::lock(worker, job.vmid)?;
    if let Err(error) = build(worker, job, attempt) {
        clean_up(worker, job, attempt);
        let verb = if job.restore { "restore" } else { "create" };
        return Err(error.prefixed(&format!("unable to {verb} CT {} - ", job.vmid)));
    }
    worker.phase("pool")?;
    let Some(pool) = &job.pool else { return Ok(()) };
    access_file::update(&worker.host, |access| {
        if let Some(pool) = access.pools.get_mut(pool) {
            pool.vms.insert(job.vmid);
        }
        Ok(())
    })
}

/// F56: also a guest that was there before is gone then; what pool and ACL say of it stays.
fn clean_up(worker: &mut Worker, job: &CreateJob, attempt: &Attempt) {
    let host = worker.host.clone();
    let mut all = Vec::new();
    all.extend(attempt.made.iter().map(|volid| disks::free(&host, volid)));
    if attempt.destroy {
        let note = if job.overwrite { destroyed::note } else { destroyed::note_own };
        all.push(note(&host, Kind::Guest, &job.vmid.to_string()).map_err(ApiError::from));
        all.push(guests::remove(&host, job.vmid));
        if !job.keep_firewall {
            all.push(guests::remove_firewall(&host, job.vmid));
        }
    }
    for error in all.into_iter().filter_map(Result::err) {
        worker.say(error.message);
    }
}

fn build(worker: &mut Worker, job: &CreateJob, attempt: &mut Attempt) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let old = guests::load(&host, job.vmid)?;
    worker.phase("locked")?;
    let mut config = Section::default();
    for (key, value) in &job.options {
        config.set(key, if is_net(key) { settings::net_value(value)? } else { value.clone() });
    }
    if job.unprivileged == Some(true) {
        config.set("unprivileged", "1");
    }
    let mut carried = Carried::default();
    if job.restore {
        if machine::running(&host, job.vmid).is_some() {
            return Err(ApiError::die("can't overwrite running container"));
        }
        carried = recover(worker, job)?;
        decide_privileges(worker, job, &old.current, (&carried.config, &mut config))?;
    }
    let (wanted, delayed) = layout::wanted(worker, job, &carried.config)?;
    // Up to here only the lock was written.
    attempt.destroy = true;
    worker.phase("disks")?;
    let trees = layout::make(worker, job, (&wanted, &mut config), &mut attempt.made)?;
    free_old(worker, job, &old)?;
    worker.phase("unpack")?;
    if job.restore {
        unpack::archive(worker, job, config.flag("unprivileged"), &trees)?;
        worker.say("merging backed-up and given configuration..");
        merge_carried(worker, job, &mut config, &carried)?;
    } else {
        unpack::template(worker, job, config.flag("unprivileged"), &trees)?;
        let rootfs = trees.iter().find(|tree| tree.mount == "/").map(|tree| tree.path.clone());
        if let Some(rootfs) = &rootfs {
            guest_os::warn_of_release(worker, rootfs);
        }
        detect(worker, &mut config);
        set_timezone(worker, &config, &trees)?;
        // What the guest is in case that the rest fails: without lock, without defaults.
        guests::save(&host, job.vmid, &GuestConfig { current: config.clone(), ..GuestConfig::default() })?;
        if let Some(rootfs) = &rootfs {
            guest_os::make_host_keys(worker, rootfs, config.get("hostname").unwrap_or("localhost"))?;
        }
    }
    worker.phase("config")?;
    finish(worker, job, config, delayed)
}

/// The archive's configuration, and whether the caller may use its nets.
fn recover(worker: &mut Worker, job: &CreateJob) -> Result<Carried, ApiError> {
    worker.say(format!("recovering backed-up configuration from '{}'", job.archive));
    let path = archive_path(worker, job)?;
    let read = archive::read_config(&path).map_err(|e| ApiError::die(e.to_string()))?;
    unpack::complain_of_short_archive(worker, &path);
    let config = GuestConfig::parse(&read.config).current;
    if !worker.is_root() {
        let access = access_file::load(&worker.host)?;
        for (_, value) in config.values.iter().filter(|(k, _)| is_net(k) && !job.options.contains_key(*k)) {
            check_bridge(&access, worker.authid(), value)?;
        }
    }
    if config.flag("template") {
        return Err(ApiError::die("restoring a template is not implemented by this simulator"));
    }
    Ok(Carried { config, firewall: read.firewall })
}

fn archive_path(worker: &Worker, job: &CreateJob) -> Result<PathBuf, ApiError> {
    let storages = Storages::load(&worker.host)?;
    let (storage, path) = storages.path_of(&job.archive)?;
    storage.activate(&worker.host)?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(ApiError::die(format!("volume '{}' does not exist", job.archive)))
    }
}

/// rec2 839: a privileged guest needs Sys.Modify, which is noticed only here; not where an existing one was privileged already.
fn decide_privileges(
    worker: &Worker,
    job: &CreateJob,
    before: &Section,
    (carried, config): (&Section, &mut Section),
) -> Result<(), ApiError> {
    if job.unprivileged.is_none()
        && let Some(value) = carried.get("unprivileged")
    {
        config.set("unprivileged", value);
    }
    if (!job.overwrite || before.flag("unprivileged")) && !config.flag("unprivileged") {
        let access = access_file::load(&worker.host)?;
        perm::check(&access, worker.authid(), "/", &["Sys.Modify"])?;
    }
    Ok(())
}

/// F55: every volume that an overwritten guest's configuration names goes, snapshots on it too; the log does not mention it.
fn free_old(worker: &mut Worker, job: &CreateJob, old: &GuestConfig) -> Result<(), ApiError> {
    let vmid = job.vmid;
    let mut volids = old.current.volids();
    volids.extend(old.pending.volids());
    let mut seen = std::collections::BTreeSet::new();
    for volid in volids.into_iter().filter(|v| seen.insert(v.clone())) {
        let parsed = Volid::parse(&volid)?;
        if parsed.parts()?.vmid != Some(vmid) {
            worker.say(format!("ignore deletion of '{volid}', CT {vmid} isn't the owner!"));
            continue;
        }
        let storages = Storages::load(&worker.host)?;
        let storage = storages.get(&parsed.storage)?;
        match disks::free_noted((&worker.host, storage), &parsed, destroyed::note)? {
            // F84: on btrfs a missing volume is an error, on dir it is skipped.
            Err(VolumeError::Missing(_)) if storage.kind == StorageKind::Dir => {}
            other => other?,
        }
    }
    if job.overwrite {
        destroyed::note(&worker.host, Kind::Guest, &vmid.to_string())?;
    }
    let mut replaced = GuestConfig::default();
    replaced.current.set("lock", "create");
    guests::save(&worker.host, vmid, &replaced)
}

/// F74: everything that was not passed, and the firewall file.
fn merge_carried(
    worker: &mut Worker,
    job: &CreateJob,
    config: &mut Section,
    carried: &Carried,
) -> Result<(), ApiError> {
    let merged = merge::merge(config, &carried.config, worker.is_root(), job.unique)?;
    if merged.features_skipped {
        worker.say("changing from unprivileged to privileged, skipping features");
    }
    if !merged.lxc.is_empty() {
        worker.warn("skipping custom lxc options, restore manually as root:");
        worker.say("--------------------------------");
        merged.lxc.iter().for_each(|line| worker.say(line));
        worker.say("--------------------------------");
    }
    let Some(firewall) = &carried.firewall else { return Ok(()) };
    let path = worker.host.dir.guest_firewall(job.vmid);
    if !job.keep_firewall {
        return Ok(atomic::write(&path, firewall)?);
    }
    // Unrecorded: PVE/LXC/Create.pm:590-600 of pve-container 6.1.10.
    worker.say(format!(
        "ignoring firewall config from backup archive's '/var/lib/lxc/{}/rootfs/etc/vzdump/pct.fw', lacking API \
         permission to modify firewall.",
        job.vmid
    ));
    if path.exists() {
        worker
            .say(format!("old firewall configuration in '/etc/pve/firewall/{}.fw' left in place!", job.vmid));
    }
    Ok(())
}

/// What a template is.
fn detect(worker: &mut Worker, config: &mut Section) {
    if config.get("arch").is_none() {
        worker.say("Detected container architecture: amd64");
        config.set("arch", "amd64");
    }
    if config.get("ostype").is_none() {
        config.set("ostype", "debian");
    }
}

/// rec2 3: a time zone needs its file in the guest.
fn set_timezone(worker: &mut Worker, config: &Section, trees: &[layout::Mounted]) -> Result<(), ApiError> {
    let Some(zone) = config.get("timezone") else { return Ok(()) };
    let Some(rootfs) = trees.iter().find(|t| t.mount == "/") else { return Ok(()) };
    let file = format!("usr/share/zoneinfo/{zone}");
    let plain = zone.split('/').all(|part| !part.is_empty() && part != "..");
    if !plain || !rootfs.path.join(&file).is_file() {
        worker.say(format!("container does not have /{file}, timezone can not be modified"));
        return Ok(());
    }
    let link = rootfs.path.join("etc/localtime");
    drop(std::fs::remove_file(&link));
    Ok(std::os::unix::fs::symlink(format!("/{file}"), link)?)
}

fn finish(
    worker: &Worker,
    job: &CreateJob,
    mut config: Section,
    delayed: layout::Delayed,
) -> Result<(), ApiError> {
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

/// Whether an option can be set to this value at all: checked before the task (`update_pct_config`).
///
/// # Errors
/// For a hookscript that does not exist.
pub(crate) fn check_options(
    host: &crate::state::Host,
    options: &std::collections::BTreeMap<String, String>,
) -> Result<(), ApiError> {
    match options.get("hookscript") {
        Some(volid) => hook::check(host, volid).map(|_: PathBuf| ()),
        None => Ok(()),
    }
}

/// A path without what would lead out of the guest's root.
fn mount_path(text: &str) -> String {
    let parts = Path::new(text).components().filter_map(|part| match part {
        std::path::Component::Normal(part) => part.to_str(),
        _ => None,
    });
    format!("/{}", parts.collect::<Vec<_>>().join("/"))
}
