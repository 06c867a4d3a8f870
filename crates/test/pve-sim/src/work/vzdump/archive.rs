//! Writing the archive: to `.tar.dat`, then under its own name, which may replace one of the same second (F101).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::command::Parts;
use super::guest::Task;
use crate::destroyed;
use crate::error::ApiError;
use crate::state::storage::{Storage, Storages};
use crate::state::{Host, guests};
use crate::task::worker::Worker;
use crate::work::tar;

/// What is archived.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Mount path and directory.
    pub(super) trees: Vec<(String, PathBuf)>,
    /// The volumes, in the same order.
    pub(super) volids: Vec<String>,
    /// Mount paths that are left empty.
    pub(super) not_backed_up: Vec<String>,
    /// Whether the guest's user ids are shifted.
    pub(super) unprivileged: bool,
    /// Whether the trees are the copy of suspend mode.
    pub(super) copied: bool,
}

impl Source {
    /// For the command lines in error texts.
    pub(super) fn parts<'a>(&self, host: &Host, task: &'a Task<'_>) -> Parts<'a> {
        Parts {
            tmp: task.settings.shown(host, &task.tmp),
            out: task.settings.shown(host, &task.unfinished()),
            unprivileged: self.unprivileged,
            exclude_path: &task.settings.exclude_path,
            stdexcludes: task.settings.stdexcludes,
            compressor: task.settings.compressor,
            bwlimit: task.settings.bwlimit,
        }
    }
}

/// Writes it.
pub(super) fn make(worker: &mut Worker, task: &mut Task<'_>, source: &Source) -> Result<(), ApiError> {
    let archive = task.archive();
    let (config, firewall) = assemble(worker, task)?;
    worker.check_stop()?;
    let shown = task.settings.shown(&worker.host, &archive);
    task.say(worker, &format!("creating vzdump archive '{shown}'"));
    activate(worker, task, source)?;
    let started = Instant::now();
    let out = task.unfinished();
    if !out.parent().is_some_and(Path::is_dir) {
        let shown = task.settings.shown(&worker.host, &out);
        task.say(worker, &format!("/bin/bash: line 1: {shown}: No such file or directory"));
        return Err(failed(worker, task, source, "exit code 1"));
    }
    let order = tar::Order::Create {
        out: out.clone(),
        config,
        firewall,
        trees: source.trees.clone(),
        not_backed_up: source.not_backed_up.clone(),
        exclude_path: task.settings.exclude_path.clone(),
        stdexcludes: task.settings.stdexcludes,
        compressor: task.settings.compressor,
        bwlimit: task.settings.bwlimit,
        ownership: worker.host.ownership(),
        room: task.settings.storage.as_ref().and_then(Storage::room),
    };
    let waited = tar::call(worker, &order);
    if worker.take_stop() || waited.is_err() {
        let why = waited.err().map(|e| e.message).unwrap_or_default();
        let why = if why.contains("interrupted") || why.is_empty() { "interrupted by signal" } else { &why };
        return Err(failed(worker, task, source, why));
    }
    let done = waited?;
    if let Some((lines, code)) = &done.pipeline {
        task.say(worker, &lines.join("\n"));
        return Err(failed(worker, task, source, &format!("exit code {code}")));
    }
    for warning in &done.warnings {
        task.say(worker, warning);
    }
    let totals = tar::totals(done.bytes, started.elapsed().as_secs_f64());
    task.say(worker, &format!("Total bytes written: {totals}"));
    destroyed::note_file(&worker.host, &archive)?;
    fs::rename(&out, &archive)?;
    task.say(worker, &format!("archive file size: {}", size(fs::metadata(&archive)?.len())));
    Ok(())
}

/// The configuration as it is now, put where the archiver takes it from: without lock, snapshots and pending changes (2/706).
fn assemble(worker: &Worker, task: &Task<'_>) -> Result<(String, Vec<u8>), ApiError> {
    let config = guests::load(&worker.host, task.vmid)?.to_archive_text();
    let firewall = fs::read(worker.host.dir.guest_firewall(task.vmid)).unwrap_or_default();
    let dir = task.tmp.join("etc/vzdump");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("pct.conf"), &config)?;
    fs::write(dir.join("pct.fw"), &firewall)?;
    Ok((config, firewall))
}

/// F84, 2/515: a missing volume is noticed only here; 2/920: and so is a storage that is away.
fn activate(worker: &Worker, task: &Task<'_>, source: &Source) -> Result<(), ApiError> {
    if source.copied || task.mode != super::Mode::Stop {
        return Ok(());
    }
    let storages = Storages::load(&worker.host)?;
    for (volid, (_, path)) in source.volids.iter().zip(&source.trees) {
        storages.path_of(volid)?.0.activate(&worker.host)?;
        if !path.is_dir() {
            return Err(ApiError::die(format!("volume '{volid}' does not exist")));
        }
    }
    Ok(())
}

fn failed(worker: &Worker, task: &Task<'_>, source: &Source, why: &str) -> ApiError {
    let mounts: Vec<&str> =
        if source.copied { Vec::new() } else { source.trees.iter().map(|(m, _)| m.as_str()).collect() };
    let command = source.parts(&worker.host, task).tar(&mounts);
    ApiError::die(format!("command '{command}' failed: {why}"))
}

/// As vzdump writes sizes.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss)]
    let gigabytes = bytes as f64 / f64::from(1 << 30);
    match bytes {
        0..0x10_0000 => format!("{}KB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{}MB", bytes >> 20),
        _ if gigabytes < 1024.0 => format!("{gigabytes:.2}GB"),
        _ => format!("{:.2}TB", gigabytes / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_up_to_a_gigabyte() {
        assert_eq!(
            (size(1500).as_str(), size(3_212_362).as_str(), size(3 << 29).as_str()),
            ("1KB", "3MB", "1.50GB")
        );
    }
}
