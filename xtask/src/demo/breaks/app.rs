//! Whoever has a shell in the guest sends SIGCONT to the app as soon as it is paused, until the host's backup begins: it
//! is the controller's freeze that is broken, not the one of the host's own snapshot.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use rustix::process::Signal;

use super::Meddling;
use crate::demo::{
    disk,
    driver::Demo,
    service::{is_stopped, processes_below, signal},
};

const PROGRAM: &str = "sample-app";

pub(super) fn resume_when_paused(demo: &Demo) -> Result<Meddling> {
    let rootfs = disk::rootfs(&demo.world, demo.facts.guest.vmid);
    let mut app = processes_of(&rootfs);
    let mut looks = 0_u32;
    let config = disk::guest_config(&demo.world, demo.facts.guest.vmid);
    Ok(Meddling::repeat(Duration::from_millis(2), move || {
        looks += 1;
        if looks.is_multiple_of(200) {
            app = processes_of(&rootfs);
        }
        for pid in app.iter().filter(|pid| is_stopped(**pid)) {
            signal(*pid, Signal::CONT);
        }
        fs::read_to_string(&config).is_ok_and(|config| config.lines().any(|line| line.starts_with("lock:")))
    }))
}

fn processes_of(rootfs: &Path) -> Vec<u32> {
    let is_app =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.ends_with(PROGRAM));
    processes_below(rootfs).into_iter().filter(is_app).collect()
}
