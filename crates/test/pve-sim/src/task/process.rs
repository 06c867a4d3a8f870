//! What `/proc` says about a process: only a pid together with its start time names one.

use std::fs;

/// This program, also after its file was replaced or removed.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Start time in clock ticks since boot, if the process exists and is no zombie.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may contain anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" { None } else { fields.nth(18)?.parse().ok() }
}

/// Whether this very process runs.
pub(crate) fn running(pid: u32, pstart: u64) -> bool {
    start_time(pid) == Some(pstart)
}

/// Seconds since boot.
pub(crate) fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|s| s.parse().ok()).unwrap_or_default()
}
