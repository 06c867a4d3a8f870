//! Processes as `/proc` shows them: which ones belong to a guest, and signals that cannot hit a reused process id.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Environment variable that names a guest's rootfs in each of its processes.
pub(in crate::runtime) const ROOTFS_VARIABLE: &str = "PVE_SIM_ROOTFS";

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::runtime) struct Process {
    /// Process id.
    pub(in crate::runtime) pid: i32,
    /// Start time in clock ticks since boot.
    pub(in crate::runtime) start_time: u64,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) struct Stat {
    /// `R`, `S`, `T`, `Z`…
    pub(in crate::runtime) state: char,
    /// Parent's process id.
    pub(in crate::runtime) parent: i32,
    /// Start time in clock ticks since boot.
    pub(in crate::runtime) start_time: u64,
}

impl Stat {
    /// Reads `/proc/PID/stat`; `None` if there is no such process, or it has ended and only waits for its parent.
    pub(in crate::runtime) fn of(pid: i32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text)).filter(|stat| !matches!(stat.state, 'Z' | 'X' | 'x'))
    }

    /// The program's name, which may hold anything, ends at the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    /// Stopped by a signal.
    pub(in crate::runtime) fn stopped(&self) -> bool {
        self.state == 'T'
    }
}

impl Process {
    /// The process with this id as it is now.
    pub(in crate::runtime) fn of(pid: i32) -> Option<Self> {
        Stat::of(pid).map(|stat| Self { pid, start_time: stat.start_time })
    }

    /// Its state, or `None` if it has ended.
    pub(in crate::runtime) fn stat(&self) -> Option<Stat> {
        Stat::of(self.pid).filter(|stat| stat.start_time == self.start_time)
    }

    /// Sends a signal; no error if it has ended.
    pub(in crate::runtime) fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        // The handle is taken first and the start time compared after it, so it is this process or none.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH | Errno::INVAL) => return Ok(()),
            other => other?,
        };
        if self.stat().is_none() {
            return Ok(());
        }
        match pidfd_send_signal(handle, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// All living processes of the guest with this rootfs: by environment, by program file, and their descendants.
pub(in crate::runtime) fn of_guest(rootfs: &Path) -> io::Result<Vec<Process>> {
    // Every program of this machine lies below "/" and "".
    if !rootfs.is_absolute() || rootfs.components().count() < 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no guest's root file system"));
    }
    let mut mark = format!("{ROOTFS_VARIABLE}=").into_bytes();
    mark.extend_from_slice(rootfs.as_os_str().as_bytes());
    let mut all: HashMap<i32, Stat> = HashMap::new();
    let mut found: HashSet<i32> = HashSet::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Some(stat) = Stat::of(pid) else { continue };
        all.insert(pid, stat);
        if has_environment(pid, &mark) || runs_from(pid, rootfs) {
            found.insert(pid);
        }
    }
    // A child that cleared its environment is found by its parent.
    loop {
        let before = found.len();
        found.extend(
            all.iter().filter(|(_, s)| found.contains(&s.parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if found.len() == before {
            break;
        }
    }
    let mut list: Vec<Process> = found
        .iter()
        .filter_map(|pid| all.get(pid).map(|s| Process { pid: *pid, start_time: s.start_time }))
        .collect();
    list.sort();
    Ok(list)
}

/// Other users' processes cannot be read and are not the guest's.
fn has_environment(pid: i32, mark: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|env| env.split(|byte| *byte == 0).any(|var| var == mark))
}

fn runs_from(pid: i32, rootfs: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.starts_with(rootfs))
}

/// Changes with each boot of this machine, so that a recorded process of an earlier boot is not found again.
pub(in crate::runtime) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Lets this thread rest; only for blocking code, never on an async runtime's thread.
pub(in crate::runtime) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_also_with_a_strange_program_name() {
        let text = "42 (a) b (c)) T 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
        assert_eq!(Stat::parse(text), Some(Stat { state: 'T', parent: 7, start_time: 987_654 }));
        assert_eq!(Stat::parse("42 (x) T 7"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn the_root_of_this_machine_is_no_guests_rootfs() {
        for path in ["", "/", "/usr", "usr/lib/x"] {
            assert!(of_guest(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_signal_to_a_process_with_another_start_time_hits_nobody() {
        let me = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let earlier = Process { start_time: me.start_time - 1, ..me };
        earlier.signal(Signal::KILL).unwrap();
        assert!(me.stat().is_some() && earlier.stat().is_none());
    }
}
