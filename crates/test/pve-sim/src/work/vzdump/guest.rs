//! One guest's backup: checks, files, log, and what is cleaned up whatever happens.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use super::{VzdumpJob, archive, modes, retention};
use crate::api::content::check_protected_limit;
use crate::api::volumes::{self, Backup, notes_path, protected_path};
use crate::clock;
use crate::error::ApiError;
use crate::perm;
use crate::state::storage::Storage;
use crate::state::{Host, access_file, atomic, guests};
use crate::task::log::Log;
use crate::task::worker::Worker;
use crate::work::{disks, prune};

/// One guest's backup under way.
#[derive(Debug)]
pub(super) struct Task<'a> {
    /// The order.
    pub(super) job: &'a VzdumpJob,
    /// The target.
    pub(super) storage: &'a Storage,
    /// The guest.
    pub(super) vmid: u32,
    /// `dump/vzdump-lxc-ID-TIME`, to which suffixes are added.
    pub(super) stem: PathBuf,
    /// The archive's own log, once there is one.
    log: Option<Log>,
}

impl Task<'_> {
    /// A file of this backup.
    pub(super) fn file(&self, suffix: &str) -> PathBuf {
        let mut name = self.stem.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// The finished archive.
    pub(super) fn archive(&self) -> PathBuf {
        self.file(if self.job.zstd { ".tar.zst" } else { ".tar" })
    }

    /// A line in both logs.
    pub(super) fn say(&mut self, worker: &mut Worker, text: &str) {
        worker.say(format!("INFO: {text}"));
        self.note(&worker.host, "INFO", text);
    }

    fn note(&mut self, host: &Host, level: &str, text: &str) {
        if let Some(log) = &mut self.log {
            log.line(&format!("{} {level}: {text}", stamp(host)));
        }
    }
}

/// Local time as the log has it.
pub(super) fn stamp(host: &Host) -> String {
    clock::local(host).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Backs one guest up; answers whether that went well. Errors are in the log.
pub(super) fn back_up(worker: &mut Worker, job: &VzdumpJob, storage: &Storage, vmid: u32) -> bool {
    let name = clock::local(&worker.host).strftime("%Y_%m_%d-%H_%M_%S");
    let stem = storage.dump_dir().join(format!("vzdump-lxc-{vmid}-{name}"));
    let mut task = Task { job, storage, vmid, stem, log: None };
    let started = Instant::now();
    match attempt(worker, &mut task) {
        Ok(()) => {
            let text = format!("Finished Backup of VM {vmid} ({})", duration(started.elapsed().as_secs()));
            task.say(worker, &text);
            worker.say(format!("INFO: Backup finished at {}", stamp(&worker.host)));
            true
        }
        Err(error) => {
            let text = format!("Backup of VM {vmid} failed - {error}");
            worker.say(format!("ERROR: {text}"));
            task.note(&worker.host, "ERROR", &text);
            worker.say(format!("INFO: Failed at {}", stamp(&worker.host)));
            false
        }
    }
}

fn duration(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn attempt(worker: &mut Worker, task: &mut Task<'_>) -> Result<(), ApiError> {
    let vmid = task.vmid;
    if !guests::exists(&worker.host, vmid) {
        return Err(ApiError::die(format!("unable to find VM '{vmid}'")));
    }
    let keep = retention(worker, task.job, task.storage)?;
    check_limits(worker, task, &keep)?;
    worker.say(format!("INFO: Starting Backup of VM {vmid} (lxc)"));
    worker.say(format!("INFO: Backup started at {}", stamp(&worker.host)));
    let log = task.file(".log");
    atomic::write(&log, b"")?;
    task.log = Some(Log::open(&log)?);
    task.note(&worker.host, "INFO", &format!("Starting Backup of VM {vmid} (lxc)"));
    let mut quiet = modes::Quiet::default();
    let made = modes::prepare(worker, task, &mut quiet).and_then(|source| {
        archive::make(worker, task, &source, &mut quiet)?;
        label(worker, task)?;
        prune_older(worker, task, &keep)
    });
    if made.is_err() {
        let _ = fs::remove_file(task.file(".tar.dat"));
    }
    let cleaned = quiet.undo(worker, task);
    made.and(cleaned)
}

/// F67, F72: both limits are noticed before anything is archived.
fn check_limits(worker: &Worker, task: &Task<'_>, keep: &prune::Keep) -> Result<(), ApiError> {
    if task.job.protected {
        let access = access_file::load(&worker.host)?;
        let path = format!("/storage/{}", task.storage.id);
        let unlimited = perm::has(&access, worker.authid(), &path, "Datastore.Allocate");
        return check_protected_limit(task.storage, Some(task.vmid), unlimited);
    }
    let Some(limit) = keep.limit().filter(|_| !task.job.remove) else { return Ok(()) };
    let count = own(task)?.iter().filter(|b| !b.protected).count() as u64;
    if count < limit {
        return Ok(());
    }
    Err(ApiError::die(format!(
        "There is a max backup limit of {limit} enforced by the target storage or the vzdump parameters. \
         Either increase the limit or delete old backups."
    )))
}

/// This guest's archives on the target, the newest first.
fn own(task: &Task<'_>) -> Result<Vec<Backup>, ApiError> {
    let mut all: Vec<Backup> =
        volumes::backups(task.storage)?.into_iter().filter(|b| b.vmid == Some(task.vmid)).collect();
    all.sort_by(|a, b| (b.ctime, &b.file).cmp(&(a.ctime, &a.file)));
    Ok(all)
}

fn label(worker: &mut Worker, task: &mut Task<'_>) -> Result<(), ApiError> {
    let archive = task.archive();
    if let Some(template) = task.job.notes_template.clone() {
        task.say(worker, "adding notes to backup");
        let config = guests::load(&worker.host, task.vmid)?;
        let name = config.current.get("hostname").map_or_else(|| format!("CT{}", task.vmid), str::to_owned);
        let notes = template
            .replace("{{cluster}}", "standalone node")
            .replace("{{guestname}}", &name)
            .replace("{{node}}", &worker.host.node)
            .replace("{{vmid}}", &task.vmid.to_string())
            .replace("\\n", "\n")
            .replace("\\\\", "\\");
        atomic::write(&notes_path(&archive), notes.as_bytes())?;
    }
    if task.job.protected {
        task.say(worker, "marking backup as protected");
        atomic::write(&protected_path(&archive), b"")?;
    }
    Ok(())
}

/// A token without Datastore.Allocate prunes, too (F67).
fn prune_older(worker: &mut Worker, task: &mut Task<'_>, keep: &prune::Keep) -> Result<(), ApiError> {
    if !task.job.remove || keep.all() {
        return Ok(());
    }
    task.say(worker, &format!("prune older backups with retention: {}", keep.to_text()));
    let candidates: Vec<Backup> = own(task)?.into_iter().filter(|b| !b.protected).collect();
    let times: Vec<_> = candidates.iter().map(|b| prune::local(b.ctime)).collect();
    let gone = keep.remove(&times);
    for index in &gone {
        let volid = candidates[*index].volid(&task.storage.id);
        task.say(worker, &format!("removing backup '{volid}'"));
        disks::remove_archive(&task.storage.dump_dir().join(&candidates[*index].file))?;
    }
    let tail = if gone.is_empty() { "" } else { " not covered by keep-retention policy" };
    task.say(worker, &format!("pruned {} backup(s){tail}", gone.len()));
    Ok(())
}
