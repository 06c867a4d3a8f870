//! Where a backup's lines go: to the task's log, and with their time to the guest's own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::state::Host;
use crate::task::log::Log;
use crate::task::worker::Worker;

/// The guest's own log, once there is one.
#[derive(Debug, Default)]
pub(super) struct Journal {
    log: Option<(PathBuf, Log)>,
}

/// Local time as the log has it.
pub(super) fn stamp(host: &Host) -> String {
    clock::local(host).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl Journal {
    /// Begins the guest's own log anew.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(super) fn begin(&mut self, path: &Path) -> std::io::Result<()> {
        let _ = fs::remove_file(path);
        self.log = Some((path.to_path_buf(), Log::open(path)?));
        Ok(())
    }

    /// `INFO:`, line by line; blanks at their ends stay (2/867).
    pub(super) fn info(&mut self, worker: &mut Worker, text: &str) {
        for line in text.trim_end_matches('\n').lines() {
            worker.say(format!("INFO: {line}"));
            self.note(&worker.host, "INFO", line);
        }
    }

    /// `ERROR:`, line by line.
    pub(super) fn error(&mut self, worker: &mut Worker, text: &str) {
        for line in text.trim_end().lines() {
            worker.say(format!("ERROR: {line}"));
            self.note(&worker.host, "ERROR", line);
        }
    }

    /// `WARN:`, line by line; each counts as a warning of the task.
    pub(super) fn warn(&mut self, worker: &mut Worker, text: &str) {
        for line in text.trim_end().lines() {
            worker.warn(line);
            self.note(&worker.host, "WARN", line);
        }
    }

    fn note(&mut self, host: &Host, level: &str, line: &str) {
        if let Some((_, log)) = &mut self.log {
            log.line(&format!("{} {level}: {line}", stamp(host)));
        }
    }

    /// Copies the guest's own log to where the archive's stands. A full disk is no error, nor is a missing directory (2/944).
    pub(super) fn publish(&self, worker: &mut Worker, target: &Path, shown: &str) {
        let Some((path, _)) = &self.log else { return };
        if !target.parent().is_some_and(Path::is_dir) {
            worker.say(format!("cp: cannot create regular file '{shown}': No such file or directory"));
            return;
        }
        let _ = fs::copy(path, target);
    }
}
