//! F33, F76–F78, F91: every kind of task, killed with SIGKILL at each of its phases in turn, and the server with it. Whatever is left
//! is a state that opens again: the task ended with `unexpected status`, every configuration can be read, its lock says what was
//! going on, nothing half-written is listed, and other guests can be worked with.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::restore::{PATH, disk, restore, rules};
use crate::server::{ARCHIVE, Caller, Server, encode};
use crate::support::until;

/// One kind of task.
struct Kind {
    /// The UPID's type.
    name: &'static str,
    /// What has to be there: a guest, and whether it runs.
    guest: bool,
    running: bool,
    /// What the guest has beside that.
    snapshot: bool,
    archives: bool,
    /// Locks that may be left.
    locks: &'static [&'static str],
    start: Start,
}

enum Start {
    Post(&'static str, &'static [(&'static str, &'static str)]),
    Put(&'static str, &'static [(&'static str, &'static str)]),
    Delete(&'static str),
}

const RESTORE: &[(&str, &str)] =
    &[("vmid", "ID"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank"), ("pool", "ours")];
const FORCE: &[(&str, &str)] =
    &[("vmid", "ID"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank"), ("force", "1")];
const CREATE: &[(&str, &str)] =
    &[("vmid", "ID"), ("ostemplate", "local:vztmpl/t.tar.zst"), ("rootfs", "tank:1"), ("pool", "ours")];
const VZDUMP: &[(&str, &str)] =
    &[("vmid", "ID"), ("storage", "local"), ("mode", "snapshot"), ("remove", "0")];

impl Kind {
    const fn new(name: &'static str, (guest, running): (bool, bool), start: Start) -> Self {
        Self { name, guest, running, snapshot: false, archives: false, locks: &[], start }
    }

    /// The guest has a snapshot `s1`.
    const fn with_snapshot(self) -> Self {
        Self { snapshot: true, ..self }
    }

    /// The guest has two archives, each with notes and a log.
    const fn with_archives(self) -> Self {
        Self { archives: true, ..self }
    }

    const fn locks(self, locks: &'static [&'static str]) -> Self {
        Self { locks, ..self }
    }

    async fn start(&self, root: &Caller, vmid: u32) -> String {
        let id = vmid.to_string();
        let copy = copy_of(vmid).to_string();
        let fill = |text: &str| text.replace("ID", &id).replace("COPY", &copy);
        let form = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(k, v)| (*k, fill(v))).collect::<Vec<_>>()
        };
        let answer = match &self.start {
            Start::Post(path, pairs) | Start::Put(path, pairs) => {
                let form = form(pairs);
                let form: Vec<(&str, &str)> = form.iter().map(|(k, v)| (*k, v.as_str())).collect();
                if matches!(self.start, Start::Put(..)) {
                    root.put(&fill(path), &form).await
                } else {
                    root.post(&fill(path), &form).await
                }
            }
            Start::Delete(path) => root.delete(&fill(path)).await,
        };
        match answer.ok() {
            Json::String(upid) => upid,
            // Some tasks are started without a word.
            _ => {
                let query = format!("?typefilter={}&vmid={vmid}", self.name);
                root.finished(&query).await["data"][0]["upid"].as_str().unwrap().to_owned()
            }
        }
    }

    /// Makes what has to be there.
    async fn prepare(&self, server: &Server, root: &Caller, vmid: u32) {
        if self.guest {
            assert_eq!(root.run(PATH, &restore(&vmid.to_string(), &[("rootfs", "tank:1")])).await, "OK");
        }
        if self.snapshot {
            assert_eq!(root.run(&format!("{PATH}/{vmid}/snapshot"), &[("snapname", "s1")]).await, "OK");
        }
        for day in [1, 2].into_iter().filter(|_| self.archives) {
            let file = server.dump().join(format!("vzdump-lxc-{vmid}-2026_01_0{day}-00_00_00"));
            fs::copy(archive(server), file.with_extension("tar.zst")).unwrap();
            fs::write(file.with_extension("tar.zst.notes"), "x").unwrap();
            fs::write(file.with_extension("log"), "x").unwrap();
        }
        if self.running {
            assert_eq!(root.run(&format!("{PATH}/{vmid}/status/start"), &[]).await, "OK");
        }
    }
}

/// The VMID of a guest's clone.
fn copy_of(vmid: u32) -> u32 {
    vmid + 5000
}

fn archive(server: &Server) -> PathBuf {
    server.dump().join(ARCHIVE.rsplit('/').next().unwrap())
}

/// Kills each task of these kinds at its first phase, its second, and so on, until it gets to its end. Answers how many there were.
async fn kill_at_every_phase(kinds: &[Kind]) -> usize {
    let mut server = Server::start();
    let mut root = server.root().await;
    server.add_archive();
    let cache = server.state().join("var/lib/vz/template/cache");
    fs::create_dir_all(&cache).unwrap();
    fs::copy(archive(&server), cache.join("t.tar.zst")).unwrap();
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    let (mut vmid, mut count) = (100, 0);
    for kind in kinds {
        let mut killed = Vec::new();
        for phase in 1.. {
            assert!(phase < 40, "{} has no end", kind.name);
            vmid += 1;
            kind.prepare(&server, &root, vmid).await;
            rules(&server, &json!([{"at": format!("{}.*", kind.name), "nth": phase, "do": "kill"}]));
            let upid = kind.start(&root, vmid).await;
            let exit = root.wait(&upid).await;
            rules(&server, &json!([]));
            fs::remove_dir_all(server.state().join("run/faults")).unwrap();
            if exit != "unexpected status" {
                assert_eq!(exit, "OK", "{} to its end", kind.name);
                break;
            }
            count += 1;
            killed.push((vmid, upid));
        }
        assert!(!killed.is_empty(), "{} has no phase", kind.name);
        // The power fails; everything is there again.
        server.kill_and_restart();
        root = server.root().await;
        for (vmid, upid) in killed {
            check_guest(&server, &root, (kind, vmid)).await;
            check_guest(&server, &root, (kind, copy_of(vmid))).await;
            let path = format!("/nodes/pve/tasks/{}/status", encode(&upid));
            assert_eq!(root.get(&path).await.ok()["exitstatus"], "unexpected status");
        }
        check_host(&server, &root).await;
    }
    count
}

/// The guest is readable, or not there at all; a lock says what was going on.
async fn check_guest(server: &Server, root: &Caller, (kind, vmid): (&Kind, u32)) {
    let path = server.state().join(format!("etc/pve/lxc/{vmid}.conf"));
    let answer = root.get(&format!("{PATH}/{vmid}/config")).await;
    if !path.exists() {
        answer.failed(500, &format!("Configuration file 'nodes/pve/lxc/{vmid}.conf' does not exist"));
        return;
    }
    let config = answer.ok();
    match &config["lock"] {
        Json::Null => {}
        Json::String(lock) => assert!(kind.locks.contains(&lock.as_str()), "{} left {lock}", kind.name),
        other => panic!("{other}"),
    }
    root.get(&format!("{PATH}/{vmid}/status/current")).await.ok();
    root.get(&format!("{PATH}/{vmid}/snapshot")).await.ok();
}

/// Lists show whole things only; another guest can be made and removed.
async fn check_host(server: &Server, root: &Caller) {
    let files: BTreeSet<u64> = fs::read_dir(server.state().join("etc/pve/lxc"))
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix(".conf")?.parse().ok())
        .collect();
    let list = root.get(PATH).await.ok();
    let listed: BTreeSet<u64> =
        list.as_array().unwrap().iter().map(|g| g["vmid"].as_u64().unwrap()).collect();
    assert_eq!(listed, files);
    let content = root.get("/nodes/pve/storage/local/content").await.ok();
    for volume in content.as_array().unwrap() {
        let volid = volume["volid"].as_str().unwrap();
        assert!(!volid.contains(".dat") && !volid.contains(".tmp"), "{volid}");
    }
    root.get("/nodes/pve/storage/tank/content").await.ok();
    root.get("/pools?poolid=ours").await.ok();
    root.get("/cluster/resources").await.ok();
    assert_eq!(root.run(PATH, &restore("999", &[("rootfs", "tank:1")])).await, "OK");
    let upid = root.delete(&format!("{PATH}/999")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
}

#[tokio::test]
async fn creating_tasks_can_be_killed_at_each_phase() {
    let kinds = [
        Kind::new("vzrestore", (false, false), Start::Post(PATH, RESTORE)).locks(&["create"]),
        Kind::new("vzrestore", (true, false), Start::Post(PATH, FORCE)).locks(&["create"]),
        Kind::new("vzcreate", (false, false), Start::Post(PATH, CREATE)).locks(&["create"]),
    ];
    assert!(kill_at_every_phase(&kinds).await >= 19);
}

#[tokio::test]
async fn power_tasks_can_be_killed_at_each_phase() {
    let kinds = [
        Kind::new("vzstart", (true, false), Start::Post("/nodes/pve/lxc/ID/status/start", &[])),
        Kind::new("vzstop", (true, true), Start::Post("/nodes/pve/lxc/ID/status/stop", &[])),
        Kind::new("vzshutdown", (true, true), Start::Post("/nodes/pve/lxc/ID/status/shutdown", &[])),
        Kind::new("vzreboot", (true, true), Start::Post("/nodes/pve/lxc/ID/status/reboot", &[])),
    ];
    kill_at_every_phase(&kinds).await;
}

#[tokio::test]
async fn tasks_that_change_a_guest_can_be_killed_at_each_phase() {
    const DISK: &[(&str, &str)] = &[("volume", "rootfs"), ("storage", "tank")];
    let kinds = [
        Kind::new(
            "vzsnapshot",
            (true, true),
            Start::Post("/nodes/pve/lxc/ID/snapshot", &[("snapname", "s1")]),
        )
        .locks(&["snapshot", "snapshot-delete"]),
        Kind::new(
            "resize",
            (true, false),
            Start::Put("/nodes/pve/lxc/ID/resize", &[("disk", "rootfs"), ("size", "2G")]),
        )
        .locks(&["disk"]),
        Kind::new("move_volume", (true, false), Start::Post("/nodes/pve/lxc/ID/move_volume", DISK))
            .locks(&["disk"]),
        Kind::new("vzdestroy", (true, false), Start::Delete("/nodes/pve/lxc/ID?purge=1"))
            .locks(&["destroyed"]),
    ];
    kill_at_every_phase(&kinds).await;
}

/// Unrecorded, as what each leaves: see [`crate::leftovers`].
#[tokio::test]
async fn tasks_about_snapshots_and_copies_can_be_killed_at_each_phase() {
    let rollback = Start::Post("/nodes/pve/lxc/ID/snapshot/s1/rollback", &[("start", "1")]);
    let clone = Start::Post("/nodes/pve/lxc/ID/clone", &[("newid", "COPY"), ("full", "1"), ("pool", "ours")]);
    let kinds = [
        Kind::new("vzrollback", (true, true), rollback).with_snapshot().locks(&["rollback"]),
        Kind::new("vzdelsnapshot", (true, false), Start::Delete("/nodes/pve/lxc/ID/snapshot/s1"))
            .with_snapshot()
            .locks(&["snapshot-delete"]),
        Kind::new("vzclone", (true, false), clone).locks(&["disk", "create"]),
        Kind::new("vztemplate", (true, false), Start::Post("/nodes/pve/lxc/ID/template", &[])),
    ];
    assert!(kill_at_every_phase(&kinds).await >= 14);
}

#[tokio::test]
async fn tasks_about_archives_and_the_node_can_be_killed_at_each_phase() {
    let archive = "/nodes/pve/storage/local/content/local:backup/vzdump-lxc-ID-2026_01_01-00_00_00.tar.zst";
    let prune = "/nodes/pve/storage/local/prunebackups?vmid=ID&prune-backups=keep-last%3D1";
    let start = Start::Post("/nodes/pve/startall", &[("force", "1"), ("vms", "ID")]);
    let kinds = [
        Kind::new("imgdel", (true, false), Start::Delete(archive)).with_archives(),
        Kind::new("prunebackups", (true, false), Start::Delete(prune)).with_archives(),
        Kind::new("startall", (true, false), start),
    ];
    assert!(kill_at_every_phase(&kinds).await >= 7);
}

#[tokio::test]
async fn backups_can_be_killed_at_each_phase() {
    for running in [false, true] {
        let kind = Kind::new("vzdump", (true, running), Start::Post("/nodes/pve/vzdump", VZDUMP));
        kill_at_every_phase(&[kind.locks(&["backup", "snapshot", "snapshot-delete"])]).await;
    }
}

/// F76–F78, rec2 51–76: what a restore leaves that is killed at each of its named phases: volumes from `unpack` on, the whole
/// configuration from `pool` on, and never an entry in the pool.
#[tokio::test]
async fn f77_what_a_killed_restore_leaves_at_each_phase() {
    let mut server = Server::start();
    let root = server.root().await;
    server.add_archive();
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    let phases = ["begin", "locked", "disks", "unpack", "tar", "config", "pool"];
    for (vmid, phase) in (201..).zip(phases) {
        let id = vmid.to_string();
        rules(&server, &json!([{"at": format!("vzrestore.{phase}"), "do": "kill"}]));
        let form = restore(&id, &[("storage", "tank"), ("pool", "ours")]);
        assert_eq!(root.run(PATH, &form).await, "unexpected status", "{phase}");
        let config = fs::read_to_string(server.state().join(format!("etc/pve/lxc/{vmid}.conf"))).unwrap();
        if phase == "pool" {
            assert!(config.contains("hostname: golden") && !config.contains("lock"), "{config}");
        } else {
            assert_eq!(config, "lock: create\n", "{phase}");
        }
        assert_eq!(
            disk(&server, vmid, 0).exists(),
            !["begin", "locked", "disks"].contains(&phase),
            "{phase}"
        );
        if phase == "tar" {
            // It has its order and does not hear of the worker's end.
            let last = disk(&server, vmid, 1).join("last");
            until("tar goes on to the end", || last.exists());
        }
    }
    rules(&server, &json!([]));
    let users = fs::read_to_string(server.state().join("etc/pve/user.cfg")).unwrap();
    assert!(users.contains("pool:ours:::"), "{users}");
    server.kill_and_restart();
    let root = server.root().await;
    // rec2 62–71: the VMID is taken, the guest cannot be removed, started or restored.
    root.get("/cluster/nextid?vmid=205").await.bad_parameter("vmid", "VM 205 already exists");
    root.delete(&format!("{PATH}/205")).await.failed(500, "CT is locked (create)");
    assert_eq!(root.run(&format!("{PATH}/205/status/start"), &[]).await, "CT is locked (create)");
    let form = restore("205", &[("storage", "tank")]);
    root.post(PATH, &form).await.failed(500, "CT 205 already exists on node 'pve'");
    let form = restore("205", &[("storage", "tank"), ("force", "1")]);
    root.post(PATH, &form).await.failed(500, "unable to restore CT 205 - CT is locked (create)");
}
