//! F33, F100: what a task leaves that is killed in its midst, and how it is got rid of: snapshots, clones, templates, archives, and the
//! start of all guests. The node's power fails right after the kill. (What a killed restore or backup leaves: [`crate::kills`],
//! [`crate::backup`]; a snapshot: [`crate::snapshot`].)
//!
//! All of it is unrecorded: each test names the source that says what is done in which order.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::restore::{PATH, disk, rules};
use crate::server::{Caller, Server};

const GUEST: &str = "/nodes/pve/lxc/100";
const SNAPSHOT: &str = "/nodes/pve/lxc/100/snapshot";

/// Guest 100 with three volumes.
async fn guest() -> (Server, Caller) {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    (server, root)
}

/// Starts a task that is killed when it gets to a place for the `nth` time, and the server with it.
async fn killed(server: &mut Server, root: Caller, (at, nth): (&str, u32), start: [&str; 2]) -> Caller {
    rules(server, &json!([{"at": at, "nth": nth, "do": "kill"}]));
    let [method, path] = start;
    let answer = root.send(method, path, None).await.ok();
    let kind = at.split('.').next().unwrap();
    let query = format!("?typefilter={kind}");
    let upid = match answer {
        Json::String(upid) => upid,
        _ => root.finished(&query).await["data"][0]["upid"].as_str().unwrap().to_owned(),
    };
    assert_eq!(root.wait(&upid).await, "unexpected status", "{path} at {at}");
    rules(server, &json!([]));
    fs::remove_dir_all(server.state().join("run/faults")).unwrap();
    server.kill_and_restart();
    server.root().await
}

/// What `pct unlock` does.
fn unlock(server: &Server, vmid: u32) {
    let file = server.state().join(format!("etc/pve/lxc/{vmid}.conf"));
    let text = fs::read_to_string(&file).unwrap();
    let kept: String = text.lines().filter(|l| !l.starts_with("lock:")).map(|l| format!("{l}\n")).collect();
    assert_ne!(text, kept, "{vmid} has no lock");
    fs::write(&file, kept).unwrap();
}

async fn config(root: &Caller, vmid: u32) -> Json {
    root.get(&format!("{PATH}/{vmid}/config")).await.ok()
}

fn marks(server: &Server) -> Vec<String> {
    (0..3).map(|n| fs::read_to_string(disk(server, 100, n).join("mark")).unwrap()).collect()
}

fn mark(server: &Server, text: &str) {
    for number in 0..3 {
        fs::write(disk(server, 100, number).join("mark"), text).unwrap();
    }
}

fn snapshots(server: &Server) -> Vec<u32> {
    let tree = |n: &u32| server.state().join(format!("mnt/tank/images/100/vm-100-disk-{n}@s1"));
    (0..3).filter(|n| tree(n).exists()).collect()
}

/// src/PVE/AbstractConfig.pm:1124 of pve-guest-common. Lock `rollback` stays, volumes are of two times; the configuration is the one of
/// before. Another rollback, after an unlock, ends it.
#[tokio::test]
async fn a_rollback_that_was_killed_is_done_again() {
    let (mut server, root) = guest().await;
    mark(&server, "one");
    assert_eq!(root.run(SNAPSHOT, &[("snapname", "s1")]).await, "OK");
    mark(&server, "two");
    root.put(&format!("{GUEST}/config"), &[("memory", "96")]).await.ok();
    let rollback = format!("{SNAPSHOT}/s1/rollback");
    let root = killed(&mut server, root, ("vzrollback.volume", 1), ["POST", &rollback]).await;
    assert_eq!(marks(&server), ["one", "two", "two"]);
    let now = config(&root, 100).await;
    assert_eq!((&now["lock"], &now["memory"]), (&json!("rollback"), &json!(96)));
    for path in ["status/start", "snapshot/s1/rollback"] {
        assert_eq!(root.run(&format!("{GUEST}/{path}"), &[]).await, "CT is locked (rollback)");
    }
    root.delete(GUEST).await.failed(500, "CT is locked (rollback)");
    unlock(&server, 100);
    assert_eq!(root.run(&rollback, &[]).await, "OK");
    assert_eq!(marks(&server), ["one", "one", "one"]);
    let now = config(&root, 100).await;
    assert_eq!((&now["lock"], &now["memory"]), (&Json::Null, &json!(256)));
}

/// src/PVE/AbstractConfig.pm:922 of pve-guest-common. The entry says `snapstate: delete` and names the volumes that are not done with;
/// one whose snapshot is gone while the entry still names it stops every further try without force (F100).
#[tokio::test]
async fn a_deletion_of_a_snapshot_that_was_killed_is_done_again() {
    for (place, nth, left, force) in [
        ("prepared", 1, vec![0, 1, 2], false),
        ("volume", 1, vec![1, 2], false),
        ("removed", 1, vec![1, 2], true),
    ] {
        let (mut server, root) = guest().await;
        assert_eq!(root.run(SNAPSHOT, &[("snapname", "s1")]).await, "OK");
        let (path, at) = (format!("{SNAPSHOT}/s1"), format!("vzdelsnapshot.{place}"));
        let root = killed(&mut server, root, (&at, nth), ["DELETE", &path]).await;
        assert_eq!(snapshots(&server), left, "{place}");
        assert_eq!(config(&root, 100).await["lock"], "snapshot-delete");
        let entry = root.get(&format!("{GUEST}/config?snapshot=s1")).await.ok();
        assert_eq!((&entry["snapstate"], entry["rootfs"].is_null()), (&json!("delete"), place == "volume"));
        let upid = root.delete(&path).await.upid();
        assert_eq!(root.wait(&upid).await, "CT is locked (snapshot-delete)");
        unlock(&server, 100);
        let exit = root.run(&format!("{path}/rollback"), &[]).await;
        assert_eq!(exit, "unable to rollback to incomplete snapshot (snapstate = delete)");
        if force {
            let exit = root.wait(&root.delete(&path).await.upid()).await;
            assert!(exit.starts_with("command 'btrfs subvolume delete"), "{exit}");
            unlock(&server, 100);
        }
        let upid = root.delete(&format!("{path}?force={}", u8::from(force))).await.upid();
        assert_eq!(root.wait(&upid).await, "OK", "{place}");
        assert_eq!(snapshots(&server), [0_u32; 0]);
        let now = config(&root, 100).await;
        assert_eq!((&now["lock"], &now["parent"]), (&Json::Null, &Json::Null));
    }
}

/// src/PVE/API2/LXC.pm:2120 of pve-container. Both locks stay; the new guest names the volumes that are whole, and the one that is not
/// belongs to nobody. Destroying it, after an unlock, leaves that one.
#[tokio::test]
async fn a_clone_that_was_killed_leaves_both_guests_locked() {
    let (mut server, root) = guest().await;
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    let start = format!("{GUEST}/clone?newid=200&full=1&pool=ours");
    let root = killed(&mut server, root, ("vzclone.copied", 2), ["POST", &start]).await;
    let (source, target) = (config(&root, 100).await, config(&root, 200).await);
    assert_eq!((&source["lock"], &target["lock"]), (&json!("disk"), &json!("create")));
    let (volumes, hostname) = ((target["rootfs"].is_null(), target["mp0"].is_null()), &target["hostname"]);
    assert_eq!((volumes, hostname), ((false, true), &json!("golden")));
    assert!(disk(&server, 200, 0).exists() && disk(&server, 200, 1).exists());
    assert_eq!(root.get("/pools?poolid=ours").await.ok()[0]["members"], json!([]));
    assert_eq!(root.run(&format!("{GUEST}/status/start"), &[]).await, "CT is locked (disk)");
    root.delete(&format!("{PATH}/200")).await.failed(500, "CT is locked (create)");
    for vmid in [100, 200] {
        unlock(&server, vmid);
    }
    let upid = root.delete(&format!("{PATH}/200")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(!disk(&server, 200, 0).exists() && disk(&server, 200, 1).exists());
    assert_eq!(root.run(&format!("{GUEST}/status/start"), &[]).await, "OK");
}

/// src/PVE/LXC.pm:1589 of pve-container. The configuration names volumes that have got another name; after the last one only the mark of
/// a template is missing. There is no lock.
#[tokio::test]
async fn a_template_that_was_killed_is_no_template() {
    let base = |server: &Server, n: u32| {
        server.state().join(format!("mnt/tank/images/100/base-100-disk-{n}/disk.raw")).exists()
    };
    let (mut server, root) = guest().await;
    let path = format!("{GUEST}/template");
    let root = killed(&mut server, root, ("vztemplate.volume", 1), ["POST", &path]).await;
    let renamed: Vec<bool> = (0..3).map(|n| base(&server, n)).collect();
    assert_eq!(renamed.iter().filter(|done| **done).count(), 1);
    let now = config(&root, 100).await;
    assert!(
        !now.to_string().contains("base-") && now["lock"].is_null() && now["template"].is_null(),
        "{now}"
    );
    assert_ne!(root.run(&format!("{GUEST}/status/start"), &[]).await, "OK");

    let (mut server, root) = guest().await;
    let root = killed(&mut server, root, ("vztemplate.renamed", 1), ["POST", &path]).await;
    assert!((0..3).all(|n| base(&server, n)));
    let now = config(&root, 100).await;
    assert!(
        now["rootfs"].as_str().unwrap().starts_with("tank:100/base-100-disk-") && now["template"].is_null()
    );
    root.post(&path, &[]).await.ok();
    assert_eq!(root.finished("?typefilter=vztemplate&statusfilter=ok").await["data"][0]["status"], "OK");
    assert_eq!(config(&root, 100).await["template"], 1);
}

fn archives(server: &Server) -> PathBuf {
    for day in 1..=3 {
        let file = server.dump().join(format!("vzdump-lxc-100-2026_01_0{day}-00_00_00"));
        for end in ["tar.zst", "tar.zst.notes", "log"] {
            fs::write(file.with_extension(end), "x").unwrap();
        }
    }
    server.dump().join("vzdump-lxc-100-2026_01_01-00_00_00")
}

async fn listed(root: &Caller) -> usize {
    let content = root.get("/nodes/pve/storage/local/content?vmid=100").await.ok();
    content.as_array().unwrap().len()
}

/// src/PVE/Storage.pm:1831 of pve-storage. Notes and log of a removed archive stay, unlisted; deleting the archive again removes them.
#[tokio::test]
async fn an_archive_whose_removal_was_killed_leaves_its_notes() {
    let (mut server, root) = guest().await;
    let file = archives(&server);
    let path = format!(
        "/nodes/pve/storage/local/content/local:backup/{}.tar.zst",
        file.file_name().unwrap().to_str().unwrap()
    );
    let root = killed(&mut server, root, ("imgdel.removed", 1), ["DELETE", &path]).await;
    let there = |end: &str| file.with_extension(end).exists();
    assert_eq!((there("tar.zst"), there("tar.zst.notes"), there("log")), (false, true, true));
    assert_eq!(listed(&root).await, 2);
    let upid = root.delete(&path).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!((there("tar.zst.notes"), there("log")), (false, false));
}

/// src/PVE/Storage/Plugin.pm:2123 of pve-storage. Each archive goes by itself; the next prune removes what is left to remove.
#[tokio::test]
async fn a_prune_that_was_killed_is_done_again() {
    let (mut server, root) = guest().await;
    let file = archives(&server);
    let path = "/nodes/pve/storage/local/prunebackups?vmid=100&prune-backups=keep-last%3D1";
    let root = killed(&mut server, root, ("prunebackups.removed", 1), ["DELETE", path]).await;
    assert!(!file.with_extension("tar.zst").exists() && file.with_extension("log").exists());
    assert_eq!(listed(&root).await, 2);
    let upid = root.delete(path).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(listed(&root).await, 1);
    assert!(file.with_extension("log").exists(), "nobody looks for the notes of an archive that is gone");
}

/// F92, PVE/API2/Nodes.pm:2092 of pve-manager. Left-over locks of backups are gone; what is being started starts, the others do not.
#[tokio::test]
async fn a_start_of_all_that_was_killed_starts_no_more() {
    let (mut server, root) = guest().await;
    server.restored(&root, 101).await;
    let file = server.state().join("etc/pve/lxc/101.conf");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "lock: backup\n").unwrap();
    let root = killed(&mut server, root, ("startall.started", 1), ["POST", "/nodes/pve/startall"]).await;
    let tasks = root.get("/nodes/pve/tasks?source=all&typefilter=vzstart").await.ok();
    assert_eq!(tasks.as_array().unwrap().len(), 1);
    assert_eq!(root.wait(tasks[0]["upid"].as_str().unwrap()).await, "OK");
    assert_eq!(config(&root, 101).await["lock"], Json::Null);
    let second = root.get("/nodes/pve/lxc/101/status/current").await.ok();
    assert_eq!(second["status"], "stopped");
}
