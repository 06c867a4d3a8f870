//! F31–F40, F48, F77, F80, F89–F91: tasks, their lists and logs, and what killed workers leave.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::restore::{restore, rules};
use crate::server::{ARCHIVE, CONFIG, Caller, Server, encode, kill9, pid_of, write_archive};
use crate::support::until;

const PATH: &str = "/nodes/pve/lxc";

/// F32, rec 91, 251–258, 350–353: a 200 and a UPID mean almost nothing; the error is in the task.
#[tokio::test]
async fn f32_a_task_can_fail_after_the_200() {
    let server = Server::start();
    let root = server.root().await;
    let missing = "local:backup/vzdump-lxc-110-2020_01_01-00_00_00.tar.zst";
    let form = [("vmid", "116"), ("ostemplate", missing), ("restore", "1"), ("storage", "tank")];
    let upid = root.post(PATH, &form).await.upid();
    let text = format!("unable to restore CT 116 - volume '{missing}' does not exist");
    assert_eq!(root.wait(&upid).await, text);
    let recovering = format!("recovering backed-up configuration from '{missing}'");
    assert_eq!(root.log(&upid).await, [recovering, format!("TASK ERROR: {text}")]);
    root.get("/nodes/pve/lxc/116/config")
        .await
        .failed(500, "Configuration file 'nodes/pve/lxc/116.conf' does not exist");

    let exit = root.run("/nodes/pve/vzdump", &[("vmid", "116"), ("storage", "nosuch")]).await;
    let unknown = "storage 'nosuch' does not exist";
    let expected = format!(
        "could not activate storage 'nosuch': {unknown} could not get storage information for 'nosuch': {unknown}"
    );
    assert_eq!(exit, expected);
    let upid = root.post("/nodes/pve/vzdump", &[("vmid", "999"), ("storage", "local")]).await.upid();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await;
    assert_eq!(log[0], "INFO: starting new backup job: vzdump 999 --node pve --storage local");
    assert_eq!(log[1], "ERROR: Backup of VM 999 failed - unable to find VM '999'");
    let exit = root.run("/nodes/pve/vzdump", &[("vmid", "999"), ("storage", "tank")]).await;
    let wrong = "could not get storage information for 'tank': can't use storage 'tank' for backups - wrong content type";
    assert_eq!(exit, wrong);
}

/// F31, F33, F34, rec 92, 93, 240, 437, 462: a task's name, its status, and how lists differ from it.
#[tokio::test]
async fn f34_lists_and_status_differ() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let list = root.finished("?vmid=100").await;
    assert_eq!(list["total"], 1);
    let entry = &list["data"][0];
    assert_eq!(
        (&entry["status"], &entry["type"], &entry["user"]),
        (&json!("OK"), &json!("vzrestore"), &json!("root@pam"))
    );
    assert!(
        entry["endtime"].is_u64() && entry["exitstatus"].is_null() && entry["tokenid"].is_null(),
        "{entry}"
    );
    let upid = entry["upid"].as_str().unwrap();
    assert!(upid.starts_with("UPID:pve:") && upid.ends_with(":vzrestore:100:root@pam:"), "{upid}");
    let status = root.get(&format!("/nodes/pve/tasks/{}/status", encode(upid))).await.ok();
    assert_eq!((&status["status"], &status["exitstatus"]), (&json!("stopped"), &json!("OK")));
    for (query, count) in [
        ("typefilter=vzdump", 0),
        ("typefilter=vzrestore", 1),
        ("source=active", 0),
        ("errors=1", 0),
        ("vmid=101", 0),
        ("since=4000000000", 0),
        ("since=1", 1),
        ("statusfilter=ok", 1),
        ("statusfilter=unknown", 0),
    ] {
        let found = root.get(&format!("/nodes/pve/tasks?{query}")).await.ok();
        assert_eq!(found.as_array().unwrap().len(), count, "{query}");
    }
    // rec 448, 449, 450, 454, 455.
    root.get("/nodes/pve/tasks/UPID%3Abogus/status")
        .await
        .bad_parameter("upid", "unable to parse worker upid");
    let unknown = "/nodes/pve/tasks/UPID:pve:00000001:00000001:5F000000:vzdump:100:root@pam:";
    root.get(&format!("{unknown}/status")).await.bad_parameter("upid", "no such task");
    let line = json!([{"n": 1, "t": "unable to open file - No such file or directory"}]);
    assert_eq!(root.get(&format!("{unknown}/log")).await.ok(), line);
    assert_eq!(
        root.get(&format!("/nodes/pve/tasks/{upid}")).await.ok(),
        json!([{"name": "log"}, {"name": "status"}])
    );
    assert_eq!(root.delete(&format!("/nodes/pve/tasks/{upid}")).await.ok(), json!(null));
}

/// F35, rec 451, 712, 719: fifty lines from the start, unless one asks otherwise.
#[tokio::test]
async fn f35_the_log_is_cut_at_fifty_lines() {
    let server = Server::start();
    let root = server.root().await;
    let mut config = CONFIG.to_owned();
    for n in 2..16 {
        config.push_str(&format!("mp{n}: tank:999/vm-999-disk-{}.raw,mp=/m{n},backup=1,size=1G\n", n + 1));
    }
    write_archive(&server.dump().join("vzdump-lxc-999-2026_01_01-00_00_00.tar.zst"), &config, 0);
    let form = [("vmid", "100"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank")];
    let upid = root.post(PATH, &form).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let path = format!("/nodes/pve/tasks/{}/log", encode(&upid));
    let answer = root.get(&path).await;
    let (shown, total) = (answer.ok().as_array().unwrap().len(), answer.json["total"].as_u64().unwrap());
    assert_eq!(shown, 50);
    assert!(total > 60);
    assert_eq!(root.log(&upid).await.last().unwrap(), "TASK OK");
    let page = root.get(&format!("{path}?start=2&limit=2")).await.ok();
    assert_eq!((&page[0]["n"], &page[1]["n"], &page[2]), (&json!(3), &json!(4), &json!(null)));
    root.get(&format!("{path}?limit=1&download=1"))
        .await
        .failed(500, "'download' cannot be used together with 'start' or 'limit' parameters");
}

/// F36, rec 235–240: `start=1` starts another task, which the first one does not wait for.
#[tokio::test]
async fn f36_start_is_a_task_of_its_own() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    let form =
        [("vmid", "100"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank"), ("start", "1")];
    assert_eq!(root.run(PATH, &form).await, "OK");
    let deadline = Instant::now() + Duration::from_secs(10);
    while root.get("/nodes/pve/lxc/100/status/current").await.ok()["status"] != "running" {
        assert!(Instant::now() < deadline);
    }
    let found = root.get("/nodes/pve/tasks?source=all&typefilter=vzstart").await.ok();
    assert_eq!(found[0]["id"], "100");
}

/// F38, rec 153–162, 468–477: what a guest's lock refuses at once, and what only in the task.
#[tokio::test]
async fn f38_a_lock_refuses_some_calls_at_once_and_others_in_the_task() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let config = "/nodes/pve/lxc/100/config";
    // F43: anybody with VM.Config.Options sets a lock, nobody removes it.
    root.put(config, &[("lock", "backup")]).await.ok();
    for form in [[("memory", "99")], [("lock", "backup")], [("delete", "lock")]] {
        root.put(config, &form).await.failed(500, "CT is locked (backup)");
    }
    root.delete("/nodes/pve/lxc/100").await.failed(500, "CT is locked (backup)");
    root.delete("/nodes/pve/lxc/100?force=1&purge=1").await.failed(500, "CT is locked (backup)");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "CT is locked (backup)");
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "x1")]).await, "CT is locked (backup)");
    let upid = root.post("/nodes/pve/vzdump", &[("vmid", "100"), ("storage", "local")]).await.upid();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await.join("\n");
    assert!(log.contains("ERROR: Backup of VM 100 failed - CT is locked (backup)"), "{log}");
}

/// F6, rec 168, 180, 491–494: power calls on a guest in the wrong state.
#[tokio::test]
async fn f6_power_calls_in_the_wrong_state() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    for call in ["stop", "shutdown"] {
        let answer = root.post(&format!("/nodes/pve/lxc/100/status/{call}"), &[]).await;
        answer.failed(500, "CT 100 not running");
    }
    root.post("/nodes/pve/lxc/100/status/reboot", &[]).await.failed(500, "VM 100 not running");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    root.post("/nodes/pve/lxc/100/status/start", &[]).await.failed(500, "CT 100 already running");
    root.delete("/nodes/pve/lxc/100").await.failed(500, "unable to destroy CT 100 - container is running");
    let upid = root.delete("/nodes/pve/lxc/100?force=1").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
}

/// F40, rec 902–904: nextid reserves nothing; of several creates with one VMID one wins.
#[tokio::test]
async fn f40_one_of_several_creates_wins() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    let form = [("vmid", "171"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank")];
    let (a, b, c) = tokio::join!(root.post(PATH, &form), root.post(PATH, &form), root.post(PATH, &form));
    let (won, lost): (Vec<_>, Vec<_>) = [a, b, c].into_iter().partition(|a| a.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 2));
    // With that prefix if it is noticed while the VMID is taken, without if it was taken already.
    let taken = "CT 171 already exists on node 'pve'";
    for answer in lost {
        assert!([taken, &format!("unable to restore CT 171 - {taken}")].contains(&answer.reason.as_str()));
        answer.failed(500, &answer.reason);
    }
    // rec 85, 86, 2/42.
    root.get("/cluster/nextid?vmid=171").await.bad_parameter("vmid", "VM 171 already exists");
    assert_eq!(root.get("/cluster/nextid?vmid=172").await.ok(), "172");
    let text = "invalid format - value does not look like a valid VM ID\n";
    root.get("/cluster/nextid?vmid=5").await.bad_parameter("vmid", text);
}

/// A restore whose archiver has its order; its worker is held.
async fn held_restore(server: &Server, root: &Caller) -> String {
    server.add_archive();
    rules(server, &json!([{"at": "vzrestore.tar", "do": "hold"}]));
    let upid = root.post(PATH, &restore("210", &[("storage", "tank")])).await.upid();
    // It does not miss a worker that is killed now.
    let rootfs = server.state().join("mnt/tank/images/210/vm-210-disk-0/disk.raw/etc");
    until("something is unpacked", || rootfs.exists());
    upid
}

/// F34, F76, F80, F89, rec 2/29–50, 595, 1124–1128: a running restore in the lists, its guest, and its end by DELETE.
#[tokio::test]
async fn f80_a_running_restore_is_ended_cleanly() {
    let server = Server::start();
    let root = server.root().await;
    let upid = held_restore(&server, &root).await;
    let active = root.get("/nodes/pve/tasks?source=active").await.ok();
    assert_eq!((&active[0]["status"], &active[0]["saved"]), (&json!("RUNNING"), &json!("0")));
    assert_eq!(root.get("/nodes/pve/tasks").await.ok(), json!([]));
    let config = root.get("/nodes/pve/lxc/210/config").await.ok();
    assert_eq!((config.as_object().unwrap().len(), &config["lock"]), (2, &json!("create")));
    assert_eq!(root.get("/nodes/pve/lxc/210/status/current").await.ok()["name"], "CT210");
    assert_eq!(root.delete(&format!("/nodes/pve/tasks/{}", encode(&upid))).await.ok(), json!(null));
    let exit = root.wait(&upid).await;
    assert!(
        exit.starts_with("unable to restore CT 210 - ") && exit.ends_with("failed: received interrupt"),
        "{exit}"
    );
    assert!(!server.state().join("mnt/tank/images/210").exists());
    assert!(!server.state().join("etc/pve/lxc/210.conf").exists());
}

/// F33, F77, F89, F90, rec 2/51–71: SIGKILL of a restore leaves the lock, the volumes, and the archiver, which goes on.
#[tokio::test]
async fn f77_a_killed_restore_leaves_everything_and_unpacks_on() {
    let server = Server::start();
    let root = server.root().await;
    let upid = held_restore(&server, &root).await;
    kill9(pid_of(&upid));
    assert_eq!(root.wait(&upid).await, "unexpected status");
    let config = server.state().join("etc/pve/lxc/210.conf");
    assert_eq!(fs::read_to_string(config).unwrap(), "lock: create\n");
    let last = server.state().join("mnt/tank/images/210/vm-210-disk-1/disk.raw/last");
    until("the archiver goes on", || last.exists());
    root.delete("/nodes/pve/lxc/210").await.failed(500, "CT is locked (create)");
    let form = [("vmid", "210"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank")];
    root.post(PATH, &form).await.failed(500, "CT 210 already exists on node 'pve'");
    let found = root.get("/nodes/pve/tasks?statusfilter=unknown&source=all").await.ok();
    assert_eq!(found[0]["upid"], json!(upid));
}

/// The server's own death: a running task goes on and is found; what it did while nobody looked is in the lists afterwards.
#[tokio::test]
async fn a_task_outlives_the_server() {
    let mut server = Server::start();
    let root = server.root().await;
    let upid = held_restore(&server, &root).await;
    server.kill_and_restart();
    rules(&server, &json!([]));
    let root = server.root().await;
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.get("/nodes/pve/lxc/210/config").await.ok()["hostname"], "golden");
    root.get("/nodes/pve/lxc/210/status/current").await.ok();
    let upid = root.post("/nodes/pve/lxc/210/status/start", &[]).await.upid();
    root.wait(&upid).await;
    let all = root.get("/nodes/pve/tasks?source=all").await.ok();
    assert_eq!(all.as_array().unwrap().len(), 2, "{all}");
}

/// F90, rec 2/133–137, 616, 629: after the death of server and worker the list says RUNNING, the status is right at once.
#[tokio::test]
async fn f90_the_list_shows_a_dead_task_as_running() {
    let never = ["--runtime", "none", "--auth-delay-ms", "0", "--status-interval-ms", "3600000"];
    let mut server = Server::with(&never);
    let root = server.root().await;
    let upid = held_restore(&server, &root).await;
    server.kill();
    kill9(pid_of(&upid));
    server.restart();
    let root = server.root().await;
    let active = root.get("/nodes/pve/tasks?source=active").await.ok();
    assert_eq!((&active[0]["upid"], &active[0]["status"]), (&json!(upid), &json!("RUNNING")));
    assert_eq!(root.wait(&upid).await, "unexpected status");
}

/// F48, rec 241: `/cluster/resources` and pool members are as old as the last round.
#[tokio::test]
async fn f48_resources_are_stale() {
    let server =
        Server::with(&["--runtime", "none", "--auth-delay-ms", "0", "--status-interval-ms", "3600000"]);
    let root = server.root().await;
    server.restored(&root, 100).await;
    let resources = root.get("/cluster/resources?type=vm").await.ok();
    assert_eq!((&resources[0]["status"], &resources[0]["name"]), (&json!("unknown"), &json!(null)));
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.ok()["status"], "stopped");
    // rec 465, 498: lock and tags are of now, in that list; a pool's members have neither.
    root.put("/nodes/pve/lxc/100/config", &[("tags", "prod")]).await.ok();
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    root.put("/pools", &[("poolid", "ours"), ("vms", "100")]).await.ok();
    assert_eq!(root.get("/cluster/resources?type=vm").await.ok()[0]["tags"], "prod");
    assert_eq!(root.get("/pools?poolid=ours").await.ok()[0]["members"][0]["tags"], json!(null));
}
