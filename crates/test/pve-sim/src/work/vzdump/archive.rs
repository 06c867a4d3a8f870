//! Writing the archive: to `.tar.dat`, then under its own name, which may replace one of the same second (F101).

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use super::guest::Task;
use super::modes::Quiet;
use crate::error::ApiError;
use crate::task::worker::Worker;
use crate::work::tar;

/// What is archived.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// `pct.conf`.
    pub(super) config: String,
    /// Mount path and directory.
    pub(super) trees: Vec<(String, PathBuf)>,
    /// Mount paths that are left empty.
    pub(super) not_backed_up: Vec<String>,
}

/// Writes it.
pub(super) fn make(
    worker: &mut Worker,
    task: &mut Task<'_>,
    source: &Source,
    quiet: &mut Quiet,
) -> Result<(), ApiError> {
    let archive = task.archive();
    worker.check_stop()?;
    task.say(worker, &format!("creating vzdump archive '{}'", archive.display()));
    let started = Instant::now();
    let out = task.file(".tar.dat");
    let order = tar::Order::Create {
        out: out.clone(),
        room: task.storage.room(),
        config: source.config.clone(),
        firewall: fs::read(worker.host.dir.guest_firewall(task.vmid)).unwrap_or_default(),
        trees: source.trees.clone(),
        not_backed_up: source.not_backed_up.clone(),
        exclude_path: task.job.exclude_path.clone(),
        stdexcludes: task.job.stdexcludes,
        zstd: task.job.zstd,
    };
    let done = tar::call(worker, &order)?;
    for warning in &done.warnings {
        task.say(worker, warning);
    }
    task.say(
        worker,
        &format!("Total bytes written: {}", tar::totals(done.bytes, started.elapsed().as_secs_f64())),
    );
    fs::rename(&out, &archive)?;
    if let Some(dir) = archive.parent() {
        fs::File::open(dir)?.sync_all()?;
    }
    task.say(worker, &format!("archive file size: {}MB", fs::metadata(&archive)?.len() >> 20));
    quiet.archived = true;
    Ok(())
}
