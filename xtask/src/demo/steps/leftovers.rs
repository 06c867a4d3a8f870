//! Step 9: what is left on the host is what was asked for and nothing else: no guest, volume, snapshot, half-written
//! archive, lock or stopped process that nobody owns; every operation is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::demo::{
    disk,
    driver::Demo,
    judge, service,
    world::{BACKUP_STORE, GUEST_STORE},
};

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    let facts = &demo.facts;
    let ours = BTreeSet::from([facts.guest.vmid, facts.tombstone]);
    guests(&disk::guests(&demo.world)?, &ours)?;
    volumes(&names(&disk::storage(&demo.world, GUEST_STORE).join("images"))?, &ours)?;
    for vmid in &ours {
        volume_parts(*vmid, &names(&disk::volumes(&demo.world, *vmid))?)?;
    }
    let name = |volid: &str| volid.rsplit('/').next().unwrap_or_default().to_owned();
    let archives = [name(&facts.archive.volid), name(&facts.second_archive)];
    dump(&names(&disk::storage(&demo.world, BACKUP_STORE).join("dump"))?, &archives)?;
    for pid in service::processes_below(&demo.world.dir) {
        ensure!(!service::is_stopped(pid), "process {pid} of a guest was left frozen");
    }
    all_over(&demo.operations()?)?;
    demo.screen
        .say("  nothing is left over: no guest, volume, snapshot, lock, frozen app or half-done operation");
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn guests(found: &BTreeMap<u32, disk::GuestConfig>, ours: &BTreeSet<u32>) -> Result<()> {
    for (vmid, config) in found {
        ensure!(ours.contains(vmid), "guest {vmid} was left over");
        ensure!(config.get("lock").is_none(), "guest {vmid} was left locked: {:?}", config.get("lock"));
        ensure!(config.get("parent").is_none(), "guest {vmid} was left with a snapshot");
    }
    ensure!(found.len() == ours.len(), "a guest is gone: {ours:?} were made, {:?} are there", found.keys());
    Ok(())
}

fn volumes(found: &[String], ours: &BTreeSet<u32>) -> Result<()> {
    for name in found {
        let vmid = name.parse().with_context(|| format!("images/{name} was left over"))?;
        ensure!(ours.contains(&vmid), "volumes of guest {vmid} were left over");
    }
    Ok(())
}

fn volume_parts(vmid: u32, found: &[String]) -> Result<()> {
    for name in found {
        let own = name == &format!("vm-{vmid}-disk-0");
        ensure!(own, "images/{vmid}/{name} was left over");
    }
    Ok(())
}

/// The golden archive and the backups, with their logs and notes.
fn dump(found: &[String], archives: &[String]) -> Result<()> {
    for archive in archives {
        ensure!(found.contains(archive), "{archive} is gone");
    }
    for name in found {
        let backup = archives.iter().any(|archive| name.starts_with(archive.trim_end_matches(".tar.zst")));
        let known = name.starts_with("vzdump-lxc-1999-") || backup;
        let whole = [".tar.zst", ".log", ".notes", ".protected"].iter().any(|end| name.ends_with(end));
        ensure!(known && whole, "dump/{name} was left over");
    }
    Ok(())
}

fn all_over(operations: &Value) -> Result<()> {
    for operation in operations.as_array().into_iter().flatten() {
        let state = judge::text(operation, "state");
        ensure!(
            matches!(state, "done" | "refused" | "rolled_back" | "vetoed"),
            "{} is still {state}",
            judge::text(operation, "kind")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_thing_that_was_left_over_is_found() {
        let ours = BTreeSet::from([2000, 2800]);
        let config = |text: &str| disk::GuestConfig::parse(text);
        let both = |text: &str| BTreeMap::from([(2000, config("arch: amd64\n")), (2800, config(text))]);
        assert!(guests(&both("arch: amd64\n"), &ours).is_ok());
        assert!(guests(&both("lock: backup\n"), &ours).is_err());
        assert!(guests(&both("parent: vzdump\n"), &ours).is_err());
        assert!(guests(&BTreeMap::from([(2000, config(""))]), &ours).is_err());
        assert!(guests(&BTreeMap::from([(2000, config("")), (2900, config(""))]), &ours).is_err());

        assert!(volumes(&list(&["2000", "2800"]), &ours).is_ok());
        assert!(volumes(&list(&["2000", "2900"]), &ours).is_err());
        assert!(volume_parts(2000, &list(&["vm-2000-disk-0"])).is_ok());
        assert!(volume_parts(2000, &list(&["vm-2000-disk-0", "vm-2000-disk-0@vzdump"])).is_err());
        assert!(volume_parts(2000, &list(&["vm-2000-disk-1"])).is_err());

        let archive = "vzdump-lxc-2000-2026_01_01-00_00_00.tar.zst";
        let golden = "vzdump-lxc-1999-2026_01_01-00_00_00.tar.zst";
        let log = "vzdump-lxc-2000-2026_01_01-00_00_00.log";
        let ours = list(&[archive]);
        assert!(dump(&list(&[golden, archive, log]), &ours).is_ok());
        assert!(dump(&list(&[golden]), &ours).is_err());
        for left in [
            "vzdump-lxc-2000-2026_01_01-00_00_00.tar.dat",
            "vzdump-lxc-2000-2026_02_02-00_00_00.tar.zst",
            "x.tmp",
        ] {
            assert!(dump(&list(&[archive, left]), &ours).is_err(), "{left}");
        }
    }

    #[test]
    fn an_operation_that_is_not_over_is_found() {
        assert!(
            all_over(&json!([{ "kind": "a", "state": "done" }, { "kind": "b", "state": "refused" }])).is_ok()
        );
        for state in
            ["running", "needs_operator", "rolling_back", "pending", "pending_authorization", "waiting"]
        {
            assert!(all_over(&json!([{ "kind": "a", "state": state }])).is_err(), "{state}");
        }
    }
}
