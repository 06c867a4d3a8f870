//! F90, F95, F98: pvestatd's rounds, the list of tasks after a killed worker, disks, DNS and hosts, what is pending and removed, and a
//! guest's own loopback interface.

use std::fs;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::server::{Caller, Server};
use crate::support::PVE_SIM;

/// A server whose own rounds do not come.
fn without_rounds() -> Server {
    Server::with(&["--runtime", "none", "--auth-delay-ms", "0", "--status-interval-ms", "3600000"])
}

fn round(server: &Server) {
    let output = Command::new(PVE_SIM).args(["pvestatd", "--state"]).arg(server.state()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

async fn guest(root: &Caller) -> Json {
    root.get("/cluster/resources?type=vm").await.ok()[0].clone()
}

/// F48, rec 241, 2/36: what lists show is of the last round, which a command does at once; a new server knows it, too.
#[tokio::test]
async fn f48_a_round_is_done_when_it_is_asked_for() {
    let mut server = without_rounds();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(guest(&root).await["status"], "unknown");
    round(&server);
    assert_eq!(guest(&root).await["status"], "stopped");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    assert_eq!(guest(&root).await["status"], "stopped", "as the last round saw it");
    round(&server);
    server.kill_and_restart();
    let root = server.root().await;
    assert_eq!(guest(&root).await["status"], "running");
}

/// rec 2/790: a worker that was killed between its two writes left a finished task in both lists; it is shown once.
#[tokio::test]
async fn a_task_is_in_one_list_only() {
    let server = without_rounds();
    let root = server.root().await;
    server.restored(&root, 100).await;
    round(&server);
    let tasks = server.state().join("var/log/pve/tasks");
    let archive = fs::read_to_string(tasks.join("index")).unwrap();
    let upid = archive.lines().next().unwrap().split(' ').next().unwrap();
    fs::write(tasks.join("active"), format!("{upid} 0\n")).unwrap();
    let list = async || root.get("/nodes/pve/tasks?source=all").await.ok().as_array().unwrap().len();
    assert_eq!(list().await, 1);
    round(&server);
    assert_eq!((list().await, fs::read_to_string(tasks.join("index")).unwrap()), (1, archive));
}

/// rec 2/977–981: an image file is no disk; there are no directories, thin pools or ZFS tools.
#[tokio::test]
async fn disks_are_listed_without_image_files() {
    let server = Server::start();
    let root = server.root().await;
    let control = server.state().join("control");
    fs::create_dir_all(&control).unwrap();
    let disks = json!({"/mnt/a": {"size": 1 << 30}, "/mnt/b": {"size": 1 << 29, "loop": true}});
    fs::write(control.join("disks.json"), disks.to_string()).unwrap();
    let list = root.get("/nodes/pve/disks/list").await.ok();
    assert_eq!((list.as_array().unwrap().len(), &list[1]["size"]), (2, &json!(1 << 30)));
    assert_eq!(root.get("/nodes/pve/disks/directory").await.ok(), json!([]));
    assert_eq!(root.get("/nodes/pve/disks/lvmthin").await.ok(), json!([]));
    root.get("/nodes/pve/disks/zfs").await.failed(500, "zfsutils-linux not installed");
}

/// rec 2/985, 986: the host's own files, if it has any.
#[tokio::test]
async fn dns_and_hosts_are_the_host_s() {
    let server = Server::start();
    let root = server.root().await;
    let etc = server.state().join("etc");
    fs::write(etc.join("resolv.conf"), "search invalid\nnameserver 127.0.0.1\n").unwrap();
    fs::write(etc.join("hosts"), "192.0.2.10 pve\n").unwrap();
    assert_eq!(root.get("/nodes/pve/dns").await.ok(), json!({"search": "invalid", "dns1": "127.0.0.1"}));
    assert_eq!(root.get("/nodes/pve/hosts").await.ok()["data"], "192.0.2.10 pve\n");
}

/// F95, rec 2/682–693: an option that is both to be changed and to be removed is shown as removed.
#[tokio::test]
async fn f95_what_will_be_removed_is_not_shown_however_it_was_changed_before() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let path = "/nodes/pve/lxc/100/config";
    let mounted = root.get(path).await.ok()["mp0"].as_str().unwrap().to_owned();
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let volume = mounted.split(',').next().unwrap();
    root.put(path, &[("mp0", &format!("{volume},mp=/data,backup=0"))]).await.ok();
    root.put(path, &[("delete", "mp0")]).await.ok();
    assert_eq!(root.get(path).await.ok()["mp0"], Json::Null);
    assert_eq!(root.get(&format!("{path}?current=1")).await.ok()["mp0"], mounted);
}

/// rec 171, 2/535: the kernel's addresses of `lo` are there if the guest's own init brings it up.
#[tokio::test]
async fn lo_has_addresses_if_init_brings_it_up() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let path = "/nodes/pve/lxc/100/interfaces";
    assert_eq!(root.get(path).await.ok()[0]["ip-addresses"], json!([]));
    let init = server.state().join("mnt/tank/images/100/vm-100-disk-0/disk.raw/sbin/init");
    fs::create_dir_all(init.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&init);
    fs::write(&init, "#!/bin/sh\nifconfig lo 127.0.0.1 up\nexec sleep 1000\n").unwrap();
    let lo = root.get(path).await.ok()[0].clone();
    assert_eq!((&lo["inet"], &lo["inet6"]), (&json!("127.0.0.1/8"), &json!("::1/128")));
    assert_eq!(lo["ip-addresses"].as_array().unwrap().len(), 2);
}

/// rec 2/1013: paths above an ACL's path have permissions of their own in the answer.
#[tokio::test]
async fn permissions_name_the_paths_above_an_acl_s() {
    let server = Server::start();
    let root = server.root().await;
    root.post("/access/users", &[("userid", "a@pve")]).await.ok();
    let form = [("path", "/sdn/zones/localnetwork/vmbr0"), ("roles", "PVESDNUser"), ("users", "a@pve")];
    root.put("/access/acl", &form).await.ok();
    let all = root.get("/access/permissions").await.ok();
    for path in ["/sdn/zones", "/sdn/zones/localnetwork", "/sdn/zones/localnetwork/vmbr0"] {
        assert!(all[path].is_object(), "{path}: {all}");
    }
}
