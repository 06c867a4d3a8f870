//! Reads a vzdump task's log line by line (F97): mode, the instant at which the snapshot stands, the archive's file.

/// A point in a backup that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// What is archived does not change any more: the apps may run again.
    Snapshotted,
    /// Archiving began.
    Archiving,
}

/// What the lines read so far say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogReader {
    /// `snapshot`, `suspend` or `stop`: the mode that was really used.
    pub mode: Option<String>,
    /// File name of the archive.
    pub file: Option<String>,
    /// Bytes of the tar stream before it was compressed.
    pub unpacked_bytes: Option<u64>,
    /// The first error line.
    pub error: Option<String>,
    snapshot_asked: bool,
    snapshotted: bool,
}

impl LogReader {
    /// Reads one line.
    pub fn read(&mut self, line: &str) -> Option<Phase> {
        let text = line.strip_prefix("INFO: ").unwrap_or(line).trim();
        // Other errors are about mails that could not be sent.
        if let Some(error) = line.strip_prefix("ERROR: ").filter(|e| e.starts_with("Backup of ")) {
            self.error.get_or_insert_with(|| error.trim().to_owned());
        }
        if let Some(mode) = text.strip_prefix("backup mode: ") {
            self.mode = Some(mode.to_owned());
        }
        if let Some(written) = text.strip_prefix("Total bytes written: ") {
            self.unpacked_bytes = written.split(' ').next().and_then(|bytes| bytes.parse().ok());
        }
        let archive = text.strip_prefix("creating vzdump archive '").and_then(|t| t.strip_suffix('\''));
        if let Some(path) = archive {
            self.file = path.rsplit('/').next().map(str::to_owned);
        }
        if text.starts_with("create storage snapshot") {
            self.snapshot_asked = true;
            return None;
        }
        // The first line after it says that the snapshot stands. In the other modes the guest resumes at its own line.
        let resumed =
            ["resume vm", "resuming guest", "guest is online again"].iter().any(|t| text.starts_with(t));
        let by_snapshot = self.snapshot_asked && self.mode.as_deref() == Some("snapshot");
        let stands = resumed || (by_snapshot && archive.is_some());
        if stands && !self.snapshotted {
            self.snapshotted = true;
            return Some(Phase::Snapshotted);
        }
        archive.map(|_| Phase::Archiving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(lines: &[&str]) -> (Vec<(usize, Phase)>, LogReader) {
        let mut reader = LogReader::default();
        let found = lines.iter().enumerate().filter_map(|(i, l)| Some((i, reader.read(l)?))).collect();
        (found, reader)
    }

    #[test]
    fn one_volume_in_snapshot_mode() {
        let (found, reader) = phases(&[
            "INFO: Starting Backup of VM 110 (lxc)",
            "INFO: status = running",
            "INFO: backup mode: snapshot",
            "INFO: create storage snapshot 'vzdump'",
            "INFO: creating vzdump archive '/var/lib/vz/dump/vzdump-lxc-110-2026_11_23-11_28_42.tar.zst'",
            "INFO: Total bytes written: 4628480 (4.5MiB, 416MiB/s)",
            "INFO: archive file size: 3.1MB",
            "ERROR: could not notify via target `mail-to-root`: no recipients",
        ]);
        assert_eq!(found, [(4, Phase::Snapshotted)]);
        assert_eq!((reader.error, reader.unpacked_bytes), (None, Some(4_628_480)));
        assert_eq!(reader.file.as_deref(), Some("vzdump-lxc-110-2026_11_23-11_28_42.tar.zst"));
    }

    #[test]
    fn two_volumes_resume_before_the_archive() {
        let (found, _) = phases(&[
            "INFO: backup mode: snapshot",
            "INFO: suspend vm to make snapshot",
            "INFO: create storage snapshot 'vzdump'",
            "INFO: resume vm",
            "INFO: guest is online again after <1 seconds",
            "INFO: creating vzdump archive '/d/vzdump-lxc-1-x.tar.zst'",
        ]);
        assert_eq!(found, [(3, Phase::Snapshotted), (5, Phase::Archiving)]);
    }

    #[test]
    fn without_snapshots_the_apps_wait_until_the_guest_resumes() {
        let (found, reader) = phases(&[
            "INFO: mode failure - some volumes do not support snapshots",
            "INFO: trying 'suspend' mode instead",
            "INFO: backup mode: suspend",
            "INFO: suspending guest",
            "INFO: resuming guest",
            "INFO: guest is online again after <1 seconds",
            "INFO: creating vzdump archive '/d/vzdump-lxc-1-x.tar.zst'",
            "ERROR: Backup of VM 1 failed - no space",
        ]);
        assert_eq!(found, [(4, Phase::Snapshotted), (6, Phase::Archiving)]);
        assert_eq!(reader.error.as_deref(), Some("Backup of VM 1 failed - no space"));
    }
}
