//! F43, F50–F53, F99, F100: snapshots, rollback, and what a killed snapshot leaves.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::server::{Caller, Server, kill9, pid_of};
use crate::support::{lives, process_state, until};

const CONFIG: &str = "/nodes/pve/lxc/100/config";
const SNAPSHOT: &str = "/nodes/pve/lxc/100/snapshot";

fn tree(server: &Server, disk: u32, snapshot: &str) -> PathBuf {
    server.state().join(format!("mnt/tank/images/100/vm-100-disk-{disk}{snapshot}/disk.raw"))
}

fn write_all(server: &Server, text: &str) {
    for disk in 0..3 {
        fs::write(tree(server, disk, "").join("mark"), text).unwrap();
    }
}

/// Makes a task stop for good at a place, or with an empty list lets all go on.
fn faults(server: &Server, rules: &Json) {
    let dir = server.state().join("control");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("new"), json!({"rules": rules}).to_string()).unwrap();
    fs::rename(dir.join("new"), dir.join("faults.json")).unwrap();
}

/// What the owner of the host does with `pct unlock`.
fn unlock(server: &Server) {
    let file = server.state().join("etc/pve/lxc/100.conf");
    let text = fs::read_to_string(&file).unwrap();
    let kept: String = text.lines().filter(|l| !l.starts_with("lock:")).map(|l| format!("{l}\n")).collect();
    fs::write(&file, kept).unwrap();
}

async fn list(root: &Caller) -> Vec<Json> {
    let mut all = root.get(SNAPSHOT).await.ok().as_array().unwrap().clone();
    all.sort_by_key(|e| e["name"].to_string());
    all
}

/// F51, rec 952–963: all volumes (also backup=0) and the options come back, the description does not; a volume added since becomes
/// unused, and one that was taken away comes back (rec 965–971).
#[tokio::test]
async fn f51_a_rollback_brings_volumes_and_options_back_but_not_the_description() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    write_all(&server, "one");
    assert_eq!(root.run(SNAPSHOT, &[("snapname", "snap1"), ("description", "before")]).await, "OK");
    let form = [
        ("memory", "96"),
        ("tags", "changed"),
        ("description", "changed"),
        ("hostname", "changed"),
        ("mp2", "tank:0.1,mp=/later"),
    ];
    root.put(CONFIG, &form).await.ok();
    write_all(&server, "two");
    let upid = root.post(&format!("{SNAPSHOT}/snap1/rollback"), &[]).await.upid();
    assert_eq!((root.wait(&upid).await, root.log(&upid).await), ("OK".into(), vec!["TASK OK".into()]));
    for disk in 0..3 {
        assert_eq!(fs::read_to_string(tree(&server, disk, "").join("mark")).unwrap(), "one");
    }
    let config = root.get(CONFIG).await.ok();
    assert_eq!((&config["memory"], &config["tags"]), (&json!(256), &json!("golden")));
    assert_eq!((&config["hostname"], &config["description"]), (&json!("golden"), &json!("changed\n")));
    assert_eq!((&config["mp2"], &config["unused0"]), (&Json::Null, &json!("tank:100/vm-100-disk-3.raw")));
    assert_eq!((&config["parent"], &config["lock"]), (&json!("snap1"), &Json::Null));
    root.put(CONFIG, &[("delete", "mp1")]).await.ok();
    assert_eq!(root.get(CONFIG).await.ok()["unused1"], "tank:100/vm-100-disk-2.raw");
    assert_eq!(root.run(&format!("{SNAPSHOT}/snap1/rollback"), &[]).await, "OK");
    let config = root.get(CONFIG).await.ok();
    assert_eq!(config["mp1"], "tank:100/vm-100-disk-2.raw,mp=/scratch,backup=0,size=1G");
    assert_eq!((&config["unused0"], &config["unused1"]), (&json!("tank:100/vm-100-disk-3.raw"), &Json::Null));
}

/// F53, F36, rec 201–205, 681–685: a rollback ends a running guest; start=1 starts it again in a task of its own, whose name nobody
/// gets told.
#[tokio::test]
async fn f53_a_rollback_stops_the_guest_and_starts_it_only_if_told() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    assert_eq!(root.run(SNAPSHOT, &[("snapname", "s1")]).await, "OK");
    assert_eq!(root.run(&format!("{SNAPSHOT}/s1/rollback"), &[]).await, "OK");
    let current = "/nodes/pve/lxc/100/status/current";
    assert_eq!(root.get(current).await.ok()["status"], "stopped");
    assert_eq!(root.run(&format!("{SNAPSHOT}/s1/rollback"), &[("start", "1")]).await, "OK");
    let query = "/nodes/pve/tasks?source=all&typefilter=vzstart&vmid=100";
    let tasks = root.get(query).await.ok();
    assert_eq!(tasks.as_array().unwrap().len(), 2, "{tasks}");
    for task in tasks.as_array().unwrap() {
        assert_eq!(root.wait(task["upid"].as_str().unwrap()).await, "OK");
    }
    assert_eq!(root.get(current).await.ok()["status"], "running");
    assert_eq!(root.run(&format!("{SNAPSHOT}/none/rollback"), &[]).await, "snapshot 'none' does not exist");
}

/// F53, rec 206, 207: after a rollback to a snapshot of a running guest each file system waits, and the status with it. (Switched on
/// with a short time here; a real node takes 42 s each.)
#[tokio::test]
async fn f53_volumes_of_a_snapshot_of_a_running_guest_wait_at_their_first_mount() {
    let server = Server::with(&["--runtime", "none", "--auth-delay-ms", "0", "--mmp-wait-ms", "150"]);
    let root = server.root().await;
    server.restored(&root, 100).await;
    let start = "/nodes/pve/lxc/100/status/start";
    assert_eq!(root.run(start, &[]).await, "OK");
    assert_eq!(root.run(SNAPSHOT, &[("snapname", "s1")]).await, "OK");
    assert_eq!(root.run(&format!("{SNAPSHOT}/s1/rollback"), &[]).await, "OK");
    let busy = |disk| server.state().join(format!("mnt/tank/images/100/vm-100-disk-{disk}/.disk.raw.busy"));
    assert!(busy(0).exists() && busy(2).exists());
    let began = std::time::Instant::now();
    let upid = root.post(start, &[]).await.upid();
    until("the start waits", || !busy(0).exists());
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.ok()["status"], "running");
    assert!(began.elapsed().as_millis() >= 450, "three volumes: {:?}", began.elapsed());
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(!busy(2).exists());
}

/// F52, rec 181, 196, 199, 212–222, 880, 881: list with parents, descriptions, and what deleting one in the middle does.
#[tokio::test]
async fn f52_snapshots_know_their_parents() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    for (name, text) in [("s1", "one"), ("s2", "")] {
        assert_eq!(root.run(SNAPSHOT, &[("snapname", name), ("description", text)]).await, "OK");
    }
    let all = list(&root).await;
    assert_eq!((&all[0]["name"], &all[0]["parent"]), (&json!("current"), &json!("s2")));
    assert_eq!((&all[1]["description"], &all[1]["parent"]), (&json!("one\n"), &Json::Null));
    assert_eq!((&all[2]["description"], &all[2]["parent"]), (&json!(""), &json!("s1")));
    let answer = root.get(&format!("{CONFIG}?snapshot=none")).await;
    answer.failed(500, "snapshot 'none' does not exist");
    let both = root.get(&format!("{CONFIG}?snapshot=s1&current=1")).await;
    both.bad_parameter("current", "cannot use 'snapshot' parameter with 'current'");
    let path = format!("{SNAPSHOT}/s1/config");
    root.put(&path, &[("description", "edited")]).await.ok();
    let shown = root.get(&path).await.ok();
    assert_eq!((&shown["description"], &shown["digest"]), (&json!("edited\n"), &Json::Null));
    assert!(shown["snaptime"].is_u64(), "{shown}");
    let answer = root.put(&format!("{SNAPSHOT}/none/config"), &[("description", "x")]).await;
    answer.failed(500, "snapshot 'none' does not exist");
    let index = root.get(&format!("{SNAPSHOT}/whatever")).await.ok();
    assert_eq!(index, json!([{"cmd": "rollback"}, {"cmd": "config"}]));
    let upid = root.delete(&format!("{SNAPSHOT}/s1")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let all = list(&root).await;
    assert_eq!((all.len(), &all[1]["name"], &all[1]["parent"]), (2, &json!("s2"), &Json::Null));
    assert!(!tree(&server, 0, "@s1").exists() && tree(&server, 0, "@s2").exists());
}

/// F41, rec 859–862: a volume that is attached twice breaks the snapshot, which is taken away again.
#[tokio::test]
async fn f41_a_volume_attached_twice_breaks_the_snapshot() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put(CONFIG, &[("mp2", "tank:100/vm-100-disk-1.raw,mp=/dup")]).await.ok();
    let upid = root.post(SNAPSHOT, &[("snapname", "snap1")]).await.upid();
    let exit = root.wait(&upid).await;
    let image = server.state().join("mnt/tank/images/100");
    let image = image.canonicalize().unwrap().display().to_string();
    let expected = format!(
        "command 'btrfs subvolume snapshot -r -- {image}/vm-100-disk-1 {image}/vm-100-disk-1@snap1' failed: \
         ERROR: Could not create subvolume: Read-only file system"
    );
    assert_eq!(exit.trim_end(), expected);
    assert_eq!(root.log(&upid).await[0], "snapshot create failed: starting cleanup");
    assert_eq!(list(&root).await.len(), 1);
    assert_eq!(root.get(CONFIG).await.ok()["lock"], Json::Null);
    assert!(!tree(&server, 0, "@snap1").exists() && !tree(&server, 1, "@snap1").exists());
}

/// F99, F100, rec 2/1180–1213: a snapshot worker that is killed leaves the guest frozen, the lock and a half-made entry. The guest says
/// it runs and does nothing; nobody without root can help it; the half-made snapshot goes with force only.
#[tokio::test]
async fn f99_a_killed_snapshot_leaves_the_guest_frozen_and_f100_a_half_made_entry() {
    let server = Server::with_processes();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let current = "/nodes/pve/lxc/100/status/current";
    let init = i32::try_from(root.get(current).await.ok()["pid"].as_i64().unwrap()).unwrap();
    faults(&server, &json!([{"at": "vzsnapshot.volume", "do": "kill"}]));
    let upid = root.post(SNAPSHOT, &[("snapname", "k1")]).await.upid();
    assert_eq!(root.wait(&upid).await, "unexpected status");
    faults(&server, &json!([]));
    assert_eq!(process_state(init), Some('T'));
    assert_eq!(root.get(current).await.ok()["status"], "running", "the lie");
    let all = list(&root).await;
    assert_eq!((&all[1]["name"], &all[1]["snapstate"]), (&json!("k1"), &json!("prepare")));
    assert!(tree(&server, 0, "@k1").exists() && !tree(&server, 1, "@k1").exists());
    root.post("/nodes/pve/lxc/100/status/resume", &[]).await.failed(500, "CT 100 already running");
    for act in ["stop", "shutdown"] {
        assert_eq!(
            root.run(&format!("/nodes/pve/lxc/100/status/{act}"), &[]).await,
            "CT is locked (snapshot)"
        );
    }
    for query in ["", "?force=1"] {
        let upid = root.delete(&format!("{SNAPSHOT}/k1{query}")).await.upid();
        assert_eq!(root.wait(&upid).await, "CT is locked (snapshot)");
    }
    unlock(&server);
    assert_eq!(process_state(init), Some('T'), "taking the lock away does not thaw");
    let upid = root.post("/nodes/pve/lxc/100/status/shutdown", &[("timeout", "0")]).await.upid();
    assert_eq!(root.wait(&upid).await, "container did not stop");
    assert_eq!(
        root.log(&upid).await[0],
        "command 'lxc-stop -n 100 --nokill --timeout 0' failed: exit code 1"
    );
    assert_eq!(root.run(SNAPSHOT, &[("snapname", "k2")]).await, "OK");
    assert_ne!(process_state(init), Some('T'), "the next snapshot thaws");
    let exit = root.run(&format!("{SNAPSHOT}/k1/rollback"), &[]).await;
    assert_eq!(exit, "unable to rollback to incomplete snapshot (snapstate = prepare)");
    let upid = root.delete(&format!("{SNAPSHOT}/k1")).await.upid();
    let image = server.state().join("mnt/tank/images/100").canonicalize().unwrap().display().to_string();
    let cannot = |disk: u32| {
        format!(
            "command 'btrfs subvolume delete -- {image}/vm-100-disk-{disk}@k1' failed: \
             ERROR: Could not statfs: No such file or directory"
        )
    };
    assert_eq!(root.wait(&upid).await, cannot(1));
    assert_eq!(list(&root).await[1]["snapstate"], "delete");
    let upid = root.delete(&format!("{SNAPSHOT}/k1?force=1")).await.upid();
    assert_eq!(root.wait(&upid).await, "CT is locked (snapshot-delete)");
    unlock(&server);
    let upid = root.delete(&format!("{SNAPSHOT}/k1?force=1")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await, [cannot(1), cannot(2), "TASK OK".into()]);
    let names: Vec<Json> = list(&root).await.iter().map(|e| e["name"].clone()).collect();
    assert_eq!(names, [json!("current"), json!("k2")]);
}

/// F43, rec 150, 160, 161: everybody with VM.Config.Options can lock a guest, nobody can unlock it.
#[tokio::test]
async fn f43_a_lock_can_be_set_and_not_taken_away() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put(CONFIG, &[("lock", "backup")]).await.ok();
    root.put(CONFIG, &[("delete", "lock")]).await.failed(500, "CT is locked (backup)");
    root.put(CONFIG, &[("memory", "64")]).await.failed(500, "CT is locked (backup)");
    assert_eq!(root.run(SNAPSHOT, &[("snapname", "s1")]).await, "CT is locked (backup)");
}

/// A rollback that is killed leaves lock `rollback` and the snapshot; after an unlock it can be done again (unrecorded:
/// AbstractConfig.pm:1124 of pve-guest-common).
#[tokio::test]
async fn a_killed_rollback_can_be_repeated_after_an_unlock() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    write_all(&server, "one");
    assert_eq!(root.run(SNAPSHOT, &[("snapname", "s1")]).await, "OK");
    write_all(&server, "two");
    faults(&server, &json!([{"at": "vzrollback.volume", "do": "hold"}]));
    let upid = root.post(&format!("{SNAPSHOT}/s1/rollback"), &[]).await.upid();
    until("the first volume is back", || {
        fs::read_to_string(tree(&server, 0, "").join("mark")).is_ok_and(|t| t == "one")
    });
    kill9(pid_of(&upid));
    until("dead", || !lives(pid_of(&upid)));
    faults(&server, &json!([]));
    assert_eq!(fs::read_to_string(tree(&server, 1, "").join("mark")).unwrap(), "two", "half rolled back");
    let exit = root.run(&format!("{SNAPSHOT}/s1/rollback"), &[]).await;
    assert_eq!(exit, "CT is locked (rollback)");
    unlock(&server);
    assert_eq!(root.run(&format!("{SNAPSHOT}/s1/rollback"), &[]).await, "OK");
    assert_eq!(fs::read_to_string(tree(&server, 1, "").join("mark")).unwrap(), "one");
}
