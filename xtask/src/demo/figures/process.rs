//! What a process takes, by `/proc`.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::run;

/// A process at rest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Resident {
    /// `VmRSS`, KiB.
    pub(crate) kib: u64,
    /// Time on a processor, of one of them.
    pub(crate) cpu_percent: f64,
}

/// Memory that it holds now.
pub(super) fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    rss(&status).with_context(|| format!("process {pid} has no VmRSS"))
}

fn rss(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

/// Seconds on a processor since its start, its own and the kernel's for it.
pub(super) fn cpu_s(pid: u32) -> Result<f64> {
    let ticks = run::output(Command::new("getconf").arg("CLK_TCK"))?;
    let ticks: f64 = String::from_utf8_lossy(&ticks).trim().parse().context("no ticks a second")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let used = used(&stat).with_context(|| format!("process {pid} has no times"))?;
    Ok(used as f64 / ticks)
}

/// `utime` and `stime`: behind the program's name, which may hold anything, the 12th and the 13th word.
fn used(stat: &str) -> Option<u64> {
    let mut words = stat.rsplit_once(") ")?.1.split(' ').skip(11).map(|word| word.parse::<u64>().ok());
    Some(words.next()?? + words.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_found() {
        let stat = "7 (a) b (x)) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 20";
        assert_eq!(used(stat), Some(200));
        assert_eq!(rss("Name:\tx\nVmRSS:\t   30720 kB\n"), Some(30720));
        assert_eq!(rss("Name:\tx\n"), None);
        assert!(resident_kib(std::process::id()).unwrap() > 100);
        assert!(cpu_s(std::process::id()).unwrap() >= 0.0);
    }
}
