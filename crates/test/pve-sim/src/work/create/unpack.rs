//! Unpacking an archive or a template into the guest's volumes.

use std::path::Path;
use std::time::Instant;

use super::layout::Mounted;
use super::{CreateJob, archive_path};
use crate::error::ApiError;
use crate::state::storage::Storages;
use crate::task::worker::Worker;
use crate::work::tar;

/// Up to so many bytes an archive is read to its end together with its configuration.
const SHORT: u64 = 8 << 20;

/// Unpacks a backup.
pub(super) fn archive(
    worker: &mut Worker,
    job: &CreateJob,
    unprivileged: bool,
    trees: &[Mounted],
) -> Result<(), ApiError> {
    worker.say(format!("restoring '{}' now..", job.archive));
    let path = archive_path(worker, job)?;
    extract(worker, job, (&path, unprivileged), trees)
}

/// Unpacks a template; rec 94: only now is it noticed that there is none.
pub(super) fn template(
    worker: &mut Worker,
    job: &CreateJob,
    unprivileged: bool,
    trees: &[Mounted],
) -> Result<(), ApiError> {
    let path = match archive_path(worker, job) {
        Ok(path) => path,
        Err(error) => {
            worker.say(&error.message);
            return Err(error);
        }
    };
    extract(worker, job, (&path, unprivileged), trees)
}

fn extract(
    worker: &mut Worker,
    job: &CreateJob,
    (path, unprivileged): (&Path, bool),
    trees: &[Mounted],
) -> Result<(), ApiError> {
    let storages = Storages::load(&worker.host)?;
    let shown =
        storages.path_of(&job.archive).map_or_else(|_| path.display().to_string(), |(s, p)| s.shown(&p));
    worker.say(format!("extracting archive '{shown}'"));
    let limit = job.bwlimit.filter(|limit| *limit > 0);
    let command = command((path, unprivileged), job.vmid, limit);
    let order = tar::Order::Extract {
        archive: path.to_path_buf(),
        trees: trees.iter().map(|t| (t.mount.clone(), t.path.clone())).collect(),
        below: trees.iter().filter_map(|t| storages.below(&t.path)).collect(),
        sizes: trees.iter().map(|t| t.size).collect(),
        rate: limit.map(|kib| kib * 1024),
        ownership: worker.host.ownership(),
        command: command.clone(),
    };
    let started = Instant::now();
    let done = match tar::call(worker, &order) {
        // F70. Also an interrupt is such an error.
        // Unrecorded: PVE/LXC/Create.pm:205 of pve-container 6.1.10.
        Err(_) if job.ignore_unpack_errors && worker.stopping() => return Ok(()),
        other => other?,
    };
    done.warnings.iter().for_each(|line| worker.say(line));
    if done.complete {
        let totals = tar::totals(done.bytes, started.elapsed().as_secs_f64());
        worker.say(format!("Total bytes read: {totals}"));
    }
    if !done.failed {
        return Ok(());
    }
    if done.complete {
        worker.say("tar: Exiting with failure status due to previous errors");
    }
    if job.ignore_unpack_errors {
        return Ok(());
    }
    Err(ApiError::die(format!("command '{command}' failed: exit code 2")))
}

/// The command of a real node, as its errors name it (rec 711, rec2 1126).
fn command((archive, unprivileged): (&Path, bool), vmid: u32, limit: Option<u64>) -> String {
    let mut text = String::new();
    if let Some(kib) = limit {
        text.push_str(&format!("set -o pipefail && cstream -t {} | ", kib * 1024));
    }
    if unprivileged {
        text.push_str("lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- ");
    }
    text.push_str("tar xpf - ");
    match archive.extension().and_then(|e| e.to_str()) {
        Some("zst") => text.push_str("--zstd "),
        Some("gz") => text.push_str("-z "),
        _ => {}
    }
    text.push_str(
        "--totals --one-file-system -p --sparse --numeric-owner --acls --xattrs '--xattrs-include=user.*' \
         '--xattrs-include=security.capability' '--warning=no-file-ignored' '--warning=no-xattr-write' ",
    );
    text.push_str(&format!("-C /var/lib/lxc/{vmid}/rootfs --skip-old-files --anchored --exclude './dev/*'"));
    text
}

/// rec 730: looking for the configuration, zstd has read a short archive to its end already, and complains if that is missing.
pub(super) fn complain_of_short_archive(worker: &mut Worker, path: &Path) {
    let short = path.metadata().is_ok_and(|found| found.len() <= SHORT);
    let Some(line) = tar::stdin_error(path).filter(|_| short) else { return };
    let read = || -> std::io::Result<u64> {
        let mut stream = zstd::Decoder::new(std::fs::File::open(path)?)?;
        std::io::copy(&mut stream, &mut std::io::sink())
    };
    if read().is_err() {
        worker.say(line);
    }
}
