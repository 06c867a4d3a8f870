//! A bad disk: bytes change on their way into the archive, or in it.

use std::{fs, time::Duration};

use anyhow::Result;
use rustix::process::Signal;

use super::Meddling;
use crate::demo::{call, disk, driver::Demo, judge, service::signal, world::BACKUP_STORE};

/// The app's data changes in the snapshot, after the freeze and before tar reads it.
pub(super) fn flip_in_snapshot(demo: &Demo) -> Result<Meddling> {
    let vmid = demo.facts.guest.vmid;
    let snapshot = disk::volumes(&demo.world, vmid).join(format!("vm-{vmid}-disk-0@vzdump/disk.raw"));
    let file = disk::app_data(&snapshot).join("files/photo-05.jpg");
    Ok(Meddling::repeat(Duration::from_millis(1), move || disk::flip_byte(&file).is_ok()))
}

/// The archive's file changes when the backup is done, and before anybody tests it: the agent, which would ask for the
/// test at once, stands still meanwhile.
pub(super) fn flip_when_done(demo: &Demo) -> Result<Meddling> {
    let dump = disk::storage(&demo.world, BACKUP_STORE).join("dump");
    let services = demo.services.clone();
    let mut ask = demo.executor(&["ops", "--json"]);
    let mut stopped = None;
    Ok(Meddling::repeat(Duration::from_millis(2), move || {
        let Some(archive) = fs::read_dir(&dump).ok().and_then(|entries| {
            let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            paths.find(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with("vzdump-lxc-2") && name.ends_with(".tar.zst")
            })
        }) else {
            return false;
        };
        let agent = *stopped.get_or_insert_with(|| {
            let pid = services.pid("agent").unwrap_or_default();
            signal(pid, Signal::STOP);
            pid
        });
        let operations = call::json(&mut ask).unwrap_or_default();
        let over = judge::newest(&operations, "backup_guest", &[])
            .is_some_and(|operation| judge::done(operation).unwrap_or(true));
        if over {
            // Whether it worked is judged by who notices.
            let _ = disk::flip_byte(&archive);
            signal(agent, Signal::CONT);
        }
        over
    }))
}
