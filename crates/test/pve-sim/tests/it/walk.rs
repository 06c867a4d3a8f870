//! The whole way of a guest, with processes: restore, start, back up, restore the backup elsewhere, destroy; and a server that is
//! killed in between.

use std::fs;
use std::time::{Duration, Instant};

use crate::server::{ARCHIVE, Server};

#[tokio::test]
async fn a_guest_is_restored_started_backed_up_and_restored_again() {
    let mut server = Server::with_processes();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let config = root.get("/nodes/pve/lxc/100/config").await.ok();
    assert_eq!(config["rootfs"], "tank:100/vm-100-disk-0.raw,size=2G");
    assert_eq!(config["mp0"], "tank:100/vm-100-disk-1.raw,mp=/data,backup=1,size=1G");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let status = root.get("/nodes/pve/lxc/100/status/current").await.ok();
    assert_eq!(status["status"], "running");
    let image = server.state().join("mnt/tank/images/100");
    let rootfs = image.join("vm-100-disk-0/disk.raw");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !rootfs.join("run/started").exists() {
        assert!(Instant::now() < deadline, "init did not run");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    fs::write(image.join("vm-100-disk-1/disk.raw/file"), "v2\n").unwrap();

    // The server dies; the guest does not.
    server.kill_and_restart();
    let root = server.root().await;
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.ok()["pid"], status["pid"]);

    let form =
        [("vmid", "100"), ("storage", "local"), ("mode", "snapshot"), ("compress", "zstd"), ("remove", "0")];
    let upid = root.post("/nodes/pve/vzdump", &form).await.upid();
    assert_eq!(root.wait(&upid).await, "OK", "{:#?}", root.log(&upid).await);
    let backups = root.get("/nodes/pve/storage/local/content?content=backup&vmid=100").await.ok();
    let volid = backups[0]["volid"].as_str().unwrap();
    assert_ne!(volid, ARCHIVE);
    let snapshots = root.get("/nodes/pve/lxc/100/snapshot").await.ok();
    assert_eq!(snapshots.as_array().unwrap().len(), 1, "{snapshots}");

    let form = [
        ("vmid", "101"),
        ("ostemplate", volid),
        ("restore", "1"),
        ("rootfs", "tank:2"),
        ("mp0", "tank:1,mp=/data,backup=1"),
        ("net0", "name=eth0,bridge=vmbr0,link_down=1"),
    ];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    let copy = server.state().join("mnt/tank/images/101");
    assert_eq!(fs::read_to_string(copy.join("vm-101-disk-1/disk.raw/file")).unwrap(), "v2\n");
    assert!(!copy.join("vm-101-disk-0/disk.raw/run/started").exists(), "/run is not archived");
    assert_eq!(root.run("/nodes/pve/lxc/101/status/start", &[]).await, "OK");
    let interfaces = root.get("/nodes/pve/lxc/101/interfaces").await.ok();
    assert!(interfaces[0]["inet"].is_string() && interfaces[1]["inet"].is_null(), "{interfaces}");

    for vmid in [100, 101] {
        assert_eq!(root.run(&format!("/nodes/pve/lxc/{vmid}/status/shutdown"), &[]).await, "OK");
        let upid = root.delete(&format!("/nodes/pve/lxc/{vmid}")).await.upid();
        assert_eq!(root.wait(&upid).await, "OK");
    }
    assert_eq!(root.get("/nodes/pve/lxc").await.ok().as_array().unwrap().len(), 0);
    assert!(!image.exists() && !copy.exists());
}
