//! F39, F44, F54, F61–F65, F67, F68, F70–F72, F91, F93, F97, F99, F101: vzdump.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::faults::fault;
use crate::server::{Caller, Server, encode, kill9, pid_of};
use crate::support::until;

const VZDUMP: &str = "/nodes/pve/vzdump";
const CONTENT: &str = "/nodes/pve/storage/local/content?content=backup&vmid=100";

async fn running(server: &Server, root: &Caller) {
    server.restored(root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
}

/// A backup that must go well; its log.
async fn backup(root: &Caller, more: &[(&str, &str)]) -> Vec<String> {
    let mut form = vec![("vmid", "100"), ("storage", "local"), ("compress", "zstd")];
    form.extend(more);
    let upid = root.post(VZDUMP, &form).await.upid();
    let (exit, log) = (root.wait(&upid).await, root.log(&upid).await);
    assert_eq!(exit, "OK", "{log:#?}");
    log
}

async fn backups(root: &Caller) -> Vec<Json> {
    root.get(CONTENT).await.ok().as_array().unwrap().clone()
}

/// Log lines with what differs from run to run taken out.
fn shape(log: &[String]) -> String {
    let digits = |line: &String| {
        let line = line.split(" (").next().unwrap_or_default();
        line.split(" at ").next().unwrap_or_default().split('\'').next().unwrap_or_default().to_owned()
    };
    log.iter().map(digits).collect::<Vec<_>>().join("\n")
}

/// F97, rec 273: the lines of a snapshot backup in their order, with a freeze because there are several volumes.
#[tokio::test]
async fn f97_phases_of_a_snapshot_backup() {
    let server = Server::start();
    let root = server.root().await;
    running(&server, &root).await;
    let bind = format!("{},mp=/bind", server.state().display());
    root.put("/nodes/pve/lxc/100/config", &[("mp7", &bind)]).await.ok();
    let log = backup(
        &root,
        &[
            ("mode", "snapshot"),
            ("notes-template", "{{guestname}} on {{node}} ({{vmid}})"),
            ("protected", "1"),
        ],
    )
    .await;
    let expected = "INFO: starting new backup job: vzdump 100 --compress zstd --mode snapshot --node pve --notes-template 
INFO: Starting Backup of VM 100
INFO: Backup started
INFO: status = running
INFO: CT Name: golden
INFO: including mount point rootfs
INFO: including mount point mp0
INFO: excluding volume mount point mp1
INFO: excluding bind mount point mp7
INFO: backup mode: snapshot
INFO: ionice priority: 7
INFO: suspend vm to make snapshot
INFO: create storage snapshot 
INFO: resume vm
INFO: guest is online again after <1 seconds
INFO: creating vzdump archive 
INFO: Total bytes written: ";
    let got = shape(&log);
    let (head, tail) =
        got.split_at(got.find("Total bytes written: ").unwrap() + "Total bytes written: ".len());
    assert_eq!(head, expected);
    let tail: Vec<&str> = tail.lines().skip(2).collect();
    assert_eq!(
        tail,
        [
            "INFO: adding notes to backup",
            "INFO: marking backup as protected",
            "INFO: cleanup temporary ",
            "INFO: Finished Backup of VM 100",
            "INFO: Backup finished",
            "INFO: Backup job finished successfully",
            "TASK OK"
        ]
    );
    // F62, F63, rec 286, 557; times per line are in the .log file only.
    let entry = &backups(&root).await[0];
    assert_eq!((&entry["notes"], &entry["protected"]), (&json!("golden on pve (100)"), &json!(1)));
    let name = entry["volid"].as_str().unwrap().split('/').nth(1).unwrap();
    let stamped = fs::read_to_string(server.dump().join(name.replace(".tar.zst", ".log"))).unwrap();
    assert!(stamped.lines().next().unwrap().ends_with(" INFO: Starting Backup of VM 100 (lxc)"), "{stamped}");
    let config = root.get("/nodes/pve/lxc/100/config").await.ok();
    assert_eq!((&config["lock"], &config["parent"]), (&Json::Null, &Json::Null));
}

/// F97: one volume is not frozen beforehand.
#[tokio::test]
async fn f97_one_volume_needs_no_freeze() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put("/nodes/pve/lxc/100/config", &[("delete", "mp0")]).await.ok();
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let log = backup(&root, &[("mode", "snapshot")]).await.join("\n");
    assert!(log.contains("create storage snapshot") && !log.contains("suspend vm"), "{log}");
}

/// F61, rec 277–285, 419–430: a stopped guest is archived in stop mode; suspend copies; stop restarts afterwards.
#[tokio::test]
async fn f61_suspend_and_stop_mode() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let log = shape(&backup(&root, &[("mode", "snapshot")]).await);
    assert!(
        log.contains(
            "status = stopped\nINFO: backup mode: stop\nINFO: ionice priority: 7\nINFO: CT Name: golden"
        ),
        "{log}"
    );
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    wait_a_second().await;
    let log = shape(&backup(&root, &[("mode", "suspend")]).await);
    for line in [
        "starting first sync",
        "suspending guest",
        "starting final sync",
        "resuming guest",
        "guest is online again",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    wait_a_second().await;
    let log = shape(&backup(&root, &[("mode", "stop")]).await);
    assert!(log.contains("stopping virtual guest\nINFO: creating vzdump archive"), "{log}");
    assert!(log.contains("restarting vm\nINFO: guest is online again"), "{log}");
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.ok()["status"], "running");
    assert!(
        !fs::read_dir(server.dump()).unwrap().any(|e| e
            .unwrap()
            .path()
            .extension()
            .is_some_and(|x| x == "tmp"))
    );
}

/// F61, rec 430: on a storage that cannot snapshot, snapshot mode quietly becomes suspend mode.
#[tokio::test]
async fn f61_snapshot_mode_falls_back_to_suspend() {
    let server = Server::start();
    let root = server.root().await;
    running(&server, &root).await;
    allow_guests_on_local(&server);
    root.put("/nodes/pve/lxc/100/config", &[("mp5", "local:1,mp=/dir,backup=1")]).await.ok();
    let log = shape(&backup(&root, &[("mode", "snapshot")]).await);
    let expected =
        "mode failure - some volumes do not support snapshots\nINFO: trying \nINFO: backup mode: suspend";
    assert!(log.contains(expected), "{log}");
}

fn allow_guests_on_local(server: &Server) {
    let path = server.state().join("etc/pve/storage.cfg");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("content backup,vztmpl,iso", "content backup,vztmpl,iso,rootdir,images"))
        .unwrap();
}

/// F101: names have whole seconds.
async fn wait_a_second() {
    tokio::time::sleep(Duration::from_millis(1050)).await;
}

/// F67, rec 2/157–177: a retention of the storage prunes under a plain POST; `remove=0` does not, and fails at the limit.
#[tokio::test]
async fn f67_the_storages_retention_applies_to_every_backup() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let path = server.state().join("etc/pve/storage.cfg");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("prune-backups keep-all=1", "prune-backups keep-last=1")).unwrap();
    backup(&root, &[("protected", "1"), ("remove", "0")]).await;
    wait_a_second().await;
    backup(&root, &[]).await;
    wait_a_second().await;
    let log = backup(&root, &[]).await.join("\n");
    assert!(
        log.contains(
            "INFO: prune older backups with retention: keep-last=1\nINFO: removing backup 'local:backup/"
        ),
        "{log}"
    );
    assert!(log.contains("INFO: pruned 1 backup(s) not covered by keep-retention policy"), "{log}");
    assert_eq!(backups(&root).await.len(), 2, "a protected one is neither counted nor removed");
    let upid = root.post(VZDUMP, &[("vmid", "100"), ("storage", "local"), ("remove", "0")]).await.upid();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await.join("\n");
    let limit = "There is a max backup limit of 1 enforced by the target storage or the vzdump parameters. \
                 Either increase the limit or delete old backups.";
    assert!(log.contains(&format!("ERROR: Backup of VM 100 failed - {limit}")), "{log}");
    let defaults = root.get("/nodes/pve/vzdump/defaults?storage=local").await.ok();
    assert_eq!((&defaults["prune-backups"], &defaults["remove"]), (&json!("keep-last=1"), &json!(1)));
}

/// F68, rec 2/185–200: the host's exclude-path is added to ours, and no line of the log names it.
#[tokio::test]
async fn f68_the_hosts_exclude_path_applies_silently() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let conf = server.state().join("etc/vzdump.conf");
    fs::write(&conf, "exclude-path: /data/file\n").unwrap();
    let log = backup(&root, &[]).await.join("\n");
    assert!(!log.contains("data/file"), "{log}");
    let volid = backups(&root).await[0]["volid"].as_str().unwrap().to_owned();
    let form = [("vmid", "101"), ("ostemplate", volid.as_str()), ("restore", "1"), ("storage", "tank")];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    let data = server.state().join("mnt/tank/images/101/vm-101-disk-1/disk.raw");
    assert!(data.join("last").exists() && !data.join("file").exists());
    fs::write(&conf, "exclude-path: /data/file\nscript: /root/hook\n").unwrap();
    let tenant = server.tenant(&root, "Datastore.AllocateSpace Datastore.Audit", &["/storage/local"]).await;
    let defaults = tenant.get("/nodes/pve/vzdump/defaults?storage=local").await.ok();
    assert_eq!((&defaults["exclude-path"], &defaults["script"]), (&json!("/data/file"), &Json::Null));
    let defaults = root.get("/nodes/pve/vzdump/defaults?storage=local").await.ok();
    assert_eq!(defaults["script"], "/root/hook");
}

/// F72, rec 2/1092–1101: without Datastore.Allocate five archives of a guest can be protected, and root any number.
#[tokio::test]
async fn f72_five_protected_archives() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    for n in 0..6 {
        let name = format!("vzdump-lxc-100-2026_01_01-00_00_0{n}.tar.zst");
        fs::write(server.dump().join(&name), "x").unwrap();
        if n < 5 {
            fs::write(server.dump().join(format!("{name}.protected")), "").unwrap();
        }
    }
    let tenant =
        server.tenant(&root, "VM.Backup Datastore.AllocateSpace", &["/vms/100", "/storage/local"]).await;
    let path = "/nodes/pve/storage/local/content/local:backup/vzdump-lxc-100-2026_01_01-00_00_05.tar.zst";
    let answer = tenant.put(path, &[("protected", "1")]).await;
    answer.failed(500, "The number of protected backups per guest is limited to 5 on storage 'local'");
    root.put(path, &[("protected", "1")]).await.ok();
}

/// F39, rec 270–276: one backup at a time; `lockwait=0` does not wait.
#[tokio::test]
async fn f39_vzdump_is_serialised() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let path = server.state().join("run/lock/vzdump.lock");
    let held = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
    held.lock().unwrap();
    // Without the lock the worker ends without a last line (Unrecorded: PVE/API2/VZDump.pm:143 of pve-manager).
    let upid = root.post(VZDUMP, &[("vmid", "100"), ("storage", "local"), ("lockwait", "0")]).await.upid();
    assert_eq!(root.wait(&upid).await, "unexpected status");
    assert_eq!(root.log(&upid).await, ["ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"]);
    let upid = root.post(VZDUMP, &[("vmid", "100"), ("storage", "local")]).await.upid();
    root.until_logged(&upid, "INFO: trying to get global lock - waiting...").await;
    held.unlock().unwrap();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await[1], "INFO: got global lock");
}

/// F65, rec 773–779: of several guests, an unknown one spoils the result only; a missing right ends the task.
#[tokio::test]
async fn f65_several_guests() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let upid = root.post(VZDUMP, &[("vmid", "100,998"), ("storage", "local")]).await.upid();
    assert!(upid.contains(":vzdump::root@pam:"), "{upid}");
    assert_eq!(root.wait(&upid).await, "job errors");
    assert_eq!(backups(&root).await.len(), 1);
    let tenant =
        server.tenant(&root, "VM.Backup Datastore.AllocateSpace", &["/vms/100", "/storage/local"]).await;
    server.restored(&root, 163).await;
    let exit = tenant.run(VZDUMP, &[("vmid", "100,163"), ("storage", "local")]).await;
    assert_eq!(exit, "403 Permission check failed (/vms/163, VM.Backup)");
}

/// A backup of a running guest, held while it archives.
async fn slow_backup(server: &Server, root: &Caller) -> String {
    running(server, root).await;
    fault(server, &["set", r#"{"at":"vzdump.archive","id":"100","do":"hold"}"#]);
    let form =
        [("vmid", "100"), ("storage", "local"), ("mode", "snapshot"), ("compress", "zstd"), ("remove", "0")];
    let upid = root.post(VZDUMP, &form).await.upid();
    until("the archive is begun", || names(server).iter().any(|n| n.ends_with(".tar.dat")));
    upid
}

/// F37, F44, F52, F80, rec 267, 466, 479–485, 621–624: during a backup; its end by DELETE; reboot meanwhile.
#[tokio::test]
async fn f80_a_running_backup_is_ended_cleanly() {
    let server = Server::start();
    let root = server.root().await;
    let upid = slow_backup(&server, &root).await;
    let config = root.get("/nodes/pve/lxc/100/config").await.ok();
    assert_eq!((&config["lock"], &config["parent"]), (&json!("backup"), &json!("vzdump")));
    assert_eq!(root.get("/nodes/pve/lxc/100/snapshot").await.ok()[0]["name"], "vzdump");
    assert_eq!(root.get(CONTENT).await.ok(), json!([]), "what is being written is not listed");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/shutdown", &[]).await, "CT is locked (backup)");
    // F44: the stop half of a reboot ignores the lock, the start half does not.
    let reboot = root.post("/nodes/pve/lxc/100/status/reboot", &[]).await.upid();
    assert_eq!(root.wait(&reboot).await, "startup for container '100' failed");
    assert_eq!(root.log(&reboot).await[0], "run_buffer: 571 Script exited with status 255");
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.ok()["status"], "stopped");
    root.delete(&format!("/nodes/pve/tasks/{}", encode(&upid))).await.ok();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await.join("\n");
    assert!(log.contains("failed: interrupted by signal"), "{log}");
    let config = root.get("/nodes/pve/lxc/100/config").await.ok();
    assert_eq!((&config["lock"], &config["parent"]), (&Json::Null, &Json::Null));
    assert!(names(&server).iter().all(|n| !n.ends_with(".tar.dat")), "{:?}", names(&server));
    let snapshots = root.get("/nodes/pve/lxc/100/snapshot").await.ok();
    assert_eq!(snapshots.as_array().unwrap().len(), 1);
}

fn names(server: &Server) -> Vec<String> {
    fs::read_dir(server.dump()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// F91, rec 2/235–303: SIGKILL leaves lock, snapshot and `.tar.dat`; the next backup after an unlock removes the old snapshot.
#[tokio::test]
async fn f91_a_killed_backup_leaves_lock_snapshot_and_file() {
    let server = Server::start();
    let root = server.root().await;
    let upid = slow_backup(&server, &root).await;
    kill9(pid_of(&upid));
    fault(&server, &["clear"]);
    assert_eq!(root.wait(&upid).await, "unexpected status");
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.ok()["lock"], "backup");
    let upid = root.delete("/nodes/pve/lxc/100/snapshot/vzdump").await.upid();
    assert_eq!(root.wait(&upid).await, "CT is locked (backup)");
    unlock(&server);
    let log = backup(&root, &[("mode", "snapshot"), ("remove", "0")]).await.join("\n");
    assert!(log.contains("INFO: found old vzdump snapshot (force removal)"), "{log}");
    assert_eq!(root.get("/nodes/pve/lxc/100/snapshot").await.ok().as_array().unwrap().len(), 1);
}

/// F91, 2/237–245: SIGKILL of the worker does not end tar: the file grows to its end, and stays `.tar.dat`, unlisted, for ever.
#[tokio::test]
async fn f91_tar_goes_on_when_its_worker_is_killed() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let form = [("vmid", "100"), ("storage", "local"), ("compress", "zstd"), ("bwlimit", "800")];
    let upid = root.post(VZDUMP, &form).await.upid();
    let dat = || names(&server).into_iter().find(|n| n.ends_with(".tar.dat"));
    until("the archive is begun", || dat().is_some());
    kill9(pid_of(&upid));
    assert_eq!(root.wait(&upid).await, "unexpected status");
    let path = server.dump().join(dat().unwrap());
    assert!(!is_whole(&path));
    until("tar goes on to its end", || is_whole(&path));
    assert!(names(&server).iter().any(|n| n.ends_with(".tmp")), "{:?}", names(&server));
    assert!(names(&server).iter().all(|n| !n.ends_with(".log")), "{:?}", names(&server));
    assert_eq!(root.get(CONTENT).await.ok(), json!([]));
    assert_eq!(root.get("/nodes/pve/lxc/100/config").await.ok()["lock"], "backup");
}

/// Whether zstd finds the file whole.
fn is_whole(path: &std::path::Path) -> bool {
    let mut zstd = std::process::Command::new("zstd");
    zstd.args(["-q", "-t"]).arg(path).stderr(std::process::Stdio::null()).status().unwrap().success()
}

/// What `pct unlock` does.
fn unlock(server: &Server) {
    let path = server.state().join("etc/pve/lxc/100.conf");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("lock:")).collect();
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// F91 (a): killed while it waited for another backup, nothing is left.
#[tokio::test]
async fn f91_killed_while_waiting_leaves_nothing() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let path = server.state().join("run/lock/vzdump.lock");
    let held = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
    held.lock().unwrap();
    let before = names(&server);
    let upid = root.post(VZDUMP, &[("vmid", "100"), ("storage", "local")]).await.upid();
    root.until_logged(&upid, "waiting...").await;
    kill9(pid_of(&upid));
    assert_eq!(root.wait(&upid).await, "unexpected status");
    assert_eq!(root.get("/nodes/pve/lxc/100/config").await.ok()["lock"], Json::Null);
    assert_eq!(names(&server), before);
}

/// The downtime of a guest with processes: they are frozen at the snapshot and run on afterwards.
#[tokio::test]
async fn processes_run_on_after_a_snapshot_backup() {
    let server = Server::with_processes();
    let root = server.root().await;
    running(&server, &root).await;
    let log = backup(&root, &[("mode", "snapshot")]).await.join("\n");
    assert!(log.contains("resume vm"), "{log}");
    let pid = root.get("/nodes/pve/lxc/100/status/current").await.ok()["pid"].as_i64().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while crate::support::process_state(i32::try_from(pid).unwrap()) == Some('T') {
        assert!(Instant::now() < deadline, "still frozen");
    }
}

/// F99, rec 2/1150–1194: SIGKILL while the snapshot is taken leaves the guest frozen and PVE calling it running.
#[tokio::test]
async fn f99_a_backup_killed_in_its_snapshot_leaves_the_guest_frozen() {
    let server = Server::with_processes();
    let root = server.root().await;
    running(&server, &root).await;
    fault(&server, &["set", r#"{"at":"vzdump.volume","id":"100","do":"hold"}"#]);
    let file = server.state().join("etc/pve/lxc/100.conf");
    let form = [("vmid", "100"), ("storage", "local"), ("mode", "snapshot")];
    let upid = root.post(VZDUMP, &form).await.upid();
    let image = server.state().join("mnt/tank/images/100");
    until("a volume is snapshotted", || image.join("vm-100-disk-0@vzdump").exists());
    assert!(fs::read_to_string(&file).unwrap().contains("lock: snapshot"));
    kill9(pid_of(&upid));
    assert_eq!(root.wait(&upid).await, "unexpected status");
    fault(&server, &["clear"]);
    assert!(!image.join("vm-100-disk-1@vzdump").exists(), "the volumes are snapshotted in part");
    let status = root.get("/nodes/pve/lxc/100/status/current").await.ok();
    assert_eq!((&status["status"], &status["lock"]), (&json!("running"), &json!("snapshot")));
    let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
    assert_eq!(crate::support::process_state(pid), Some('T'));
    assert_eq!(root.get("/nodes/pve/lxc/100/snapshot").await.ok()[0]["snapstate"], "prepare");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "CT is locked (snapshot)");
    unlock(&server);
    assert_eq!(crate::support::process_state(pid), Some('T'), "unlocking does not thaw");
    let exit = root.run("/nodes/pve/lxc/100/status/shutdown", &[("timeout", "0")]).await;
    assert_eq!(exit, "container did not stop");
    let log = backup(&root, &[("mode", "snapshot")]).await.join("\n");
    assert!(log.contains("found old vzdump snapshot (force removal)"), "{log}");
    assert_ne!(crate::support::process_state(pid), Some('T'), "the next backup thaws it");
}
