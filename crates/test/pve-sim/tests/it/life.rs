//! F88, F92, F95, F96: clones, templates, protection, changes of running guests, what a node starts at boot.

use std::fs;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::server::Server;
use crate::support::PVE_SIM;

const CONFIG: &str = "/nodes/pve/lxc/100/config";
const START: &str = "/nodes/pve/lxc/100/status/start";

/// rec 636–645: a full clone of a snapshot has the snapshot's data, a new address and the name that was passed; it is nobody's child.
#[tokio::test]
async fn a_full_clone_of_a_snapshot() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let tenant = server.tenant(&root, "VM.Audit,VM.Allocate", &["/vms/100", "/vms/141"]).await;
    let answer = tenant.post("/nodes/pve/lxc/100/clone", &[("newid", "141")]).await;
    answer.failed(403, "Permission check failed (/vms/100, VM.Clone)");
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "base")]).await, "OK");
    let images = server.state().join("mnt/tank/images");
    fs::write(images.join("100/vm-100-disk-1/disk.raw/file"), "v2\n").unwrap();
    assert_eq!(root.run(START, &[]).await, "OK");
    let clone = "/nodes/pve/lxc/100/clone";
    let text = "Full clone of a running container is only possible from a snapshot";
    root.post(clone, &[("newid", "141")]).await.failed(500, text);
    assert_eq!(root.get(CONFIG).await.ok()["lock"], Json::Null);
    let form = [("newid", "141"), ("hostname", "clone"), ("snapname", "base"), ("full", "1")];
    let upid = root.post(clone, &form).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let log = root.log(&upid).await;
    assert_eq!(log[0], "creating a clone of container 100 with ID 141");
    assert!(log.contains(&"create full clone of mountpoint rootfs (tank:100/vm-100-disk-0.raw)".into()));
    let new = root.get("/nodes/pve/lxc/141/config").await.ok();
    assert_eq!((&new["hostname"], &new["lock"], &new["parent"]), (&json!("clone"), &Json::Null, &Json::Null));
    let net = new["net0"].as_str().unwrap();
    assert!(net.contains("hwaddr=BC:24:11:") && !net.contains("00:00:01"), "{net}");
    let volume = new["mp0"].as_str().unwrap().split([':', ',']).nth(1).unwrap().replace(".raw", "");
    let file = images.join(volume).join("disk.raw/file");
    assert_eq!(fs::read_to_string(file).unwrap(), "v1\n", "as it was when the snapshot was made");
    root.post(clone, &form).await.failed(500, "CT 141 already exists on node 'pve'");
    assert_eq!(root.get(CONFIG).await.ok()["lock"], Json::Null);
}

/// F88, rec 2/585–593, 2/949, 2/1140–1145: a protected guest can become a template; its volumes are `base-…` then, it does not start
/// and can be cloned with shared blocks; a token takes the mark away again.
#[tokio::test]
async fn f88_a_template_does_not_start_and_can_be_undone() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put(CONFIG, &[("protection", "1")]).await.ok();
    assert_eq!(root.post("/nodes/pve/lxc/100/template", &[]).await.ok(), Json::Null);
    let list = root.get("/nodes/pve/tasks?source=all&typefilter=vztemplate").await.ok();
    assert_eq!(root.wait(list[0]["upid"].as_str().unwrap()).await, "OK");
    let config = root.get(CONFIG).await.ok();
    assert_eq!(config["rootfs"], "tank:100/base-100-disk-0.raw,size=2G");
    assert_eq!(root.run(START, &[]).await, "you can't start a CT if it's a template");
    let exit = root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await;
    assert_eq!(exit, "you can't take a snapshot if it's a template");
    let form = [("newid", "142"), ("storage", "tank")];
    let answer = root.post("/nodes/pve/lxc/100/clone", &form).await;
    answer.failed(500, "parameter 'storage' not allowed for linked clones");
    assert_eq!(root.run("/nodes/pve/lxc/100/clone", &[("newid", "142")]).await, "OK");
    let new = root.get("/nodes/pve/lxc/142/config").await.ok();
    assert_eq!(
        (&new["rootfs"], &new["template"]),
        (&json!("tank:142/vm-142-disk-0.raw,size=2G"), &Json::Null)
    );
    root.put(CONFIG, &[("template", "0")]).await.ok();
    assert_eq!(root.run(START, &[]).await, "OK");
}

/// F88, rec 2/556–584: what protection refuses and what it does not; lifting it in the same call comes too late.
#[tokio::test]
async fn f88_protection_keeps_volumes() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put(CONFIG, &[("delete", "mp1")]).await.ok();
    root.put(CONFIG, &[("protection", "1")]).await.ok();
    for path in ["/nodes/pve/lxc/100", "/nodes/pve/lxc/100?purge=1&force=1"] {
        root.delete(path).await.failed(500, "can't remove CT 100 - protection mode enabled");
    }
    let mounts = [("mp3", "tank:1,mp=/new"), ("mp0", "tank:100/vm-100-disk-1.raw,mp=/data,backup=0")];
    for (key, value) in mounts {
        let text = format!("can't update CT 100 drive '{key}' - protection mode enabled");
        root.put(CONFIG, &[(key, value)]).await.failed(500, &text);
    }
    for (key, more) in [("mp0", None), ("unused0", None), ("unused0", Some(("protection", "0")))] {
        let text = format!("can't remove CT 100 drive '{key}' - protection mode enabled");
        let form: Vec<_> = std::iter::once(("delete", key)).chain(more).collect();
        root.put(CONFIG, &form).await.failed(500, &text);
    }
    root.put(CONFIG, &[("delete", "unused7,mp9")]).await.ok();
    root.put(CONFIG, &[("hostname", "p2"), ("memory", "96"), ("description", "x"), ("tags", "z")]).await.ok();
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await, "OK");
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot/s1/rollback", &[]).await, "OK");
    root.put(CONFIG, &[("delete", "protection")]).await.ok();
    assert_eq!(root.get(CONFIG).await.ok()["protection"], Json::Null);
}

/// F95, rec 2/676–712: of a running guest an option can be to be removed and to be changed at once; a reboot does the one, then the
/// other. What a call cannot mean is refused.
#[tokio::test]
async fn f95_pending_removal_and_change_together() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run(START, &[]).await, "OK");
    let off = "tank:100/vm-100-disk-1.raw,mp=/data,backup=0";
    root.put(CONFIG, &[("mp0", off)]).await.ok();
    root.put(CONFIG, &[("delete", "mp0")]).await.ok();
    root.put(CONFIG, &[("timezone", "UTC"), ("features", "nesting=1")]).await.ok();
    let pending = root.get("/nodes/pve/lxc/100/pending").await.ok();
    let of = |key: &str| pending.as_array().unwrap().iter().find(|e| e["key"] == key).cloned().unwrap();
    assert_eq!((&of("mp0")["delete"], &of("mp0")["pending"]), (&json!(1), &json!(off)));
    assert_eq!(of("timezone"), json!({"key": "timezone", "pending": "UTC"}));
    root.put(CONFIG, &[("revert", "hostname,features")]).await.ok();
    let answer = root.put(CONFIG, &[("revert", "memory"), ("memory", "64")]).await;
    answer.bad_parameter("revert", "you can't use '-memory' and '-revert memory' at the same time");
    root.put(CONFIG, &[("delete", "memory")]).await.failed(500, "unable to delete required option 'memory'");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/reboot", &[]).await, "OK");
    let config = root.get(&format!("{CONFIG}?current=1")).await.ok();
    assert_eq!(config["mp0"], format!("{off},size=1G"));
    assert_eq!((&config["timezone"], &config["unused0"]), (&json!("UTC"), &Json::Null));
}

/// rec 803–806, 2/290–292: a node without criu can neither suspend nor resume.
#[tokio::test]
async fn suspend_and_resume_fail_in_the_task() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let path = "/nodes/pve/lxc/100/status";
    root.post(&format!("{path}/suspend"), &[]).await.failed(500, "CT 100 not running");
    let exit = root.run(&format!("{path}/resume"), &[]).await;
    assert_eq!(
        exit,
        "command 'lxc-checkpoint -n 100 -r --foreground -D /var/lib/vz/dump' failed: exit code 1"
    );
    assert_eq!(root.run(START, &[]).await, "OK");
    let exit = root.run(&format!("{path}/suspend"), &[]).await;
    assert_eq!(exit, "command 'lxc-checkpoint -n 100 -s -D /var/lib/vz/dump' failed: exit code 1");
    assert_eq!(root.get(&format!("{path}/current")).await.ok()["status"], "running");
}

/// F92, rec 2/781–799: at boot left-over backup locks go, no other; guests with onboot=1 start in their order, templates and the others
/// do not; one that cannot start stops nothing. With `force` onboot does not matter.
#[tokio::test]
async fn f92_startall_removes_backup_locks_and_starts_in_order() {
    let server = Server::start();
    let root = server.root().await;
    for vmid in [100, 101, 102, 103, 104] {
        server.restored(&root, vmid).await;
    }
    let guest = |vmid: u32| server.state().join(format!("etc/pve/lxc/{vmid}.conf"));
    let edit = |vmid: u32, head: &str, onboot: u8| {
        let text = fs::read_to_string(guest(vmid)).unwrap();
        let text = text.replace("onboot: 1", &format!("onboot: {onboot}"));
        fs::write(guest(vmid), format!("{head}{text}")).unwrap();
    };
    edit(100, "lock: backup\nstartup: order=2\n", 1);
    edit(101, "startup: order=1\nlock: snapshot\n", 1);
    edit(102, "", 0);
    edit(103, "template: 1\n", 1);
    edit(104, "", 1);
    let upid = root.post("/nodes/pve/startall", &[]).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let expected = [
        "removed left over backup lock from '100'!",
        "Starting CT 101",
        "Starting CT 101 failed: CT is locked (snapshot)",
        "Starting CT 100",
        "Starting CT 104",
        "TASK OK",
    ];
    assert_eq!(root.log(&upid).await, expected);
    let upid = root.post("/nodes/pve/startall", &[("force", "1"), ("vms", "102,103")]).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await, ["Starting CT 102", "TASK OK"]);
    let tenant = server.tenant(&root, "VM.Audit,VM.PowerMgmt", &["/vms/102"]).await;
    let refused = tenant.post("/nodes/pve/startall", &[]).await;
    refused.failed(403, "Permission check failed (/, VM.PowerMgmt)");
    assert_eq!(tenant.run("/nodes/pve/startall", &[("vms", "102")]).await, "OK");
    // A power cycle does the same: whoever was running without onboot stays down.
    let output =
        Command::new(PVE_SIM).args(["reboot", "--guests", "--state"]).arg(server.state()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let list = root.get("/nodes/pve/tasks?source=all&typefilter=startall").await.ok();
    for task in list.as_array().unwrap() {
        assert_eq!(root.wait(task["upid"].as_str().unwrap()).await, "OK");
    }
    for (vmid, expected) in [(104, "running"), (102, "stopped")] {
        let status = root.get(&format!("/nodes/pve/lxc/{vmid}/status/current")).await.ok();
        assert_eq!(status["status"], expected, "{vmid}");
    }
}

/// F50: what can be done with which volumes (`clone` and `copy` unrecorded).
#[tokio::test]
async fn f50_features_of_volumes_and_snapshots() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let has = |query: &str| format!("/nodes/pve/lxc/100/feature?feature={query}");
    for query in ["snapshot", "clone", "copy"] {
        assert_eq!(root.get(&has(query)).await.ok()["hasFeature"], 1, "{query}");
    }
    let answer = root.get(&has("copy&snapname=none")).await;
    answer.failed(500, "snapshot 'none' does not exist");
    let shared = format!("{},mp=/bind", server.dump().display());
    root.put(CONFIG, &[("mp6", &shared)]).await.ok();
    for query in ["snapshot", "clone", "copy"] {
        assert_eq!(root.get(&has(query)).await.ok()["hasFeature"], 0, "{query}");
    }
}
