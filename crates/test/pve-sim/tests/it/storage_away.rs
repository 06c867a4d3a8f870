//! A storage whose disk is not there, with `control/disks.json` (F93).

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::server::{ARCHIVE, Caller, Server};

const NOT_MOUNTED: &str = "unable to activate storage 'small' - directory is expected to be a mount point but \
                           is not mounted: '/mnt/small'";

/// Says what the node's file systems are.
fn disks(server: &Server, json: &serde_json::Value) {
    let path = server.state().join("control/disks.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, json.to_string()).unwrap();
}

/// A server with guest 271 on the dir storage `small`, whose disk is mounted at /mnt/small.
async fn with_small() -> (Server, Caller) {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    disks(&server, &json!({"/": {"size": 200_000_000_000_u64}, "/mnt/small": {"size": 190_770_176}}));
    let form =
        [("storage", "small"), ("type", "dir"), ("path", "/mnt/small"), ("content", "backup,rootdir,images")];
    root.post("/storage", &form).await.ok();
    assert_eq!(restore(&root, "271").await, "OK");
    (server, root)
}

async fn restore(root: &Caller, vmid: &str) -> String {
    let form = [("vmid", vmid), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "small:0.15")];
    root.run("/nodes/pve/lxc", &form).await
}

fn volume(server: &Server, below: &str, vmid: u32) -> PathBuf {
    server.state().join(below).join(format!("mnt/small/images/{vmid}/vm-{vmid}-disk-0.raw/data/file"))
}

/// F93, rec2 894–915: with the disk gone the storage is active with the root file system's sizes, shows nothing, takes new data,
/// which land on the root file system, and a guest destroyed there is gone while its volume stays on the absent disk.
#[tokio::test]
async fn f93_an_unmounted_directory_takes_data_on_the_root_file_system() {
    let (server, root) = with_small().await;
    let status = root.get("/nodes/pve/storage/small/status").await.ok();
    assert_eq!((&status["active"], &status["total"]), (&json!(1), &json!(190_770_176)));
    assert_eq!(root.run("/nodes/pve/vzdump", &[("vmid", "271"), ("storage", "small")]).await, "OK");
    disks(&server, &json!({"/": {"size": 200_000_000_000_u64}, "/mnt/small": {"mounted": false}}));
    let status = root.get("/nodes/pve/storage/small/status").await.ok();
    assert_eq!((&status["active"], &status["total"]), (&json!(1), &json!(200_000_000_000_u64)));
    assert_eq!(root.get("/nodes/pve/storage/small/content").await.ok(), json!([]));
    let status = root.run("/nodes/pve/lxc/271/status/start", &[]).await;
    assert_eq!(status, "volume 'small:271/vm-271-disk-0.raw' does not exist");

    assert_eq!(restore(&root, "272").await, "OK");
    assert_eq!(root.run("/nodes/pve/vzdump", &[("vmid", "272"), ("storage", "small")]).await, "OK");
    assert!(volume(&server, "unmounted", 272).exists());
    let upid = root.delete("/nodes/pve/lxc/271").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let log = root.log(&upid).await;
    assert_eq!(log[0], "disk image '/mnt/small/images/271/vm-271-disk-0.raw' does not exist");
    root.get("/nodes/pve/lxc/271/config")
        .await
        .failed(500, "Configuration file 'nodes/pve/lxc/271.conf' does not exist");

    // The disk comes back: what was destroyed is there, what was written is not.
    disks(&server, &json!({"/mnt/small": {"size": 190_770_176}}));
    assert!(volume(&server, "", 271).exists());
    assert!(!volume(&server, "", 272).exists());
    let backups = root.get("/nodes/pve/storage/small/content?content=backup").await.ok();
    assert!(backups.as_array().unwrap().iter().all(|b| b["vmid"] == 271), "{backups}");
    let status = root.run("/nodes/pve/lxc/272/status/start", &[]).await;
    assert_eq!(status, "volume 'small:272/vm-272-disk-0.raw' does not exist");
}

/// F93, rec2 916–931, 1060–1070: with `is_mountpoint` everything fails at once, in one sentence, and nothing is written.
#[tokio::test]
async fn f93_a_mount_point_that_is_not_mounted_fails_everything() {
    let (server, root) = with_small().await;
    assert_eq!(root.run("/nodes/pve/vzdump", &[("vmid", "271"), ("storage", "small")]).await, "OK");
    let backups = root.get("/nodes/pve/storage/small/content?content=backup").await.ok();
    let archive = backups[0]["volid"].as_str().unwrap();
    root.put("/storage/small", &[("is_mountpoint", "1")]).await.ok();
    assert_eq!(root.get("/storage/small").await.ok()["is_mountpoint"], "1");
    assert_eq!(root.run("/nodes/pve/lxc/271/status/start", &[]).await, "OK");

    disks(&server, &json!({"/mnt/small": {"mounted": false}}));
    let status = root.get("/nodes/pve/storage/small/status").await.ok();
    let off = json!({"type": "dir", "content": "backup,rootdir,images", "shared": 0, "enabled": 1, "active": 0,
                     "total": 0, "avail": 0, "used": 0});
    assert_eq!(status, off);
    root.get("/nodes/pve/storage/small/content").await.failed(500, NOT_MOUNTED);
    let status = root.run("/nodes/pve/vzdump", &[("vmid", "271"), ("storage", "small")]).await;
    assert_eq!(status, format!("could not activate storage 'small': {NOT_MOUNTED}"));
    let form = [("vmid", "272"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "small:0.2")];
    root.post("/nodes/pve/lxc", &form).await.failed(500, NOT_MOUNTED);
    let form = [("vmid", "272"), ("ostemplate", archive), ("restore", "1"), ("rootfs", "tank:1")];
    let status = root.run("/nodes/pve/lxc", &form).await;
    assert_eq!(status, format!("unable to restore CT 272 - {NOT_MOUNTED}"));
    let upid = root.delete(&format!("/nodes/pve/storage/small/content/{archive}")).await.upid();
    assert_eq!(root.wait(&upid).await, NOT_MOUNTED);

    // The running guest goes on; a reboot leaves it stopped.
    assert_eq!(root.get("/nodes/pve/lxc/271/status/current").await.ok()["status"], "running");
    assert_eq!(root.run("/nodes/pve/lxc/271/status/reboot", &[]).await, NOT_MOUNTED);
    assert_eq!(root.get("/nodes/pve/lxc/271/status/current").await.ok()["status"], "stopped");
    assert_eq!(root.run("/nodes/pve/lxc/271/status/start", &[]).await, NOT_MOUNTED);
    let upid = root.delete("/nodes/pve/lxc/271").await.upid();
    assert_eq!(root.wait(&upid).await, NOT_MOUNTED);
    assert_eq!(root.get("/nodes/pve/lxc/271/config").await.ok()["hostname"], "golden");
    assert!(!server.state().join("unmounted/mnt/small/dump").exists());
    disks(&server, &json!({"/mnt/small": {"size": 190_770_176}}));
    assert_eq!(root.run("/nodes/pve/lxc/271/status/start", &[]).await, "OK");
}

/// rec2 934–940: without its base directory, and with `create-base-path=0`, a storage is not active; likewise one that the
/// control file takes offline.
#[tokio::test]
async fn a_directory_that_is_not_there_is_unreachable() {
    let (server, root) = with_small().await;
    let unreachable =
        "unable to activate storage 'small' - directory '/mnt/small' does not exist or is unreachable";
    root.put("/storage/small", &[("create-base-path", "0"), ("create-subdirs", "0")]).await.ok();
    let shown = root.get("/storage/small").await.ok();
    assert_eq!((&shown["create-base-path"], &shown["create-subdirs"]), (&json!(0), &json!(0)));
    for away in [json!({"mounted": false}), json!({"offline": true})] {
        disks(&server, &json!({"/mnt/small": away}));
        assert_eq!(root.get("/nodes/pve/storage/small/status").await.ok()["active"], 0);
        let status = root.run("/nodes/pve/vzdump", &[("vmid", "271"), ("storage", "small")]).await;
        assert_eq!(status, format!("could not activate storage 'small': {unreachable}"));
    }
}

/// rec 2/941–945: with its base directory back, but without `dump`, which `create-subdirs=0` leaves away, a backup fails at the
/// archive; nothing is made there.
#[tokio::test]
async fn a_backup_onto_a_storage_without_its_dump_directory_fails() {
    let (server, root) = with_small().await;
    root.put("/storage/small", &[("create-base-path", "0"), ("create-subdirs", "0")]).await.ok();
    disks(&server, &json!({"/mnt/small": {"mounted": false}}));
    let base = server.state().join("unmounted/mnt/small");
    fs::create_dir_all(&base).unwrap();
    let form = [("vmid", "100"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "tank:1")];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    let upid = root.post("/nodes/pve/vzdump", &[("vmid", "100"), ("storage", "small")]).await.upid();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await;
    assert_eq!(log[1], "command 'df -P -T -B 1 /mnt/small/dump' failed: exit code 1");
    let perl = "Use of uninitialized value in string eq at /usr/share/perl5/PVE/VZDump.pm line 1029.";
    assert_eq!((log[2].as_str(), log[7].as_str()), (perl, perl));
    assert!(
        log[9].starts_with("INFO: filesystem type on dumpdir is '' -using /var/tmp/vzdumptmp"),
        "{log:#?}"
    );
    let text = log.join("\n");
    assert!(text.contains("INFO: /bin/bash: line 1: /mnt/small/dump/vzdump-lxc-100-"), "{text}");
    assert!(text.contains("cp: cannot create regular file '/mnt/small/dump/vzdump-lxc-100-"), "{text}");
    assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
}

/// F93, rec 2/1055–1059: a running guest keeps its volumes when the disk is taken away, and can be backed up.
#[tokio::test]
async fn f93_a_running_guest_on_an_absent_disk_is_backed_up() {
    let (server, root) = with_small().await;
    root.put("/storage/small", &[("is_mountpoint", "1")]).await.ok();
    assert_eq!(root.run("/nodes/pve/lxc/271/status/start", &[]).await, "OK");
    disks(&server, &json!({"/mnt/small": {"mounted": false}}));
    let form = [("vmid", "271"), ("storage", "local"), ("mode", "snapshot")];
    let upid = root.post("/nodes/pve/vzdump", &form).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let log = root.log(&upid).await.join("\n");
    assert!(log.contains("INFO: trying 'suspend' mode instead"), "{log}");
    assert!(log.contains("INFO: final sync finished - transferred "), "{log}");
}
