//! Processes as `/proc` shows them (proc(5)).

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::{fs, io};

/// A process that is not mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine's boot (field 22 of `stat`).
    pub start_time: u64,
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Which process.
    pub id: ProcessId,
    /// `R`, `S`, `D`, `T` (stopped), `Z` (dead, not reaped), `X`, …
    pub state: char,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
}

/// A thread: whether it is stopped, and how often it was taken off a CPU. A stopped thread's count does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub tid: i32,
    /// Stopped, or already dead.
    pub still: bool,
    /// Voluntary and involuntary context switches.
    pub switches: u64,
}

/// The process `pid`, if there is one.
pub fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: i32, text: &str) -> Option<Stat> {
    // The name in parentheses may itself hold spaces and parentheses.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    Some(Stat {
        id: ProcessId { pid, start_time: fields.get(19)?.parse().ok()? },
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
    })
}

/// All processes of this machine that can be seen.
pub fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// All processes of a session, dead ones excepted.
pub fn of_session(session: i32) -> Vec<Stat> {
    all().into_iter().filter(|stat| stat.session == session && !is_dead(stat.state)).collect()
}

fn is_dead(state: char) -> bool {
    matches!(state, 'Z' | 'X' | 'x')
}

/// The threads of a process; empty when it is gone.
pub fn threads(pid: i32) -> Vec<Thread> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let tid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let state = field("State:")?.chars().next()?;
            let number = |name| field(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            Some(Thread {
                tid,
                still: matches!(state, 'T' | 't') || is_dead(state),
                switches: number("voluntary_ctxt_switches:") + number("nonvoluntary_ctxt_switches:"),
            })
        })
        .collect()
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| stat.id)
    }

    /// Its state, while this very process is there and not dead.
    pub fn state(self) -> Option<char> {
        stat(self.pid).filter(|stat| stat.id == self && !is_dead(stat.state)).map(|stat| stat.state)
    }

    /// Whether this very process is there and not dead.
    pub fn is_alive(self) -> bool {
        self.state().is_some()
    }
}

/// Sends a signal to one process.
///
/// # Errors
/// The operating system's; a process that is not there is no error.
pub fn signal(pid: i32, signal: Signal) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(());
    };
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Sends a signal to all processes of a group, in one system call.
///
/// # Errors
/// The operating system's; a group that is not there is no error.
pub fn signal_group(group: i32, signal: Signal) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(group) else {
        return Ok(());
    };
    match rustix::process::kill_process_group(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether the environment that a process was started with holds `NAME=VALUE`.
pub fn has_variable(pid: i32, name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|entry| entry == wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let text = "7 (a) b) T 1 7 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 4242 0";
        let stat = parse(7, text).unwrap();
        assert_eq!((stat.state, stat.group, stat.session, stat.id.start_time), ('T', 7, 5, 4242));
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let id = ProcessId::of(pid).unwrap();
        assert!(id.is_alive());
        let other = ProcessId { start_time: id.start_time + 1, ..id };
        assert!(!other.is_alive());
        assert!(!threads(pid).is_empty());
    }
}
