//! What stands of a backup that is over, cleared on request; and what is not cleared, because somebody else may hold it.

use std::fs;
use std::path::PathBuf;

use felhom_model::{GuestUuid, OperationState};
use felhom_pve::{Endpoint, NodeName, Polling, Pve, VzdumpRequest};
use serde_json::json;

use crate::bench::Bench;
use crate::sim::PASSWORD;

/// A guest with one backup, and its configuration's file.
async fn backed_up(bench: &Bench) -> (GuestUuid, PathBuf) {
    let uuid = bench.tenant("family").await;
    bench.done("b", "backup_guest", json!({ "guest": uuid, "target": "local", "quiesced": false })).await;
    let vmid = bench.guest(uuid).await.vmid;
    (uuid, bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf")))
}

/// Puts a lock there, as a worker that died would have left it.
fn locked(config: &PathBuf, lock: &str) {
    let text = fs::read_to_string(config).unwrap();
    fs::write(config, format!("{text}lock: {lock}\n")).unwrap();
}

async fn refused(bench: &Bench, kind: &str, uuid: GuestUuid, code: &str) -> String {
    let key = format!("{kind}-{code}");
    let op = bench.ask(&key, kind, json!({ "guest": uuid })).await;
    assert_eq!(op.state, OperationState::Refused, "{}", op.verdict);
    assert!(op.verdict.starts_with(code), "{}", op.verdict);
    format!("{:?}", op.evidence)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_lock_of_our_backup_goes_and_once_is_enough() {
    let bench = Bench::start("").await;
    let (uuid, config) = backed_up(&bench).await;
    refused(&bench, "clear_stale_lock", uuid, "not_locked").await;
    locked(&config, "backup");
    let guest = json!({ "guest": uuid });
    assert_eq!(bench.ask("s", "stop_guest", guest.clone()).await.state, OperationState::Refused);
    bench.done("c", "clear_stale_lock", guest.clone()).await;
    assert_eq!(bench.guest(uuid).await.lock, None);
    refused(&bench, "clear_stale_lock", uuid, "not_locked").await;
    bench.done("s2", "stop_guest", guest).await;
}

/// A lock that no backup sets is not this backup's.
#[tokio::test(flavor = "multi_thread")]
async fn another_kind_of_lock_stays() {
    let bench = Bench::start("").await;
    let (uuid, config) = backed_up(&bench).await;
    locked(&config, "migrate");
    let evidence = refused(&bench, "clear_stale_lock", uuid, "foreign_part").await;
    assert!(evidence.contains("lock migrate"), "{evidence}");
    refused(&bench, "clear_leftovers", uuid, "foreign_part").await;
    assert_eq!(bench.guest(uuid).await.lock.as_deref(), Some("migrate"));
}

/// The owner's own backup began later: the lock may be its, whether it lives or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_the_owners_backup_may_have_set_stays() {
    let bench = Bench::start("").await;
    let (uuid, config) = backed_up(&bench).await;
    let endpoint = Endpoint::new(&bench.sim.url, bench.sim.fingerprint.parse().unwrap()).unwrap();
    let root = Pve::login(endpoint, &"root@pam".parse().unwrap(), &PASSWORD.into()).await.unwrap();
    let request = VzdumpRequest {
        vmid: bench.guest(uuid).await.vmid,
        storage: "local".parse().unwrap(),
        mode: felhom_pve::BackupMode::Snapshot,
        lockwait: 0,
        notes_template: None,
        protected: false,
        zstd_threads: None,
    };
    let node = root.node(&NodeName::new("pve").unwrap());
    let upid = node.vzdump(&request).await.unwrap();
    root.task(&upid).wait(Polling::default()).await.unwrap();
    locked(&config, "backup");
    let evidence = refused(&bench, "clear_stale_lock", uuid, "foreign_part").await;
    assert!(evidence.contains(upid.as_str()), "{evidence}");
    assert_eq!(bench.guest(uuid).await.lock.as_deref(), Some("backup"));
}

/// A guest that was never backed up has a lock of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_without_a_backup_stays() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let vmid = bench.guest(uuid).await.vmid;
    locked(&bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf")), "backup");
    refused(&bench, "clear_stale_lock", uuid, "unknown_maker").await;
    refused(&bench, "clear_leftovers", uuid, "unknown_maker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_written_files_of_our_backup_go_and_the_good_archive_stays() {
    let bench = Bench::start("").await;
    let (uuid, config) = backed_up(&bench).await;
    let dump = bench.sim.path("pve/var/lib/vz/dump");
    let listed = || -> Vec<String> {
        let names = fs::read_dir(&dump).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let before = listed();
    let vmid = bench.guest(uuid).await.vmid;
    let archive =
        before.iter().find(|name| name.contains(&format!("-{vmid}-")) && name.ends_with(".tar.zst"));
    let base = archive.unwrap().trim_end_matches(".tar.zst").to_owned();
    // What a killed worker leaves of an archive that never came to be; the next second, since this one's is whole.
    let second: u32 = base[base.len() - 2..].parse().unwrap();
    let dead = format!("{}{:02}", &base[..base.len() - 2], (second + 1).min(59));
    fs::write(dump.join(format!("{dead}.tar.dat")), b"half").unwrap();
    fs::create_dir(dump.join(format!("{dead}.tmp"))).unwrap();
    locked(&config, "backup");
    bench.done("c", "clear_leftovers", json!({ "guest": uuid })).await;
    assert_eq!(listed(), before);
    assert_eq!(bench.guest(uuid).await.lock, None);
    bench.done("again", "clear_leftovers", json!({ "guest": uuid })).await;
    assert_eq!(listed(), before);
    assert_eq!(bench.cat(vmid, "/data/photo.jpg").as_deref(), Some(&b"a photo"[..]));
}
