//! Proxmox's own workers are killed, at each phase that they have: the operation takes back what it made, and nothing of it is
//! left on the host.

use std::process::Command;
use std::time::Duration;

use felhom_model::OperationState;
use serde_json::json;

use crate::bench::Bench;
use crate::crash::nothing_left_over;
use crate::cutover::{bulk, photo};
use crate::people::{People, challenge};
use crate::sim::simulator;

/// Meddles with the simulated host's workers.
pub(crate) fn fault(bench: &Bench, arguments: &[&str]) {
    let mut command = Command::new(simulator());
    command.args(["fault", "--state"]).arg(bench.sim.path("pve")).args(arguments);
    assert!(command.status().unwrap().success(), "{arguments:?}");
}

/// F77, F78, F91.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_is_taken_back_whole() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
    bench.done("b", "backup_guest", ask).await;
    for phase in ["begin", "locked", "disks", "unpack", "tar", "config", "pool"] {
        let rule = json!({ "at": format!("vzrestore.{phase}"), "do": "kill" }).to_string();
        fault(&bench, &["set", &rule]);
        let op = bench.ask(&format!("restore-{phase}"), "restore_guest", json!({ "guest": uuid })).await;
        let op = bench.end(op.id).await;
        fault(&bench, &["clear"]);
        let what = format!("restore killed at {phase}");
        assert_eq!(op.state, OperationState::RolledBack, "{what}: {op:?}\n{}", bench.log());
        nothing_left_over(&bench, &what).await;
    }
    let log = bench.log();
    assert!(log.matches("clearing what a killed restore left").count() >= 4, "{log}");
    assert_eq!(bench.guest(uuid).await.power, "running");
    let restored = bench.done("r", "restore_guest", json!({ "guest": uuid })).await;
    assert_eq!(restored.state, OperationState::Done);
}

/// F91, F99: also where the guest stays frozen.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_is_taken_back_whole_and_the_guest_runs() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
    let phases = [
        "begin",
        "lock",
        "started",
        "prepared",
        "frozen",
        "volume",
        "snapshot",
        "snapshotted",
        "archive",
        "finish",
    ];
    for phase in phases {
        let rule = json!({ "at": format!("vzdump.{phase}"), "do": "kill" }).to_string();
        fault(&bench, &["set", &rule]);
        let op = bench.ask(&format!("backup-{phase}"), "backup_guest", ask.clone()).await;
        let op = bench.end(op.id).await;
        fault(&bench, &["clear"]);
        let what = format!("backup killed at {phase}");
        assert_eq!(op.state, OperationState::RolledBack, "{what}: {op:?}\n{}", bench.log());
        nothing_left_over(&bench, &what).await;
        let vmid = bench.guest(uuid).await.vmid;
        assert_eq!(
            bench.cat(vmid, "/data/photo.jpg").as_deref(),
            Some(&b"a photo"[..]),
            "{what}: it runs, not frozen"
        );
        let config =
            std::fs::read_to_string(bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf"))).unwrap();
        assert!(!config.contains("[vzdump]"), "{what}: {config}");
        let dump = std::fs::read_dir(bench.sim.path("pve/var/lib/vz/dump")).unwrap();
        let names: Vec<String> = dump.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.iter().all(|n| !n.contains(".tmp") && !n.ends_with(".dat")), "{what}: {names:?}");
    }
    let key = bench.client.observation().await.unwrap().attestation_key;
    let log = crate::audit::log(&bench, &key, Some(uuid)).await;
    let count = |kind: &str| log.iter().filter(|entry| entry.kind == kind).count();
    assert!(count("clearing_leftovers") >= 8, "{log:?}");
    assert!(count("cleared_leftovers") >= 8, "{log:?}");
    bench.done("good", "backup_guest", ask).await;
}

/// A destroy leaves a number and the lock `destroyed`, which no call destroys (LXC.pm:1042 of pve-container 6.1.10), or a guest of
/// which a volume is missing, which none destroys on btrfs (F84). It is ended by whoever was let destroy the guest: a restore
/// test, whoever discards a copy, an undo.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_destroy_is_ended_by_the_operation_that_began_it() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    bench.done("b", "backup_guest", json!({ "guest": uuid, "target": "local", "quiesced": false })).await;
    for phase in ["begin", "volume", "freed"] {
        let rule = json!({ "at": format!("vzdestroy.{phase}"), "do": "kill", "nth": 1 }).to_string();
        fault(&bench, &["set", &rule]);
        bench.done(&format!("test-{phase}"), "restore_test", json!({ "guest": uuid })).await;
        nothing_left_over(&bench, &format!("scratch, {phase}")).await;
        fault(&bench, &["clear"]);

        let restored = bench.done(&format!("copy-{phase}"), "restore_guest", json!({ "guest": uuid })).await;
        let copy = restored.guest.unwrap();
        fault(&bench, &["set", &rule]);
        bench.done(&format!("discard-{phase}"), "discard_restored_copy", json!({ "guest": copy })).await;
        nothing_left_over(&bench, &format!("copy, {phase}")).await;
        fault(&bench, &["clear"]);

        // The restore fails, and what takes it back is killed.
        let broken = json!({ "at": "vzrestore.pool", "do": { "fail": "no" } }).to_string();
        fault(&bench, &["set", &broken]);
        fault(&bench, &["set", &rule]);
        let op = bench.ask(&format!("undo-{phase}"), "restore_guest", json!({ "guest": uuid })).await;
        let op = bench.end(op.id).await;
        assert_eq!(op.state, OperationState::RolledBack, "{phase}: {op:?}\n{}", bench.log());
        nothing_left_over(&bench, &format!("undo, {phase}")).await;
        fault(&bench, &["clear"]);
    }
    let log = bench.log();
    assert!(log.matches("ending what a killed destroy left").count() >= 2, "{log}");
    assert!(log.matches("an empty one takes its place").count() >= 2, "{log}");
    assert_eq!(bench.guest(uuid).await.power, "running");
}

/// A storage whose disk is away looks as if the volumes were gone: nothing is put in their place, and a person looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_destroy_whose_disk_is_away_waits_for_a_person() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    bench.done("b", "backup_guest", json!({ "guest": uuid, "target": "local", "quiesced": false })).await;
    let copy = bench.done("r", "restore_guest", json!({ "guest": uuid })).await.guest.unwrap();
    fault(&bench, &["set", &json!({ "at": "vzdestroy.begin", "do": "hold" }).to_string()]);
    let op = bench.ask("d", "discard_restored_copy", json!({ "guest": copy })).await;
    let held = bench.sim.path("pve/run/held");
    let waits = async || std::fs::read_dir(&held).is_ok_and(|mut all| all.next().is_some());
    assert!(crate::bench::within(Duration::from_secs(30), waits).await, "{}", bench.log());
    let (images, away) = (bench.sim.path("pve/mnt/tank/images"), bench.sim.path("away"));
    std::fs::rename(&images, &away).unwrap();
    std::fs::create_dir(&images).unwrap();
    fault(&bench, &["clear"]);
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::NeedsOperator, "{op:?}\n{}", bench.log());
    assert!(op.reason.as_ref().is_some_and(|why| why.contains("its disk may be away")), "{op:?}");
    assert_eq!(std::fs::read_dir(&images).unwrap().count(), 0, "nothing was made there");
}

/// A worker that somebody kills says nothing of the backup: no receipt calls it bad.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_no_proof_against_a_backup() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    bench.done("b", "backup_guest", json!({ "guest": uuid, "target": "local", "quiesced": false })).await;
    for place in ["vzrestore.begin", "vzrestore.tar", "vzstart.begin", "vzstart.locked"] {
        fault(&bench, &["set", &json!({ "at": place, "do": "kill", "nth": 1 }).to_string()]);
        let op = bench.ask(place, "restore_test", json!({ "guest": uuid })).await;
        let op = bench.end(op.id).await;
        assert_eq!(op.state, OperationState::RolledBack, "{place}: {op:?}\n{}", bench.log());
        fault(&bench, &["clear"]);
        nothing_left_over(&bench, place).await;
    }
    let receipts = bench.client.receipts(None).await.unwrap();
    assert!(receipts.is_empty(), "{receipts:?}");
    bench.done("good", "restore_test", json!({ "guest": uuid })).await;
}

/// F83: Proxmox renames the volume and then writes one configuration after the other. Whichever of it a killed worker did, the photo
/// is with one of the two guests in the end, and that guest runs: forward, and where the cutover is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_move_of_a_bulk_volume_loses_nothing() {
    for phase in ["begin", "renamed", "source-written"] {
        for back in [false, true] {
            let what = format!("killed at {phase}, {}", if back { "taken back" } else { "forward" });
            let mut bench = Bench::start("").await;
            let people = People::on(&mut bench, &["anna"]).await;
            let family = bench.tenant("family").await;
            let old = bench.guest(family).await.vmid;
            bench.done("b", "backup_guest", json!({ "guest": family, "target": "local" })).await;
            bulk(&bench, old, "mp0", "album.jpg", b"the only album");
            let copy = bench.done("r", "restore_guest", json!({ "guest": family })).await.guest.unwrap();
            let new = bench.guest(copy).await.vmid;
            let kill = json!({ "at": format!("move_volume.{phase}"), "do": "kill", "nth": 1 }).to_string();
            fault(&bench, &["set", &kill]);
            if back {
                // The new one never starts.
                let no = json!({ "at": "vzstart.begin", "id": new.to_string(), "do": { "fail": "no" } });
                fault(&bench, &["set", &no.to_string()]);
            }
            let op = bench.ask("c", "cutover_guest", json!({ "guest": family, "copy": copy })).await;
            let (shown, _) = challenge(&bench, op.id).await;
            bench.client.answer(shown.digest, &people.sign("anna", &shown.signed.bytes)).await.unwrap();
            let op = bench.end(op.id).await;
            let wanted = if back { OperationState::RolledBack } else { OperationState::Done };
            assert_eq!(op.state, wanted, "{what}: {op:?}\n{}", bench.log());
            let stands = if back { old } else { new };
            assert_eq!(bench.guest(family).await.vmid, stands, "{what}");
            assert_eq!(photo(&bench, stands, "album.jpg"), b"the only album", "{what}");
            assert_eq!(bench.guest(family).await.power, "running", "{what}");
        }
    }
}
