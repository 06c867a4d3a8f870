//! The closed list of what is done as root beside the API, and which operation does it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use felhom_host::RootAct;
use serde_json::{Value, json};

use super::table;
use super::world::World;

/// Runs each operation and reads the executor's log for what it did as root.
#[tokio::test(flavor = "multi_thread")]
async fn each_root_act_has_an_operation_that_needs_it() {
    let world = World::start().await;
    let guest = json!({ "guest": world.tenant });
    let asks: [(&str, Value); 8] = [
        ("stop_guest", guest.clone()),
        ("start_guest", guest.clone()),
        ("reboot_guest", guest.clone()),
        ("configure_guest", json!({ "guest": world.tenant, "cores": 2, "disk_gib": 2 })),
        ("backup_guest", json!({ "guest": world.tenant, "target": "local", "quiesced": false })),
        ("restore_test", json!({ "guest": world.tenant, "level": "L3" })),
        ("restore_guest", guest),
        ("provision_guest", crate::bench::provision("neighbours")),
    ];
    let mut needed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (kind, params) in asks {
        let before = world.bench.log().len();
        world.run(kind, params).await.unwrap();
        for act in acts(&world.bench.log()[before..]) {
            needed.entry(act).or_default().push(kind);
        }
    }
    assert_eq!(needed.get(&RootAct::PlaceArchive.to_string()), None);
    imported(&world, &mut needed);
    let row = |act: &RootAct| {
        let operations = match (needed.get(&act.to_string()), elsewhere(*act)) {
            (Some(kinds), None) => kinds.join(", "),
            (None, Some(operation)) => operation.to_owned(),
            (None, None) => panic!("nothing needs `{act}`: it goes out of the list"),
            (Some(kinds), Some(_)) => panic!("`{act}` is needed by {kinds:?} here"),
        };
        format!("| {act} | {operations} | {} |", act.reason())
    };
    table::whole("root acts", RootAct::ALL.iter().map(row).collect());
}

/// The operation that needs an act and is not walked here: what it does is tested with a host whose guests run.
fn elsewhere(act: RootAct) -> Option<&'static str> {
    match act {
        RootAct::GuestExec
        | RootAct::GuestPush
        | RootAct::VolumePath
        | RootAct::DigestFile
        | RootAct::PlaceArchive => None,
        RootAct::BindMount => Some("cutover_guest, reverse_cutover_guest"),
        RootAct::Rescan => Some("cutover_guest, reverse_cutover_guest, clear_leftovers"),
        RootAct::GrantRole => Some("reclaim_guest"),
        RootAct::Unlock
        | RootAct::Unfreeze
        | RootAct::EndProcesses
        | RootAct::Unmount
        | RootAct::RemoveDumpFiles => Some("clear_leftovers"),
        RootAct::ReadHost | RootAct::ClockState => Some("doctor"),
        RootAct::InstallFile | RootAct::ManageUnits => Some("install, uninstall"),
        RootAct::MakeUsers | RootAct::MakeDirectories => Some("install"),
        RootAct::RemoveUser => Some("uninstall"),
    }
}

fn acts(log: &str) -> BTreeSet<String> {
    let lines = log.lines().filter_map(|line| line.split_once("root act act=").map(|(_, rest)| rest));
    let name = |rest: &str| {
        let end = [" target=", " path="].iter().filter_map(|key| rest.find(key)).min().unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    lines.map(name).collect()
}

/// `golden import` has no log: it did it if the archive lies there again.
fn imported(world: &World, needed: &mut BTreeMap<String, Vec<&str>>) {
    let sim = &world.bench.sim;
    let golden = || {
        let dump = fs::read_dir(sim.path("pve/var/lib/vz/dump")).unwrap();
        dump.map(|e| e.unwrap().path()).find(|p| p.to_str().unwrap().contains("vzdump-lxc-1999-"))
    };
    fs::remove_file(golden().unwrap()).unwrap();
    let archive = sim.path("release/a.tar.zst");
    let done = sim.executor(&["golden", "import", archive.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(golden().is_some());
    needed.entry(RootAct::PlaceArchive.to_string()).or_default().push("golden import");
}
