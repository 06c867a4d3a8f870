//! Whoever has a shell in the guest sends SIGCONT to the app as soon as it is paused, for a moment: it is the controller's
//! freeze that is broken, not the one of the host's own snapshot after it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::Signal;

use super::Meddling;
use crate::demo::{
    disk,
    driver::Demo,
    service::{is_stopped, processes_below, signal},
};

const PROGRAM: &str = "sample-app";
/// Longer than the controller takes to see that all stand still, shorter than the way to the host's snapshot.
const MOMENT: Duration = Duration::from_millis(40);

pub(super) fn resume_when_paused(demo: &Demo) -> Result<Meddling> {
    let rootfs = disk::rootfs(&demo.world, demo.facts.guest.vmid);
    let mut app = processes_of(&rootfs);
    let mut looks = 0_u32;
    let mut first: Option<Instant> = None;
    Ok(Meddling::repeat(Duration::from_millis(2), move || {
        looks += 1;
        if looks.is_multiple_of(200) {
            app = processes_of(&rootfs);
        }
        for pid in app.iter().filter(|pid| is_stopped(**pid)) {
            signal(*pid, Signal::CONT);
            first.get_or_insert_with(Instant::now);
        }
        first.is_some_and(|first| first.elapsed() > MOMENT)
    }))
}

fn processes_of(rootfs: &Path) -> Vec<u32> {
    let is_app =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.ends_with(PROGRAM));
    processes_below(rootfs).into_iter().filter(is_app).collect()
}
