//! Root on the host destroys the guest: its processes, its configuration, its volumes. Nobody asked Felhom.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::Meddling;
use crate::demo::{
    disk,
    driver::Demo,
    service::{processes_below, signal},
};

pub(super) fn destroy_as_root(demo: &Demo) -> Result<Meddling> {
    let vmid = demo.facts.guest.vmid;
    let volumes = disk::volumes(&demo.world, vmid);
    let config = demo.world.path(&format!("pve/etc/pve/lxc/{vmid}.conf"));
    fs::remove_file(&config).with_context(|| format!("cannot remove {}", config.display()))?;
    for pid in processes_below(&volumes) {
        signal(pid, Signal::KILL);
    }
    fs::remove_dir_all(&volumes).with_context(|| format!("cannot remove {}", volumes.display()))?;
    Ok(Meddling::over())
}
