//! A task's log file and the result in its last line.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Upid;
use crate::clock;
use crate::state::Host;

/// `var/log/pve/tasks/X/UPID`, X being the last digit of the start time.
pub(crate) fn path(host: &Host, upid: &Upid) -> PathBuf {
    let text = upid.to_string();
    let digit = format!("{:08X}", upid.starttime).chars().last().unwrap_or('0');
    host.dir.tasks().join(digit.to_string()).join(text)
}

/// Appends lines to a task's log, each at once.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
}

impl Log {
    /// Opens it, creating it and its directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        Ok(Self { file: fs::OpenOptions::new().create(true).append(true).open(path)? })
    }

    /// One line. A full disk must not end the task, so a failure is ignored, as Proxmox VE's print does.
    pub(crate) fn line(&mut self, text: &str) {
        let _ = self.file.write_all(format!("{text}\n").as_bytes());
    }
}

/// `OK`, `WARNINGS: n`, an error text, or `unexpected status` for a log without a last line (F33).
pub(crate) fn exit_status(host: &Host, upid: &Upid) -> String {
    let unexpected = || "unexpected status".to_owned();
    let Ok(tail) = tail(&path(host, upid)) else { return unexpected() };
    let Some(last) = tail.trim_end_matches('\n').rsplit('\n').next() else { return unexpected() };
    if last == "TASK OK" {
        "OK".into()
    } else if let Some(text) = last.strip_prefix("TASK ERROR: ") {
        text.to_owned()
    } else if let Some(count) = last.strip_prefix("TASK WARNINGS: ") {
        format!("WARNINGS: {count}")
    } else {
        unexpected()
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines from `start`, at most `limit` (0: all), and how many there are. An unknown log is one line that says so (F35).
pub(crate) fn read(host: &Host, upid: &Upid, start: usize, limit: usize) -> (Vec<(usize, String)>, usize) {
    let Ok(bytes) = fs::read(path(host, upid)) else {
        return (vec![(1, "unable to open file - No such file or directory".into())], 1);
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let end = if limit == 0 { lines.len() } else { lines.len().min(start.saturating_add(limit)) };
    let wanted = lines.iter().enumerate().take(end).skip(start);
    let shown: Vec<(usize, String)> = wanted.map(|(n, line)| (n + 1, (*line).to_owned())).collect();
    // PVE::Tools::dump_logfile: an empty log is one line.
    if lines.is_empty() { (vec![(1, "no content".into())], 1) } else { (shown, lines.len()) }
}

/// When the log was last written, in seconds since 1970: the end of a finished task.
pub(crate) fn modified(host: &Host, upid: &Upid) -> Option<u64> {
    let time = fs::metadata(path(host, upid)).ok()?.modified().ok()?;
    Some(clock::since_epoch(host, time))
}
