//! Backups that fail after vzdump was asked for: the archive goes again, and nobody else's does.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use felhom_model::{GuestUuid, OperationState};
use felhom_protocol::executor::OperationRequest;
use felhom_protocol::status::Operation;
use serde_json::{Value, json};

use crate::bench::{Bench, within};
use crate::crash::nothing_left_over;

fn ask(guest: GuestUuid) -> Value {
    json!({ "guest": guest, "target": "local", "quiesced": false })
}

/// From the executor's next start on it cannot find any archive's file: `verify` fails.
pub(crate) fn break_verify(bench: &Bench) {
    let path = bench.sim.path("executor.toml");
    let text = fs::read_to_string(&path).unwrap();
    let broken = |line: &str| {
        if line.starts_with("pvesm = ") { "pvesm = [\"/bin/false\"]".to_owned() } else { line.to_owned() }
    };
    fs::write(path, text.lines().map(broken).collect::<Vec<_>>().join("\n")).unwrap();
}

/// Archives of tenants; the golden one is of another VMID.
pub(crate) fn archives(bench: &Bench) -> Vec<PathBuf> {
    let dump = fs::read_dir(bench.sim.path("pve/var/lib/vz/dump")).unwrap();
    let tenants = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("vzdump-lxc-20") && name.ends_with(".tar.zst")
    };
    dump.map(|entry| entry.unwrap().path()).filter(tenants).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_verified_goes_again_also_across_a_death_at_each_call() {
    let mut bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    bench.done("first", "backup_guest", ask(uuid)).await;
    let first = archives(&bench);
    break_verify(&bench);
    // Calls: vzdump, and the deletion of the undo.
    for (n, when) in [(99, "before"), (1, "before"), (1, "after"), (2, "before"), (2, "after")] {
        let what = format!("dying {when} call {n}");
        bench.kill();
        bench.serve_crashing(n, when).await;
        let op = bench.ask(&format!("b-{n}-{when}"), "backup_guest", ask(uuid)).await;
        assert_eq!(bench.died(op.id).await, n != 99, "{what}");
        if n != 99 {
            bench.serve().await;
        }
        let op = bench.end(op.id).await;
        assert_eq!(op.state, OperationState::RolledBack, "{what}: {:?}\n{}", op.reason, bench.log());
        assert!(op.reason.unwrap().contains("verify"), "{what}");
        assert_eq!(archives(&bench), first, "{what}: the earlier backup stays, and no other one");
        nothing_left_over(&bench, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_after_its_archive_leaves_none() {
    let mut bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    bench.kill();
    bench.serve_crashing(1, "after").await;
    let op = bench.ask("b", "backup_guest", ask(uuid)).await;
    assert!(bench.died(op.id).await);
    // Proxmox ends a backup with an error also when the archive was complete already (a hook, its notes, a prune).
    let tasks = bench.sim.path("pve/var/log/pve/tasks");
    let failed = async || {
        let dirs = fs::read_dir(&tasks).unwrap().flatten().filter(|entry| entry.path().is_dir());
        let logs = dirs.flat_map(|dir| fs::read_dir(dir.path()).unwrap().flatten());
        let of_backup = logs.map(|e| e.path()).filter(|p| p.to_str().unwrap().contains(":vzdump:"));
        of_backup.into_iter().any(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let ended = text.trim_end().ends_with("TASK OK");
            if ended {
                fs::write(&path, text.replace("TASK OK", "TASK ERROR: job errors")).unwrap();
            }
            ended
        })
    };
    assert!(within(Duration::from_secs(60), failed).await, "the task did not end");
    assert_eq!(archives(&bench).len(), 1);
    bench.serve().await;
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::RolledBack, "{:?}\n{}", op.reason, bench.log());
    assert!(archives(&bench).is_empty());
    nothing_left_over(&bench, "task failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_deleted_stays_and_the_reason_says_what_to_do() {
    let mut bench = Bench::start("max_guests = 2").await;
    let (uuid, other) = (bench.tenant("family").await, bench.tenant("neighbours").await);
    let config = fs::read_to_string(bench.sim.path("executor.toml")).unwrap();
    let (op, archive) = standing(&mut bench, uuid, "b").await;
    let reason = op.reason.unwrap();
    let vmid = bench.guest(uuid).await.vmid;
    for part in [
        "verify: ".to_owned(),
        "undo refused, protected".to_owned(),
        format!("pvesm list local --content backup --vmid {vmid}"),
        "pvesm free VOLID".to_owned(),
        format!("pct unlock {vmid}"),
        format!("felhom ops resolve BOX {} WAY` (ways: roll_back, accept)", op.id),
    ] {
        assert!(reason.contains(&part), "`{part}` is not in: {reason}");
    }
    assert!(archive.exists());
    others_go_on(&mut bench, (uuid, other), &config).await;
    assert!(archive.exists(), "nothing touches it later either");
}

/// A backup that stands for an operator, and its archive: somebody protects it, and then it cannot be verified.
pub(crate) async fn standing(bench: &mut Bench, uuid: GuestUuid, key: &str) -> (Operation, PathBuf) {
    bench.kill();
    bench.serve_crashing(1, "after").await;
    let before = archives(bench);
    let op = bench.ask(key, "backup_guest", ask(uuid)).await;
    assert!(bench.died(op.id).await);
    let made = || archives(bench).into_iter().find(|archive| !before.contains(archive));
    assert!(within(Duration::from_secs(60), async || made().is_some()).await, "no archive");
    let archive = made().unwrap();
    fs::write(format!("{}.protected", archive.display()), b"").unwrap();
    break_verify(bench);
    bench.serve().await;
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::NeedsOperator, "{:?}", op.reason);
    (op, archive)
}

/// Reading calls, and another guest's backup, although a backup's slot was held; also after a restart.
async fn others_go_on(bench: &mut Bench, (held, other): (GuestUuid, GuestUuid), config: &str) {
    fs::write(bench.sim.path("executor.toml"), config).unwrap();
    bench.kill();
    bench.serve().await;
    let listed = bench.client.operations(None).await.unwrap();
    assert!(listed.iter().any(|op| op.state == OperationState::NeedsOperator));
    assert_eq!(bench.client.observation().await.unwrap().guests.len(), 2);
    bench.done("other", "backup_guest", ask(other)).await;
    let request = OperationRequest {
        request_id: "again".to_owned(),
        kind: "backup_guest".to_owned(),
        params: ask(held),
        reason: "test".to_owned(),
        asked_by: "local".to_owned(),
    };
    let busy = bench.client.request(&request).await.unwrap_err();
    assert_eq!(busy.status(), Some(409), "{busy}");
    assert!(busy.to_string().contains("needs an operator"), "{busy}");
}
