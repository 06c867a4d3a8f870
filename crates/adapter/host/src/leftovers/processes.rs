//! Processes that a dead worker left running, found in `/proc`.
//!
//! A worker leads its own session and process group (RESTEnvironment.pm of pve-common: `setsid`), and what it starts stays in
//! that group when it dies and init inherits it. The kernel does not give a group's number to a new process while anybody is in
//! the group. So a process is the dead worker's if
//!
//! 1. nobody with the worker's number and start time lives any more;
//! 2. its group is the worker's number, and it did not start before the worker;
//! 3. somebody of the group works on this guest: an argument, the working directory or an open file lies at a place of the guest.
//!
//! The third is asked of the group, for `cstream` and `zstd -d` in the middle of a pipe name no file.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use felhom_model::Vmid;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{DeadWorker, dump, problem, refused};
use crate::act::RootAct;
use crate::error::HostError;
use crate::guest::Host;

const ACT: RootAct = RootAct::EndProcesses;
/// How long a killed process may take to be gone; one that waits for a disk takes its time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that a dead worker left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its start in clock ticks since the host's boot; only both together name it.
    pub started: u64,
    /// Its arguments, joined by spaces; for messages.
    pub command: String,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    zombie: bool,
    group: u32,
    started: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        Some(Self {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

impl Host {
    /// The processes that a dead worker left running for a guest; none if they have ended by themselves. `volumes` are the
    /// directories or files of the guest's volumes; its root's mount point and its half-written archives count anyway.
    ///
    /// # Errors
    /// [`HostError::Refused`] if the worker lives, or if what it left does not work on this guest.
    pub fn left_processes(
        &self,
        vmid: Vmid,
        worker: DeadWorker,
        volumes: &[PathBuf],
    ) -> Result<Vec<Process>, HostError> {
        let target = format!("guest {vmid}");
        let proc = &self.roots.proc;
        if alive(proc, worker) {
            let reason = format!("the worker {} lives; end its task by the API", worker.pid);
            return Err(refused(ACT, target, reason));
        }
        let mut places = volumes.to_vec();
        places.push(self.roots.rootfs(vmid));
        let (mut left, mut ours) = (Vec::new(), false);
        for pid in pids(proc)? {
            let Some(stat) = stat(proc, pid).filter(|s| !s.zombie && s.group == worker.pid) else { continue };
            if stat.started < worker.started {
                return Err(refused(ACT, target, format!("process {pid} is older than the worker")));
            }
            let arguments = arguments(proc, pid);
            ours |= works_on(proc, pid, &arguments, (vmid, &places));
            left.push(Process { pid, started: stat.started, command: arguments.join(" ") });
        }
        if left.is_empty() || ours {
            return Ok(left);
        }
        let names: Vec<_> = left.iter().map(|p| format!("{} ({})", p.pid, p.command)).collect();
        Err(refused(ACT, target, format!("no sign that these work on it: {}", names.join(", "))))
    }

    /// Ends what [`Self::left_processes`] finds, and waits until it is gone. Gives what was ended.
    ///
    /// # Errors
    /// As there; [`HostError::TimedOut`] if something is still there after twenty seconds.
    pub async fn end_processes(
        &self,
        vmid: Vmid,
        worker: DeadWorker,
        volumes: &[PathBuf],
    ) -> Result<Vec<Process>, HostError> {
        let target = format!("guest {vmid}");
        self.seen(ACT, &target, self.end_now(vmid, worker, volumes)).await
    }

    async fn end_now(
        &self,
        vmid: Vmid,
        worker: DeadWorker,
        volumes: &[PathBuf],
    ) -> Result<Vec<Process>, HostError> {
        let target = format!("guest {vmid}");
        tracing::debug!(act = %ACT, target = %target, worker = worker.pid, "root act");
        let (started, mut ended) = (Instant::now(), Vec::new());
        loop {
            let left = match self.left_processes(vmid, worker, volumes) {
                // The last of a group that was seen to be the guest's need not show it once more.
                Err(HostError::Refused { .. }) if !ended.is_empty() => self.rest_of(worker)?,
                other => other?,
            };
            if left.is_empty() {
                return Ok(ended);
            }
            if started.elapsed() > PATIENCE {
                return Err(HostError::TimedOut { act: ACT, target, seconds: PATIENCE.as_secs() });
            }
            for process in left {
                kill(&self.roots.proc, &process)?;
                if !ended.contains(&process) {
                    ended.push(process);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn rest_of(&self, worker: DeadWorker) -> Result<Vec<Process>, HostError> {
        let proc = &self.roots.proc;
        let of_group = |pid| {
            let stat = stat(proc, pid).filter(|s| !s.zombie && s.group == worker.pid)?;
            let command = arguments(proc, pid).join(" ");
            (stat.started >= worker.started).then_some(Process { pid, started: stat.started, command })
        };
        Ok(pids(proc)?.into_iter().filter_map(of_group).collect())
    }
}

/// Whether the worker itself is there; a zombie has done its last.
pub(super) fn alive(proc: &Path, worker: DeadWorker) -> bool {
    stat(proc, worker.pid).is_some_and(|s| !s.zombie && s.started == worker.started)
}

/// Who has a file open, or works in a directory below it.
pub(super) fn users_of(proc: &Path, place: &Path) -> Result<Vec<u32>, HostError> {
    let uses = |pid: &u32| links(proc, *pid).iter().any(|link| link.starts_with(place));
    Ok(pids(proc)?.into_iter().filter(uses).collect())
}

fn pids(proc: &Path) -> Result<Vec<u32>, HostError> {
    let entries = fs::read_dir(proc).map_err(problem(ACT, "list", proc))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn stat(proc: &Path, pid: u32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?)
}

fn arguments(proc: &Path, pid: u32) -> Vec<String> {
    let bytes = fs::read(proc.join(pid.to_string()).join("cmdline")).unwrap_or_default();
    let parts = bytes.split(|b| *b == 0).filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Working directory and open files.
fn links(proc: &Path, pid: u32) -> Vec<PathBuf> {
    let dir = proc.join(pid.to_string());
    let fds = fs::read_dir(dir.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
    fds.chain([dir.join("cwd")]).filter_map(|link| fs::read_link(link).ok()).collect()
}

fn works_on(proc: &Path, pid: u32, arguments: &[String], (vmid, places): (Vmid, &[PathBuf])) -> bool {
    let at = |path: &Path| {
        let half_written = path.file_name().is_some_and(|name| dump::is_half_written(name, vmid));
        half_written || places.iter().any(|place| path.starts_with(place))
    };
    // An argument may be a path, `--option=PATH`, or a whole pipeline for a shell.
    let words = arguments.iter().flat_map(|a| a.split(['=', ' ', '\'', '"', '>', '<']));
    links(proc, pid).iter().any(|link| at(link))
        || words.map(|w| Path::new(OsStr::from_bytes(w.as_bytes()))).any(at)
}

/// Kills exactly this process: the handle is taken first, then its start is compared.
fn kill(proc: &Path, process: &Process) -> Result<(), HostError> {
    let number = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let Some(number) = number else { return Ok(()) };
    let done = |result: rustix::io::Result<()>| match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => {
            Err(problem(ACT, "end the process", &proc.join(process.pid.to_string()))(io::Error::from(errno)))
        }
    };
    match pidfd_open(number, PidfdFlags::empty()) {
        Err(errno) => done(Err(errno)),
        Ok(handle) if stat(proc, process.pid).is_some_and(|s| s.started == process.started) => {
            done(pidfd_send_signal(&handle, Signal::KILL))
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "3225 (a) b (c) S 1 3186 3186 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 155460 7 1 18446744073709551615";
        let expected = Stat { zombie: false, group: 3186, started: 155_460 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert!(Stat::parse(&text.replace(") S", ") Z")).unwrap().zombie);
        assert_eq!(Stat::parse("3225 (a) S 1"), None);
    }

    /// rec 2/52, 2/237: what a killed restore and a killed backup leave.
    #[test]
    fn recorded_commands_show_their_guest() {
        let proc = Path::new("/nonexistent");
        let places = |id: &str| vec![PathBuf::from(format!("/var/lib/lxc/{id}/rootfs"))];
        let on = |arguments: &[&str], id: &str| {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            works_on(proc, 1, &arguments, (id.parse().unwrap(), &places(id)))
        };
        let restore = ["tar", "xpf", "-", "--zstd", "-C", "/var/lib/lxc/211/rootfs", "--skip-old-files"];
        assert!(on(&restore, "211") && !on(&restore, "212") && !on(&restore, "2110"));
        let shell = "set -o pipefail && cstream -t 8192000 | tar xpf - -C /var/lib/lxc/211/rootfs --anchored";
        assert!(on(&["/bin/bash", "-c", shell], "211"));
        let backup = "tar cpf - '--directory=/mnt/dirx/dump/vzdump-lxc-100-2026_11_23-16_19_33.tmp' ./etc/vzdump/pct.conf \
                      | zstd '--threads=1' >/mnt/dirx/dump/vzdump-lxc-100-2026_11_23-16_19_33.tar.dat";
        assert!(on(&["/bin/bash", "-c", backup], "100") && !on(&["/bin/bash", "-c", backup], "1000"));
        assert!(!on(&["cstream", "-t", "8192000"], "100") && !on(&["zstd", "-d"], "211"));
        // Reading a finished archive is no work on the guest that it is of.
        assert!(!on(&["zstd", "-d", "/var/lib/vz/dump/vzdump-lxc-100-2026_11_23-16_15_29.tar.zst"], "100"));
    }
}
