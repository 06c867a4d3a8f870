//! F38, F40, F45, F76, F80: what others see of a guest that is being made, what waits for it, and what a VMID keeps of its last guest.

use std::fs;

use serde_json::json;

use crate::restore::{PATH, restore, rules};
use crate::server::{CONFIG, Caller, Server, write_archive};

const RIGHTS: &str = "VM.Allocate VM.Audit VM.Backup VM.Config.Disk VM.Config.Network VM.Config.Options VM.Config.Memory VM.PowerMgmt \
     VM.Snapshot Pool.Audit Datastore.AllocateSpace SDN.Use";

async fn tenant(server: &Server, root: &Caller) -> Caller {
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    let paths =
        ["/pool/ours", "/storage/tank", "/storage/local", "/vms/999", "/sdn/zones/localnetwork/vmbr0"];
    server.tenant(root, RIGHTS, &paths).await
}

/// F76, rec2 29–50, 801–809: while a token's restore runs, the token itself is denied everything about the new guest: it is in no pool
/// yet. Root sees a guest with a lock and nothing else. At the end everything is there at once.
#[tokio::test]
async fn f76_a_guest_that_is_being_restored() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    let token = tenant(&server, &root).await;
    rules(&server, &json!([{"at": "vzrestore.unpack", "do": "hold"}]));
    let more =
        [("pool", "ours"), ("description", "job=42\nowner=x"), ("storage", "tank"), ("hostname", "r210")];
    let upid = token.post(PATH, &restore("210", &more)).await.upid();
    root.until_logged(&upid, "Superblock backups").await;
    let denied = |privilege: &str| format!("Permission check failed (/vms/210, {privilege})");
    for path in ["config", "status/current", "pending", "snapshot", "feature?feature=snapshot"] {
        token.get(&format!("{PATH}/210/{path}")).await.failed(403, &denied("VM.Audit"));
    }
    let any = "VM.Config.Disk|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.Options";
    token.put(&format!("{PATH}/210/config"), &[("memory", "70")]).await.failed(403, &denied(any));
    token.post(&format!("{PATH}/210/status/stop"), &[]).await.failed(403, &denied("VM.PowerMgmt"));
    token
        .post(&format!("{PATH}/210/snapshot"), &[("snapname", "x1")])
        .await
        .failed(403, &denied("VM.Snapshot"));
    token.delete(&format!("{PATH}/210")).await.failed(403, &denied("VM.Allocate"));
    assert_eq!(token.get(PATH).await.ok(), json!([]));
    assert_eq!(root.get("/pools?poolid=ours").await.ok()[0]["members"], json!([]));
    let pending = root.get(&format!("{PATH}/210/pending")).await.ok();
    assert_eq!(pending[0], json!({"key": "lock", "value": "create"}));
    token.get("/cluster/nextid?vmid=210").await.bad_parameter("vmid", "VM 210 already exists");
    let active = token.get("/nodes/pve/tasks?source=active").await.ok();
    assert_eq!((&active[0]["upid"], &active[0]["user"]), (&json!(upid), &json!("t@pve!tok")));
    let file = server.state().join("etc/pve/lxc/210.conf");
    assert_eq!(fs::read_to_string(&file).unwrap(), "lock: create\n");

    // The configuration comes at once, and before the pool's entry.
    rules(&server, &json!([{"at": "vzrestore.pool", "do": "hold"}]));
    root.until_logged(&upid, "merging backed-up and given configuration..").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while fs::read_to_string(&file).unwrap() == "lock: create\n" {
        assert!(std::time::Instant::now() < deadline);
    }
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("#job=42\n#owner=x\n") && !text.contains("lock"), "{text}");
    token.get(&format!("{PATH}/210/config")).await.failed(403, &denied("VM.Audit"));
    rules(&server, &json!([]));
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(token.get(&format!("{PATH}/210/config")).await.ok()["description"], "job=42\nowner=x\n");
}

/// F38, F80, rec 110–116, rec2 810, 1111–1119: a PUT waits for the guest's file lock and then applies; a start queues in its task; a
/// DELETE is refused at once. (After ten seconds the PUT would give up: rec2 1112.)
#[tokio::test]
async fn f80_calls_that_wait_for_a_restore() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    rules(&server, &json!([{"at": "vzrestore.unpack", "do": "hold"}]));
    let upid = root.post(PATH, &restore("275", &[("storage", "tank")])).await.upid();
    root.until_logged(&upid, "Superblock backups").await;
    let change = {
        let root = root.clone();
        tokio::spawn(async move { root.put(&format!("{PATH}/275/config"), &[("memory", "70")]).await })
    };
    root.delete(&format!("{PATH}/275")).await.failed(500, "CT is locked (create)");
    let start = root.post(&format!("{PATH}/275/status/start"), &[]).await.upid();
    root.until_logged(&start, "trying to acquire lock...").await;
    assert!(!change.is_finished());
    rules(&server, &json!([]));
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.wait(&start).await, "OK");
    assert_eq!(root.log(&start).await, ["trying to acquire lock...", " OK", "TASK OK"]);
    change.await.unwrap().ok();
    let config = root.get(&format!("{PATH}/275/config")).await.ok();
    assert_eq!((&config["memory"], &config["hostname"]), (&json!(70), &json!("golden")));
}

/// F40, rec 91–95, 108: a create that is going to fail occupies its VMID until then; nextid reserves nothing.
#[tokio::test]
async fn f40_a_create_that_fails_occupies_its_vmid() {
    let server = Server::start();
    let root = server.root().await;
    rules(&server, &json!([{"at": "vzcreate.unpack", "do": "hold"}]));
    let form = [("vmid", "190"), ("ostemplate", "local:vztmpl/none.tar.zst"), ("rootfs", "tank:1")];
    let upid = root.post(PATH, &form).await.upid();
    let config = root.get(&format!("{PATH}/190/config")).await.ok();
    assert_eq!((config.as_object().unwrap().len(), &config["lock"]), (2, &json!("create")));
    root.get("/cluster/nextid?vmid=190").await.bad_parameter("vmid", "VM 190 already exists");
    assert_eq!(root.get("/cluster/nextid").await.ok(), "100");
    root.post(PATH, &form).await.failed(500, "CT 190 already exists on node 'pve'");
    rules(&server, &json!([]));
    let text = "volume 'local:vztmpl/none.tar.zst' does not exist";
    assert_eq!(root.wait(&upid).await, format!("unable to create CT 190 - {text}"));
    let log = root.log(&upid).await;
    assert_eq!(log[0], "Creating filesystem with 262144 4k blocks and 65536 inodes");
    assert_eq!(log[log.len() - 2], text);
    assert_eq!(root.get("/cluster/nextid?vmid=190").await.ok(), "190");
    assert!(!server.state().join("mnt/tank/images/190").exists());
}

/// rec 113, rec2 3: what a create from a template says and makes; `password` and HA are refused, not ignored.
#[tokio::test]
async fn a_template_becomes_a_guest() {
    let server = Server::start();
    let root = server.root().await;
    write_archive(&server.state().join("var/lib/vz/template/cache/t.tar.zst"), CONFIG, 0);
    let form = |more: &[(&'static str, &'static str)]| {
        let mut form = vec![("vmid", "101"), ("ostemplate", "local:vztmpl/t.tar.zst"), ("storage", "tank")];
        form.extend_from_slice(more);
        form
    };
    for (name, value) in [("password", "secret"), ("ha-managed", "1")] {
        let text = format!("{name} is not implemented by this simulator");
        root.post(PATH, &form(&[(name, value)])).await.failed(501, &text);
    }
    let upid = root.post(PATH, &form(&[("timezone", "UTC"), ("rootfs", "0.3")])).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let log = root.log(&upid).await;
    assert_eq!(log[0], "Creating filesystem with 314368 1k blocks and 78624 inodes");
    assert_eq!(log[log.len() - 3], "Detected container architecture: amd64");
    let line = "container does not have /usr/share/zoneinfo/UTC, timezone can not be modified";
    assert_eq!(log[log.len() - 2], line);
    let config = root.get(&format!("{PATH}/101/config")).await.ok();
    assert_eq!((&config["hostname"], &config["memory"]), (&json!("CT101"), &json!(512)));
    assert_eq!(config["rootfs"], "tank:101/vm-101-disk-0.raw,size=307M");
}

/// F45, rec 909–926: a destroyed guest's ACL entries and pool membership go with it; a restore that was killed, and unlocked by hand,
/// leaves volumes that the next guest with its VMID does not get, but counts on.
#[tokio::test]
async fn f45_a_vmid_is_used_again() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 171).await;
    root.post("/access/users", &[("userid", "u@pve")]).await.ok();
    root.put("/access/acl", &[("path", "/vms/171"), ("roles", "PVEVMUser"), ("users", "u@pve")]).await.ok();
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    root.put("/pools", &[("poolid", "ours"), ("vms", "171")]).await.ok();
    let upid = root.delete(&format!("{PATH}/171")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.get("/access/acl").await.ok(), json!([]));
    let users = fs::read_to_string(server.state().join("etc/pve/user.cfg")).unwrap();
    assert!(users.contains("pool:ours:::"), "{users}");

    // rec2 957–960: orphans keep their numbers.
    fs::create_dir_all(server.state().join("mnt/tank/images/171/vm-171-disk-0/disk.raw")).unwrap();
    assert_eq!(root.run(PATH, &restore("171", &[("rootfs", "tank:1")])).await, "OK");
    let config = root.get(&format!("{PATH}/171/config")).await.ok();
    assert_eq!(config["rootfs"], "tank:171/vm-171-disk-1.raw,size=1G");
}
