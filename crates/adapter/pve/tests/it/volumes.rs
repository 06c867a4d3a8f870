//! Volumes that change their guest, and what a backup leaves that dies while it takes its snapshot, against the simulated host.

use std::collections::BTreeMap;

use felhom_pve::{
    AttachedVolume, BackupMode, ConfigUpdate, Error, ExitStatus, Guest, GuestConfig, MountPoint, Setting,
    Source, TaskFilter, Vmid, Volid, VolumeKey, VolumeMove, VzdumpRequest, volume_owner,
};

use crate::sim::{Sim, done, restore, restored};

fn other() -> Vmid {
    Vmid::try_from(201).unwrap()
}

async fn digest(guest: &Guest) -> Option<String> {
    guest.config().await.unwrap().digest().map(str::to_owned)
}

/// From `mp0` of 200 to a key of 201.
async fn to_other(source: &Guest, target: &Guest, target_key: VolumeKey) -> VolumeMove {
    VolumeMove {
        key: VolumeKey::Mount(0),
        target: target.vmid(),
        target_key,
        digest: digest(source).await,
        target_digest: digest(target).await,
    }
}

fn attach(n: u8, volume: &Volid) -> ConfigUpdate {
    let mut point: MountPoint = "tank:1/x,mp=/data,backup=1".parse().unwrap();
    point.mount.source = Source::Volume(volume.clone());
    ConfigUpdate {
        mounts: BTreeMap::from([(n, AttachedVolume::try_from(point).unwrap())]),
        ..ConfigUpdate::default()
    }
}

fn named(config: &GuestConfig) -> Vec<Volid> {
    config.volumes().unwrap()
}

/// F82, F85: with all its options and a name that carries the new owner; the task is found by type and id.
#[tokio::test]
async fn a_volume_moves_with_its_options_to_another_guest() {
    let sim = Sim::start();
    let (pve, node, vmid) = restored(&sim).await;
    restore(&pve, &node, other()).await;
    let (source, target) = (node.guest(vmid), node.guest(other()));
    let taken = to_other(&source, &target, VolumeKey::Mount(0)).await;
    let refused = source.move_volume(&taken).await.unwrap_err();
    assert!(refused.to_string().contains("already in use for container '201'"), "{refused}");
    let free = to_other(&source, &target, VolumeKey::Mount(5)).await;
    let stale = VolumeMove { target_digest: Some("0".repeat(40)), ..free.clone() };
    assert!(source.move_volume(&stale).await.is_err());
    let upid = source.move_volume(&free).await.unwrap();
    assert_eq!(done(&pve, &upid).await, ExitStatus::Ok);
    let filter = TaskFilter { kind: Some("move_volume".into()), ..TaskFilter::default() };
    let listed = node.tasks(&filter).await.unwrap();
    assert_eq!(listed.iter().filter(|task| task.upid.id() == free.task_id(vmid)).count(), 1);
    let (left, got) = (source.config().await.unwrap(), target.config().await.unwrap());
    assert!(left.mounts().unwrap().is_empty() && left.unused().unwrap().is_empty());
    let point = got.mounts().unwrap().remove(&5).unwrap();
    assert_eq!((point.path.as_str(), point.backup), ("/data", Some(true)));
    assert_eq!(point.mount.volume().and_then(volume_owner), Some(other()));
}

/// F82, F83: PVE looks at the target's protection only after the rename and the source's write. The volume is in nobody's
/// configuration, and attaching it by name brings it back.
#[tokio::test]
async fn a_move_to_a_protected_guest_loses_the_volume_and_attaching_finds_it() {
    let sim = Sim::start();
    let (pve, node, vmid) = restored(&sim).await;
    restore(&pve, &node, other()).await;
    let (source, target) = (node.guest(vmid), node.guest(other()));
    let protect = |on| ConfigUpdate { protection: Some(on), ..ConfigUpdate::default() };
    target.set_config(&protect(true)).await.unwrap();
    let request = to_other(&source, &target, VolumeKey::Mount(5)).await;
    let exit = done(&pve, &source.move_volume(&request).await.unwrap()).await;
    assert!(exit.to_string().contains("protection mode enabled"), "{exit}");
    let known = named(&target.config().await.unwrap());
    assert_eq!((named(&source.config().await.unwrap()).len(), known.len()), (1, 2));
    let storage = node.storage(&"tank".parse().unwrap());
    let there = storage.volumes(Some(other())).await.unwrap();
    let lost: Vec<_> = there.into_iter().map(|c| c.volid).filter(|volid| !known.contains(volid)).collect();
    assert_eq!(lost.len(), 1);
    assert!(matches!(target.set_config(&attach(5, &lost[0])).await, Err(Error::Refused(_))));
    target.set_config(&protect(false)).await.unwrap();
    target.set_config(&attach(5, &lost[0])).await.unwrap();
    let point = target.config().await.unwrap().mounts().unwrap().remove(&5).unwrap();
    assert_eq!((point.mount.volume(), point.mount.size_bytes()), (Some(&lost[0]), Some(1 << 30)));
}

/// A mount point that is taken away stays as `unusedN` until it is attached again.
#[tokio::test]
async fn a_mount_point_is_detached_and_attached_again() {
    let sim = Sim::start();
    let (_, node, vmid) = restored(&sim).await;
    let guest = node.guest(vmid);
    let volume = guest.config().await.unwrap().mounts().unwrap()[&0].mount.volume().unwrap().clone();
    let detach = ConfigUpdate { reset: vec![Setting::Mount(0)], ..ConfigUpdate::default() };
    guest.set_config(&detach).await.unwrap();
    let config = guest.config().await.unwrap();
    assert!(config.mounts().unwrap().is_empty());
    assert_eq!(config.unused().unwrap()[&0].volume(), Some(&volume));
    guest.set_config(&attach(3, &volume)).await.unwrap();
    let config = guest.config().await.unwrap();
    assert!(config.unused().unwrap().is_empty());
    assert_eq!(config.mounts().unwrap()[&3].mount.volume(), Some(&volume));
}

/// F99, F100: a backup that dies while its snapshot is taken leaves one that only force removes, after two unlocks.
#[tokio::test]
async fn a_half_made_snapshot_goes_by_force_only() {
    let sim = Sim::start();
    let (pve, node, vmid) = restored(&sim).await;
    let guest = node.guest(vmid);
    assert!(done(&pve, &guest.start().await.unwrap()).await.is_success());
    sim.tool("fault", &["set", r#"{"at": "vzdump.volume", "nth": 1, "do": "kill"}"#]);
    let backup = VzdumpRequest {
        vmid,
        storage: "local".parse().unwrap(),
        mode: BackupMode::Snapshot,
        lockwait: 0,
        notes_template: None,
        protected: false,
        zstd_threads: None,
    };
    assert_eq!(done(&pve, &node.vzdump(&backup).await.unwrap()).await, ExitStatus::Aborted);
    sim.tool("fault", &["clear"]);
    assert_eq!(guest.config().await.unwrap().lock(), Some("snapshot"));
    let left = guest.snapshots().await.unwrap();
    assert_eq!((left[0].name.as_str(), left[0].snapstate.as_deref()), ("vzdump", Some("prepare")));
    let name = left[0].name.parse().unwrap();
    let id = vmid.to_string();
    sim.tool("pct", &["unlock", &id]);
    let exit = done(&pve, &guest.delete_snapshot(&name).await.unwrap()).await;
    assert!(matches!(exit, ExitStatus::Failed(_)), "{exit}");
    let exit = done(&pve, &guest.force_delete_snapshot(&name).await.unwrap()).await;
    assert_eq!(exit.lock().as_deref(), Some("snapshot-delete"), "force breaks no lock");
    sim.tool("pct", &["unlock", &id]);
    assert_eq!(done(&pve, &guest.force_delete_snapshot(&name).await.unwrap()).await.lock(), None);
    assert!(guest.snapshots().await.unwrap().is_empty());
}
