//! The lists of tasks: `active` for running ones (and what ended since somebody last looked), `index` for finished ones.
//!
//! `active` says what was true when it was last refreshed: a worker that died stays `RUNNING` in it until the next refresh (F90),
//! which happens when a worker ends, when a task starts, and every ten seconds.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use super::{Upid, log, process};
use crate::error::ApiError;
use crate::state::{Host, atomic, lock};

/// A task in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The task.
    pub(crate) upid: Upid,
    /// End time in seconds since 1970 and exit status, for finished ones.
    pub(crate) end: Option<(u64, String)>,
}

/// Finished tasks kept in the archive.
const KEEP: usize = 5000;

/// Records a new task as running. Everything that ended since moves to the archive.
pub(crate) fn add(host: &Host, upid: &Upid) -> Result<(), ApiError> {
    refresh_with(host, Some(upid))
}

/// Looks at each active task's process and moves those that ended to the archive.
pub(crate) fn refresh(host: &Host) -> Result<(), ApiError> {
    refresh_with(host, None)
}

fn refresh_with(host: &Host, new: Option<&Upid>) -> Result<(), ApiError> {
    let _held = host.lock("task-index", lock::GUEST_TIMEOUT, &mut || ())?;
    let (mut running, mut ended) = (Vec::new(), Vec::new());
    for entry in active(host)?.into_iter().rev() {
        if process::running(entry.upid.pid, entry.upid.pstart) {
            running.push(entry.upid);
        } else {
            ended.push(entry.upid);
        }
    }
    running.extend(new.cloned());
    let mut archive = String::new();
    // Who was here before may have been killed between its two writes.
    let known = if ended.is_empty() { String::new() } else { tail(host)? };
    for upid in ended.iter().filter(|upid| !known.contains(&format!("{upid} "))) {
        let end = log::modified(host, upid).unwrap_or(upid.starttime);
        let _ = writeln!(archive, "{upid} {end:08X} {}", log::exit_status(host, upid).replace('\n', " "));
    }
    if !archive.is_empty() {
        let path = host.dir.tasks().join("index");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(archive.as_bytes())?;
        file.sync_data()?;
        trim(host)?;
    }
    if new.is_some() || !ended.is_empty() {
        let text: String = running.iter().map(|upid| format!("{upid} 0\n")).collect();
        atomic::write(&host.dir.tasks().join("active"), text.as_bytes())?;
    }
    Ok(())
}

/// The last lines of the archive.
fn tail(host: &Host) -> Result<String, ApiError> {
    let Ok(mut file) = fs::File::open(host.dir.tasks().join("index")) else { return Ok(String::new()) };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(1 << 16)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn trim(host: &Host) -> Result<(), ApiError> {
    let path = host.dir.tasks().join("index");
    let text = fs::read_to_string(&path)?;
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > KEEP + KEEP / 5 {
        for line in &lines[..lines.len() - KEEP] {
            if let Some(upid) = line.split(' ').next().and_then(|u| u.parse::<Upid>().ok()) {
                let _ = fs::remove_file(log::path(host, &upid));
            }
        }
        atomic::write(&path, format!("{}\n", lines[lines.len() - KEEP..].join("\n")).as_bytes())?;
    }
    Ok(())
}

/// Running and finished tasks at one moment: no task is in both lists, or in none.
pub(crate) fn both(host: &Host) -> Result<(Vec<Entry>, Vec<Entry>), ApiError> {
    let _held = host.lock("task-index", lock::GUEST_TIMEOUT, &mut || ())?;
    let active = active(host)?;
    let mut archive = archive(host)?;
    archive.retain(|entry| !active.iter().any(|other| other.upid == entry.upid));
    Ok((active, archive))
}

/// Tasks that were running at the last refresh, newest first.
fn active(host: &Host) -> Result<Vec<Entry>, ApiError> {
    let text = atomic::read_optional(&host.dir.tasks().join("active"))?.unwrap_or_default();
    let parse = |line: &str| Some(Entry { upid: line.split(' ').next()?.parse().ok()?, end: None });
    let mut all: Vec<Entry> = text.lines().filter_map(parse).collect();
    all.reverse();
    Ok(all)
}

/// Finished tasks, newest first. Half a line at the end, from a kill, is skipped.
fn archive(host: &Host) -> Result<Vec<Entry>, ApiError> {
    let text = atomic::read_optional(&host.dir.tasks().join("index"))?.unwrap_or_default();
    let parse = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let upid = parts.next()?.parse().ok()?;
        let end = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some(Entry { upid, end: Some((end, parts.next()?.to_owned())) })
    };
    let mut all: Vec<Entry> = text.lines().filter_map(parse).collect();
    all.reverse();
    all.sort_by_key(|entry| std::cmp::Reverse(entry.upid.starttime));
    Ok(all)
}
