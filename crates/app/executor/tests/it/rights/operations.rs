//! Every operation of the executor, and every reading call, each as one question: does it do what it should?

use std::fs;

use felhom_model::{OperationState, Vmid};
use felhom_pve::{BackupMode, ExitStatus, Polling, VzdumpRequest};
use serde_json::json;

use super::world::{World, why};

/// An operation's name and, if it did not do what it should, what it said.
pub(super) type Outcome = (&'static str, Result<(), String>);

/// Names in the order in which they are run and written down.
pub(super) const NAMES: [&str; 14] = [
    "observation",
    "stop_guest",
    "start_guest",
    "reboot_guest",
    "configure_guest (cpu)",
    "configure_guest (memory)",
    "configure_guest (disk)",
    "backup_guest",
    "backup in stop mode",
    "ending its own backup",
    "taking a backup back",
    "restore_test",
    "restore_guest, and taking it back",
    "provision_guest",
];

/// Runs all.
pub(super) async fn all(world: &World, round: u32) -> Vec<Outcome> {
    let guest = world.tenant;
    let mut outcomes = vec![("observation", observation(world).await)];
    world.tenant_is(true).await;
    outcomes.push(("stop_guest", done(world, "stop_guest", json!({ "guest": guest })).await));
    world.tenant_is(false).await;
    outcomes.push(("start_guest", done(world, "start_guest", json!({ "guest": guest })).await));
    world.tenant_is(true).await;
    outcomes.push(("reboot_guest", done(world, "reboot_guest", json!({ "guest": guest })).await));
    world.tenant_is(true).await;
    let configure = [
        ("configure_guest (cpu)", json!({ "guest": guest, "cores": 1 + round % 2 })),
        ("configure_guest (memory)", json!({ "guest": guest, "memory_mib": 256 + round, "swap_mib": round })),
        ("configure_guest (disk)", json!({ "guest": guest, "disk_gib": 2 + round })),
    ];
    for (name, params) in configure {
        outcomes.push((name, done(world, "configure_guest", params).await));
    }
    let backup = json!({ "guest": guest, "target": "local", "quiesced": false });
    outcomes.push(("backup_guest", done(world, "backup_guest", backup).await));
    outcomes.push(("backup in stop mode", stop_mode(world).await));
    outcomes.push(("ending its own backup", ending_a_backup(world).await));
    outcomes.push(("taking a backup back", taking_back(world).await));
    outcomes.push(("restore_test", restore_test(world).await));
    outcomes.push(("restore_guest, and taking it back", restore(world).await));
    outcomes.push(("provision_guest", provision(world, round).await));
    assert_eq!(outcomes.iter().map(|(name, _)| *name).collect::<Vec<_>>(), NAMES);
    outcomes
}

async fn done(world: &World, kind: &str, params: serde_json::Value) -> Result<(), String> {
    world.run(kind, params).await.map(drop)
}

/// What there is must be seen, and what cannot be seen must be said.
async fn observation(world: &World) -> Result<(), String> {
    let seen = world.bench.client.observation().await.map_err(|e| e.to_string())?;
    if let Some(error) = seen.error {
        assert!(!seen.pve_reachable);
        return Err(error);
    }
    let tenant = seen.guests.iter().find(|g| g.uuid == Some(world.tenant));
    assert!(tenant.is_some_and(|g| g.power != "missing"), "a guest is missing, and nothing says why");
    assert_eq!(seen.archives.len(), world.archives().len(), "a backup is missing, and nothing says why");
    assert!(seen.storages.iter().all(|storage| storage.active), "a storage is missing, and nothing says why");
    Ok(())
}

/// The mode for storages without snapshots; the executor's client asks for it, no operation does yet.
pub(super) async fn stop_mode(world: &World) -> Result<(), String> {
    let before = world.archives();
    let pve = world.token();
    next_second().await;
    let upid =
        world.node(&pve).vzdump(&vzdump(world.vmid, BackupMode::Stop)).await.map_err(|e| e.to_string())?;
    let exit = pve.task(&upid).wait(Polling::default()).await.map_err(|e| e.to_string())?;
    if !exit.is_success() {
        return Err(format!("task: {exit}"));
    }
    let log = pve.task(&upid).log().await.unwrap();
    assert!(log.iter().any(|line| line.t.contains("backup mode: stop")), "{log:?}");
    let new: Vec<_> = world.archives().into_iter().filter(|path| !before.contains(path)).collect();
    assert_eq!(new.len(), 1);
    fs::remove_file(&new[0]).unwrap();
    Ok(())
}

/// A second archive of a guest in the same second replaces the first; the executor waits for the next one, too.
async fn next_second() {
    let second = || jiff::Timestamp::now().as_second();
    let now = second();
    assert!(crate::bench::within(std::time::Duration::from_secs(5), async || second() > now).await);
}

fn vzdump(vmid: Vmid, mode: BackupMode) -> VzdumpRequest {
    VzdumpRequest {
        vmid,
        storage: "local".parse().unwrap(),
        mode,
        lockwait: 0,
        notes_template: None,
        protected: false,
        zstd_threads: None,
    }
}

/// What the undo of a backup does first, if the task still runs.
async fn ending_a_backup(world: &World) -> Result<(), String> {
    let before = world.archives();
    let pve = world.token();
    next_second().await;
    world.faults(&json!([{ "at": "vzdump.archive", "id": world.vmid.to_string(), "do": "hold" }]));
    let ended = async {
        let request = vzdump(world.vmid, BackupMode::Snapshot);
        let upid = world.node(&pve).vzdump(&request).await.map_err(|e| e.to_string())?;
        let task = pve.task(&upid);
        let archiving = async || {
            let log = world.root.task(&upid).log().await.unwrap();
            let over = log.iter().any(|line| line.t.starts_with("TASK "));
            over || log.iter().any(|line| line.t.contains("creating vzdump archive"))
        };
        assert!(crate::bench::within(std::time::Duration::from_secs(30), archiving).await);
        task.stop().await.map_err(|e| e.to_string())?;
        task.wait(Polling::default()).await.map_err(|e| e.to_string())
    }
    .await;
    world.faults(&json!([]));
    // So small an archive may be complete before its task hears that it should end.
    for new in world.archives().into_iter().filter(|path| !before.contains(path)) {
        fs::remove_file(new).unwrap();
    }
    match ended? {
        ExitStatus::Failed(text) if text.contains("Permission") => Err(format!("task: {text}")),
        ExitStatus::Failed(_) | ExitStatus::Aborted | ExitStatus::Ok | ExitStatus::Warnings(_) => Ok(()),
    }
}

/// The archive cannot be verified, so the operation takes it back.
async fn taking_back(world: &World) -> Result<(), String> {
    let before = world.archives();
    fs::write(world.bench.sim.path("broken"), b"").unwrap();
    let backup = json!({ "guest": world.tenant, "target": "local", "quiesced": false });
    let op = world.end("backup_guest", backup).await;
    fs::remove_file(world.bench.sim.path("broken")).unwrap();
    let op = op?;
    assert_eq!(world.archives(), before, "{op:?}");
    if op.state == OperationState::RolledBack && why(&op).contains("no such volume") {
        Ok(())
    } else {
        Err(why(&op))
    }
}

async fn restore_test(world: &World) -> Result<(), String> {
    let op = world.run("restore_test", json!({ "guest": world.tenant, "level": "L3" })).await?;
    if op.result["verdict"] == "passed" { Ok(()) } else { Err(op.result["failed_check"].to_string()) }
}

/// A copy whose start fails, so that it is taken back, and the next round can restore again: one copy per guest.
async fn restore(world: &World) -> Result<(), String> {
    world.faults(&json!([{ "at": "vzstart.begin", "id": "2800", "do": { "fail": "no start today" } }]));
    let op = world.end("restore_guest", json!({ "guest": world.tenant })).await;
    world.faults(&json!([]));
    let op = op?;
    if op.state == OperationState::RolledBack && why(&op).contains("no start today") {
        assert!(!world.bench.sim.path("pve/etc/pve/lxc/2800.conf").exists());
        return Ok(());
    }
    Err(why(&op))
}

async fn provision(world: &World, round: u32) -> Result<(), String> {
    let op = world.run("provision_guest", crate::bench::provision(&format!("tenant{round}"))).await?;
    // An observation may be incomplete just now; the result is not.
    world.remove(serde_json::from_value(op.result["vmid"].clone()).unwrap()).await;
    Ok(())
}
