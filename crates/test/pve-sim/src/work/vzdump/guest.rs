//! One guest's backup: limits, files, log, the archive's side files, and prune.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use super::journal::{Journal, stamp};
use super::settings::Settings;
use super::undo::Undo;
use super::{Mode, archive, hook, modes};
use crate::api::content::PROTECTED_LIMIT;
use crate::api::volumes::{self, Backup, archive_time, notes_path, protected_path};
use crate::clock;
use crate::error::ApiError;
use crate::perm;
use crate::state::storage::StorageKind;
use crate::state::{access_file, atomic, guests};
use crate::task::worker::Worker;
use crate::work::{disks, machine, power, prune};

/// One guest's backup under way.
#[derive(Debug)]
pub(super) struct Task<'a> {
    /// What applies.
    pub(super) settings: &'a Settings,
    /// The guest.
    pub(super) vmid: u32,
    /// The mode: asked for, then chosen.
    pub(super) mode: Mode,
    /// `dump/vzdump-lxc-ID-TIME`, to which suffixes are added.
    pub(super) stem: PathBuf,
    /// Where the configuration lies for the archiver, and the copy of suspend mode.
    pub(super) tmp: PathBuf,
    /// The guest's name, once it is known.
    pub(super) hostname: Option<String>,
    /// When the guest was stopped or frozen.
    pub(super) offline: Option<Instant>,
    /// Its log.
    pub(super) journal: Journal,
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
        self.file(self.settings.compressor.extension())
    }

    /// The archive while it is written.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.file(self.settings.compressor.unfinished())
    }

    /// A line in both logs.
    pub(super) fn say(&mut self, worker: &mut Worker, text: &str) {
        self.journal.info(worker, text);
    }

    /// How long the guest was away.
    pub(super) fn online_again(&mut self, worker: &mut Worker) {
        let Some(since) = self.offline else { return };
        let seconds = since.elapsed().as_secs();
        let shown = if seconds == 0 { "<1".to_owned() } else { seconds.to_string() };
        self.say(worker, &format!("guest is online again after {shown} seconds"));
    }
}

/// Backs one guest up; answers whether that went well. Errors are in the log.
///
/// # Errors
/// `interrupted by signal`, if the task was asked to stop while no command ran. What interrupts a command ends this guest's
/// backup only: the next guest's begins (Unrecorded: PVE/VZDump.pm:1446 of pve-manager).
pub(super) fn back_up(worker: &mut Worker, settings: &Settings, vmid: u32) -> Result<bool, ApiError> {
    let name = clock::local(&worker.host).strftime("%Y_%m_%d-%H_%M_%S");
    let mut task = Task {
        settings,
        vmid,
        mode: settings.mode,
        stem: settings.dumpdir.join(format!("vzdump-lxc-{vmid}-{name}")),
        tmp: PathBuf::new(),
        hostname: None,
        offline: None,
        journal: Journal::default(),
    };
    let started = Instant::now();
    let mut undo = Undo::default();
    let made = attempt(worker, &mut task, &mut undo);
    undo.run(worker, &mut task);
    let _ = fs::remove_file(task.unfinished());
    if !task.tmp.as_os_str().is_empty() {
        let _ = crate::volume::copy::remove_tree(&task.tmp);
    }
    let signal = match &made {
        Ok(()) => {
            let text = format!("Finished Backup of VM {vmid} ({})", duration(started.elapsed().as_secs()));
            task.say(worker, &text);
            worker.say(format!("INFO: Backup finished at {}", stamp(&worker.host)));
            false
        }
        Err(error) => {
            task.journal.error(worker, &format!("Backup of VM {vmid} failed - {error}"));
            worker.say(format!("INFO: Failed at {}", stamp(&worker.host)));
            if let Err(error) = hook::inner(worker, &mut task, "backup-abort") {
                task.journal.warn(worker, &error.message);
            }
            error.message == "interrupted by signal"
        }
    };
    let log = task.file(".log");
    task.journal.publish(worker, &log, &settings.shown(&worker.host, &log));
    if let Err(error) = hook::inner(worker, &mut task, "log-end") {
        worker.warn(&error.message);
    }
    match made {
        Err(error) if signal => {
            worker.take_stop();
            Err(error)
        }
        made => Ok(made.is_ok()),
    }
}

fn duration(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn attempt(worker: &mut Worker, task: &mut Task<'_>, undo: &mut Undo) -> Result<(), ApiError> {
    let vmid = task.vmid;
    if !guests::exists(&worker.host, vmid) {
        return Err(ApiError::die(format!("unable to find VM '{vmid}'")));
    }
    check_limits(worker, task)?;
    let _ = fs::remove_file(task.unfinished());
    make_tmp(worker, task)?;
    task.journal.begin(&worker.host.dir.root().join(format!("var/log/vzdump/lxc-{vmid}.log")))?;
    // F101: a backup that fails in the same second takes the log of the one before.
    let _ = fs::remove_file(task.file(".log"));
    task.say(worker, &format!("Starting Backup of VM {vmid} (lxc)"));
    worker.say(format!("INFO: Backup started at {}", stamp(&worker.host)));
    let running = machine::running(&worker.host, vmid).is_some();
    task.say(worker, &format!("status = {}", if running { "running" } else { "stopped" }));
    lock(worker, vmid)?;
    undo.unlock = true;
    worker.phase("started")?;
    worker.check_stop()?;
    let source = modes::prepare(worker, task, undo, running)?;
    archive::make(worker, task, &source)?;
    label(worker, task)?;
    prune_older(worker, task)?;
    hook::inner(worker, task, "backup-end")?;
    worker.phase("finish")
}

/// Writes `lock: backup`.
pub(super) fn lock(worker: &mut Worker, vmid: u32) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let _held = power::lock(worker, vmid)?;
    let mut config = guests::load(&host, vmid)?;
    guests::check_lock(&config)?;
    config.current.set("lock", "backup");
    guests::save(&host, vmid, &config)
}

/// Beside the archive, unless the owner wants it elsewhere or the file system there is none of the usual ones.
fn make_tmp(worker: &mut Worker, task: &mut Task<'_>) -> Result<(), ApiError> {
    let unique = format!("vzdumptmp{}_{}", std::process::id(), task.vmid);
    let btrfs = task.settings.storage.as_ref().is_some_and(|s| s.kind == StorageKind::Btrfs);
    let missing = !task.settings.dumpdir.is_dir();
    task.tmp = match &task.settings.tmpdir {
        Some(dir) => dir.join(unique),
        // Unrecorded for btrfs: PVE/VZDump.pm:1031 of pve-manager.
        None if btrfs || missing => {
            let kind = if missing { "" } else { "btrfs" };
            if missing {
                say_missing(worker, &task.settings.shown(&worker.host, &task.settings.dumpdir));
            }
            let path = format!("/var/tmp/{unique}");
            worker.say(format!(
                "INFO: filesystem type on dumpdir is '{kind}' -using {path} for temporary files"
            ));
            worker.host.dir.root().join(&path[1..])
        }
        None => task.file(".tmp"),
    };
    let _ = crate::volume::copy::remove_tree(&task.tmp);
    fs::create_dir_all(&task.tmp).map_err(|_| {
        ApiError::die(format!(
            "unable to create temporary directory '{}'",
            task.settings.shown(&worker.host, &task.tmp)
        ))
    })
}

/// 2/944: a storage without its `dump` directory, which `create-subdirs=0` leaves so.
fn say_missing(worker: &mut Worker, dumpdir: &str) {
    worker.say(format!("command 'df -P -T -B 1 {dumpdir}' failed: exit code 1"));
    let perl = |what: &str, line: u32| {
        format!("Use of uninitialized value in {what} at /usr/share/perl5/PVE/VZDump.pm line {line}.")
    };
    for _ in 0..6 {
        worker.say(perl("string eq", 1029));
    }
    worker.say(perl("concatenation (.) or string", 1036));
}

/// F67, F72: both limits are noticed before anything is archived.
fn check_limits(worker: &Worker, task: &Task<'_>) -> Result<(), ApiError> {
    let settings = task.settings;
    if settings.protected {
        let count = own(task)?.iter().filter(|b| b.protected).count();
        let id = settings.storage_id.clone().unwrap_or_default();
        let set = settings.storage.as_ref().and_then(|s| s.options.get("max-protected-backups"));
        let limit = match set.and_then(|n| n.parse::<i64>().ok()) {
            Some(number) => usize::try_from(number).ok(),
            None => {
                let access = access_file::load(&worker.host)?;
                let path = format!("/storage/{id}");
                let unlimited = perm::has(&access, worker.authid(), &path, "Datastore.Allocate");
                (!unlimited).then_some(PROTECTED_LIMIT)
            }
        };
        return match limit.filter(|limit| count >= *limit) {
            Some(limit) => Err(ApiError::die(format!(
                "The number of protected backups per guest is limited to {limit} on storage '{id}'"
            ))),
            None => Ok(()),
        };
    }
    let Some(limit) = settings.keep.limit().filter(|limit| *limit > 0 && !settings.remove) else {
        return Ok(());
    };
    let count = own(task)?.iter().filter(|b| !b.protected).count() as u64;
    if count < limit {
        return Ok(());
    }
    Err(ApiError::die(format!(
        "There is a max backup limit of {limit} enforced by the target storage or the vzdump parameters. \
         Either increase the limit or delete old backups."
    )))
}

/// This guest's archives in the target, the newest first.
fn own(task: &Task<'_>) -> Result<Vec<Backup>, ApiError> {
    let mut all: Vec<Backup> = volumes::backups_in(&task.settings.dumpdir)?
        .into_iter()
        .filter(|b| b.vmid == Some(task.vmid))
        .collect();
    all.sort_by(|a, b| (b.ctime, &b.file).cmp(&(a.ctime, &a.file)));
    Ok(all)
}

fn label(worker: &mut Worker, task: &mut Task<'_>) -> Result<(), ApiError> {
    let archive = task.archive();
    if let Some(template) = &task.settings.notes_template {
        task.say(worker, "adding notes to backup");
        match notes(worker, task, template) {
            Ok(text) => atomic::write(&notes_path(&archive), text.as_bytes())?,
            Err(reason) => task.journal.warn(worker, &format!("unable to add notes - {reason}")),
        }
    }
    if task.settings.protected {
        task.say(worker, "marking backup as protected");
        atomic::write(&protected_path(&archive), b"")?;
    }
    Ok(())
}

/// F63: first the escapes, then the variables.
fn notes(worker: &Worker, task: &Task<'_>, template: &str) -> Result<String, String> {
    crate::api::vzdump::check_notes_template(template)?;
    let mut text = String::new();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(if chars.next() == Some('n') { '\n' } else { '\\' }),
            c => text.push(c),
        }
    }
    Ok(text
        .replace("{{cluster}}", "standalone node")
        .replace("{{guestname}}", task.hostname.as_deref().unwrap_or_default())
        .replace("{{node}}", &worker.host.node)
        .replace("{{vmid}}", &task.vmid.to_string()))
}

/// A token without Datastore.Allocate prunes, too (F67). Archives with other names and protected ones stay.
fn prune_older(worker: &mut Worker, task: &mut Task<'_>) -> Result<(), ApiError> {
    if !task.settings.remove {
        return Ok(());
    }
    let keep = &task.settings.keep;
    task.say(worker, &format!("prune older backups with retention: {}", keep.to_text()));
    let candidates: Vec<Backup> =
        own(task)?.into_iter().filter(|b| !b.protected && archive_time(&b.file).is_some()).collect();
    let times: Vec<_> = candidates.iter().map(|b| prune::local(b.ctime)).collect();
    let gone = keep.remove(&times);
    // In the listing's order, by name (2/192).
    for index in gone.iter().rev() {
        let path = task.settings.dumpdir.join(&candidates[*index].file);
        let what = task.settings.volid(&worker.host, &path);
        let verb = if task.settings.storage_id.is_some() { "removing backup" } else { "delete old backup" };
        task.say(worker, &format!("{verb} '{what}'"));
        disks::remove_archive(&worker.host, &path)?;
        disks::remove_side_files(&path)?;
    }
    let tail = if gone.is_empty() { "" } else { " not covered by keep-retention policy" };
    task.say(worker, &format!("pruned {} backup(s){tail}", gone.len()));
    Ok(())
}
