//! F82–F85: moving a volume to another guest, where a failure between two writes loses its reference, and to another storage.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::server::{Caller, Server};

const MOVE_100: &str = "/nodes/pve/lxc/100/move_volume";
const MOVE_101: &str = "/nodes/pve/lxc/101/move_volume";
const GONE: &str = "0000000000000000000000000000000000000000";

async fn config(root: &Caller, vmid: u32) -> Json {
    root.get(&format!("/nodes/pve/lxc/{vmid}/config?current=1")).await.ok()
}

fn tree(server: &Server, vmid: u32, disk: u32) -> PathBuf {
    server.state().join(format!("mnt/tank/images/{vmid}/vm-{vmid}-disk-{disk}/disk.raw"))
}

fn fault(server: &Server, at: &str, act: &Json) {
    let control = server.state().join("control");
    fs::create_dir_all(&control).unwrap();
    fs::write(control.join("faults.json"), json!({"rules": [{"at": at, "do": act}]}).to_string()).unwrap();
}

/// A second storage for guests' volumes, of type dir.
fn add_plain(server: &Server) {
    let path = server.state().join("mnt/plain");
    let file = server.state().join("etc/pve/storage.cfg");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}dir: plain\n\tpath {}\n\tcontent rootdir\n\n", path.display())).unwrap();
}

/// Guests 100 and 101 with mp0 (backup=1, with data) and mp1 (backup=0); 101 without them.
async fn pair() -> (Server, Caller) {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    server.restored(&root, 101).await;
    root.put("/nodes/pve/lxc/101/config", &[("delete", "mp0,mp1")]).await.ok();
    root.put("/nodes/pve/lxc/101/config", &[("delete", "unused0,unused1")]).await.ok();
    (server, root)
}

async fn reassign(root: &Caller, path: &str, volume: &str, target: (&str, &str)) -> String {
    let form = [("volume", volume), ("target-vmid", target.0), ("target-volume", target.1)];
    root.run(path, &form).await
}

/// F82, rec 2/311–333: all options stay, the data too, the source's key goes; the name is the first free one; the target's key is
/// the source's unless another is given; the same guest as target renames the key.
#[tokio::test]
async fn f82_a_volume_moves_to_another_guest() {
    let (server, root) = pair().await;
    let form = [("volume", "mp1"), ("target-vmid", "101"), ("target-volume", "mp5")];
    let upid = root.post(MOVE_100, &form).await.upid();
    assert!(upid.contains(":move_volume:100-mp1>101-mp5:root@pam:"), "{upid}");
    assert_eq!(root.wait(&upid).await, "OK");
    let log = [
        "moving volume 'mp1' from container '100' to '101'",
        "removing volume 'mp1' from container '100' config",
        "target container '101' updated with 'mp5'",
        "TASK OK",
    ];
    assert_eq!(root.log(&upid).await, log);
    assert_eq!(root.run(MOVE_100, &[("volume", "mp0"), ("target-vmid", "101")]).await, "OK");
    let (source, target) = (config(&root, 100).await, config(&root, 101).await);
    assert_eq!((&source["mp0"], &source["mp1"], &source["unused0"]), (&Json::Null, &Json::Null, &Json::Null));
    assert_eq!(target["mp5"], "tank:101/vm-101-disk-1.raw,mp=/scratch,backup=0,size=1G");
    assert_eq!(target["mp0"], "tank:101/vm-101-disk-2.raw,mp=/data,backup=1,size=1G");
    assert_eq!(fs::read_to_string(tree(&server, 101, 2).join("file")).unwrap(), "v1\n");
    assert!(!tree(&server, 100, 1).exists());
    assert_eq!(reassign(&root, MOVE_101, "mp5", ("101", "mp6")).await, "OK");
    assert_eq!(config(&root, 101).await["mp6"], "tank:101/vm-101-disk-3.raw,mp=/scratch,backup=0,size=1G");
    // rec 2/331: the first free number is looked for while the old name is still taken.
    assert!(!tree(&server, 101, 1).exists());
}

/// F85, rec 2/327–339, 380–387, 411, 419, 433: what is refused at once.
#[tokio::test]
async fn f85_refusals() {
    let (server, root) = pair().await;
    root.put("/nodes/pve/lxc/101/config", &[("mp0", "tank:1,mp=/x"), ("mp8", "/srv/x,mp=/y")]).await.ok();
    let to = |volume: &'static str, target: &'static str, key: &'static str| {
        [("volume", volume), ("target-vmid", target), ("target-volume", key)]
    };
    for (path, form, text) in [
        (MOVE_100, to("mp0", "101", "mp0"), "Target volume key 'mp0' is already in use for container '101'"),
        (MOVE_100, to("rootfs", "101", "mp7"), "Cannot move to/from 'rootfs'"),
        (MOVE_100, to("mp0", "101", "rootfs"), "Cannot move to/from 'rootfs'"),
        (MOVE_101, to("mp9", "100", "mp7"), "volume 'mp9' for container '101' does not exist"),
        (MOVE_100, to("unused3", "101", "mp5"), "Moving an unused volume to a used one is not possible"),
        (MOVE_100, to("mp0", "777", "mp5"), "could not find CT 777"),
        (
            MOVE_101,
            to("mp8", "100", "mp8"),
            "Storage does not support moving of this disk to another container",
        ),
    ] {
        root.post(path, &form).await.failed(500, text);
    }
    let both = [("volume", "mp0"), ("target-vmid", "101"), ("storage", "tank")];
    root.post(MOVE_100, &both).await.failed(500, "either set storage or target-vmid, but not both");
    let none = root.post(MOVE_100, &[("volume", "mp0")]).await;
    none.bad_parameter("storage", "both 'storage' and 'target-vmid' missing, either needs to be set");
    for (digest, vmid) in [("digest", "100"), ("target-digest", "101")] {
        let form = [("volume", "mp0"), ("target-vmid", "101"), ("target-volume", "mp5"), (digest, GONE)];
        let text = "detected modified configuration - file changed by other user? Try again.";
        root.post(MOVE_100, &form).await.failed(500, &format!("Container {vmid}: {text}"));
    }
    // rec 2/380–387: any lock on either side.
    let file = server.state().join("etc/pve/lxc/101.conf");
    let before = fs::read_to_string(&file).unwrap();
    for lock in ["backup", "create", "snapshot"] {
        fs::write(&file, format!("lock: {lock}\n{before}")).unwrap();
        let text = format!("CT is locked ({lock})");
        root.post(MOVE_100, &to("mp0", "101", "mp2")).await.failed(500, &text);
        root.post(MOVE_101, &to("mp0", "100", "mp2")).await.failed(500, &text);
    }
    fs::write(&file, before).unwrap();
    // rec 2/419, 424: a snapshot of the source's volume; one of the target is fine.
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await, "OK");
    let text = "Cannot move volume used by a snapshot to another container";
    root.post(MOVE_100, &to("mp0", "101", "mp3")).await.failed(500, text);
    root.wait(&root.delete("/nodes/pve/lxc/100/snapshot/s1").await.upid()).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let text = "Cannot move in-use volume while the source CT is running - detach or shutdown first";
    root.post(MOVE_100, &to("mp0", "101", "mp3")).await.failed(500, text);
}

/// F85, rec 2/334, 335, 465: VM.Config.Disk on both guests, AllocateSpace on the storage.
#[tokio::test]
async fn f85_rights() {
    let (server, root) = pair().await;
    let tenant = server.tenant(&root, "VM.Config.Disk,VM.Audit", &["/vms/100"]).await;
    let form = [("volume", "mp0"), ("target-vmid", "101")];
    tenant.post(MOVE_101, &form).await.failed(403, "Permission check failed (/vms/101, VM.Config.Disk)");
    tenant.post(MOVE_100, &form).await.failed(403, "Permission check failed (/vms/101, VM.Config.Disk)");
    let form = [("volume", "mp0"), ("target-vmid", "100"), ("target-volume", "mp5")];
    let text = "Permission check failed (/storage/tank, Datastore.AllocateSpace)";
    tenant.post(MOVE_100, &form).await.failed(403, text);
    let text = "Permission check failed (/storage/nosuch, Datastore.AllocateSpace)";
    tenant.post(MOVE_100, &[("volume", "mp0"), ("storage", "nosuch")]).await.failed(403, text);
}

/// F82, F83, rec 2/347–355, 390–395: a protected source does not matter; a protected target fails the task after the source was
/// written, so that the volume is in nobody's configuration. Whoever knows its name can attach it again, data intact.
#[tokio::test]
async fn f82_a_protected_target_loses_the_reference() {
    let (server, root) = pair().await;
    root.put("/nodes/pve/lxc/100/config", &[("protection", "1")]).await.ok();
    assert_eq!(reassign(&root, MOVE_100, "mp0", ("101", "mp0")).await, "OK");
    let form = [("volume", "mp0"), ("target-vmid", "100")];
    let upid = root.post(MOVE_101, &form).await.upid();
    assert_eq!(root.wait(&upid).await, "can't update CT 100 drive 'mp0' - protection mode enabled");
    assert_eq!(root.log(&upid).await[1], "removing volume 'mp0' from container '101' config");
    for vmid in [100, 101] {
        let config = config(&root, vmid).await;
        assert_eq!((&config["mp0"], &config["unused0"]), (&Json::Null, &Json::Null), "{vmid}");
    }
    assert!(tree(&server, 100, 1).join("file").exists(), "the data is there, nobody refers to it");
    root.put("/nodes/pve/lxc/100/config", &[("protection", "0")]).await.ok();
    let value = "tank:100/vm-100-disk-1.raw,mp=/data,backup=1";
    root.put("/nodes/pve/lxc/100/config", &[("mp0", value)]).await.ok();
    assert_eq!(config(&root, 100).await["mp0"], format!("{value},size=1G"));
}

/// F82, rec 2/494–500: a SIGKILL between the two writes does the same.
#[tokio::test]
async fn f82_a_kill_between_the_writes_loses_the_reference() {
    let (server, root) = pair().await;
    fault(&server, "move_volume.source-written", &json!("kill"));
    assert_eq!(reassign(&root, MOVE_100, "mp0", ("101", "mp0")).await, "unexpected status");
    for vmid in [100, 101] {
        assert_eq!(config(&root, vmid).await["mp0"], Json::Null, "{vmid}");
    }
    assert!(tree(&server, 101, 1).join("file").exists());
    let value = "tank:101/vm-101-disk-1.raw,mp=/data,backup=1";
    root.put("/nodes/pve/lxc/101/config", &[("mp0", value)]).await.ok();
    assert_eq!(config(&root, 101).await["mp0"], format!("{value},size=1G"));
}

/// F84, rec 2/508–518: killed between the rename and the first write, the source names a volume that is gone: it does not start, and
/// on btrfs moving that nothing is "OK" and gives the target a dead entry. On dir it fails.
#[tokio::test]
async fn f84_a_missing_volume_moves() {
    let (server, root) = pair().await;
    add_plain(&server);
    fault(&server, "move_volume.renamed", &json!("kill"));
    assert_eq!(reassign(&root, MOVE_100, "mp0", ("101", "mp0")).await, "unexpected status");
    fs::remove_file(server.state().join("control/faults.json")).unwrap();
    assert!(tree(&server, 101, 1).exists() && !tree(&server, 100, 1).exists());
    let exit = root.run("/nodes/pve/lxc/100/status/start", &[]).await;
    assert_eq!(exit, "volume 'tank:100/vm-100-disk-1.raw' does not exist");
    let upid = root.post(MOVE_100, &[("volume", "mp0"), ("target-vmid", "101")]).await.upid();
    assert_eq!(root.wait(&upid).await, "OK", "it lies");
    let line = "failed to stat '/mnt/tank/images/101/vm-101-disk-2/disk.raw'";
    assert_eq!(root.log(&upid).await[2], line);
    assert_eq!(config(&root, 101).await["mp0"], "tank:101/vm-101-disk-2.raw,mp=/data,backup=1");
    assert_eq!(config(&root, 100).await["mp0"], Json::Null);
    assert!(!tree(&server, 101, 2).exists());

    root.put("/nodes/pve/lxc/100/config", &[("mp2", "plain:100/vm-100-disk-7.raw,mp=/gone")]).await.ok();
    let exit = reassign(&root, MOVE_100, "mp2", ("101", "mp2")).await;
    assert!(exit.starts_with("rename '") && exit.ends_with("' failed - No such file or directory"), "{exit}");
    assert!(config(&root, 100).await["mp2"].is_string(), "nothing was written");
}

/// F85, rec 2/402–416: a running target gets it at once; where that fails, the task warns and the mount waits for the next stop.
#[tokio::test]
async fn f85_a_running_target() {
    let (server, root) = pair().await;
    assert_eq!(root.run("/nodes/pve/lxc/101/status/start", &[]).await, "OK");
    assert_eq!(reassign(&root, MOVE_100, "mp1", ("101", "mp1")).await, "OK");
    let value = "tank:101/vm-101-disk-1.raw,mp=/scratch,backup=0,size=1G";
    assert_eq!(config(&root, 101).await["mp1"], value);
    fault(&server, "move_volume.hotplug", &json!({"fail": "failed to change apparmor profile"}));
    let upid = root.post(MOVE_100, &[("volume", "mp0"), ("target-vmid", "101")]).await.upid();
    assert_eq!(root.wait(&upid).await, "WARNINGS: 1");
    assert_eq!(root.log(&upid).await[2], "WARN: unable to hotplug mp0: failed to change apparmor profile");
    assert_eq!(config(&root, 101).await["mp0"], Json::Null);
    assert_eq!(root.run("/nodes/pve/lxc/101/status/stop", &[]).await, "OK");
    let value = "tank:101/vm-101-disk-2.raw,mp=/data,backup=1,size=1G";
    assert_eq!(config(&root, 101).await["mp0"], value);
}

/// With processes the running target sees the files.
#[tokio::test]
async fn a_running_guest_sees_the_files_of_a_volume_that_came() {
    let server = Server::with_processes();
    let root = server.root().await;
    server.restored(&root, 100).await;
    server.restored(&root, 101).await;
    root.put("/nodes/pve/lxc/101/config", &[("delete", "mp0")]).await.ok();
    assert_eq!(root.run("/nodes/pve/lxc/101/status/start", &[]).await, "OK");
    assert_eq!(root.run(MOVE_100, &[("volume", "mp0"), ("target-vmid", "101")]).await, "OK");
    let seen = tree(&server, 101, 0).join("data/file");
    assert_eq!(fs::read_to_string(seen).unwrap(), "v1\n");
}

/// F85, rec 2/441–452: unused volumes move to unused keys, also from a running guest.
#[tokio::test]
async fn f85_an_unused_volume_moves() {
    let (_server, root) = pair().await;
    root.put("/nodes/pve/lxc/100/config", &[("delete", "mp0")]).await.ok();
    assert_eq!(root.run(MOVE_100, &[("volume", "unused0"), ("target-vmid", "101")]).await, "OK");
    assert_eq!(config(&root, 101).await["unused0"], "tank:101/vm-101-disk-1.raw");
    assert_eq!(config(&root, 100).await["unused0"], Json::Null);
}

/// F85, rec 2/453–488: to another storage the volume is copied; the old one becomes unused, or goes with `delete=1`; rootfs too;
/// protection is no obstacle; the same storage makes a second copy.
#[tokio::test]
async fn f85_a_volume_moves_to_another_storage() {
    let (server, root) = pair().await;
    add_plain(&server);
    let upid = root.post(MOVE_100, &[("volume", "mp0"), ("storage", "plain")]).await.upid();
    assert!(upid.contains(":move_volume:100:"), "{upid}");
    assert_eq!(root.wait(&upid).await, "OK", "{:?}", root.log(&upid).await);
    let log = root.log(&upid).await;
    assert!(
        log[0].starts_with("Formatting '") && log[0].ends_with("fmt=raw size=1073741824 preallocation=off")
    );
    assert!(log.contains(&"Number of files: 3 (reg: 2, dir: 1)".to_owned()), "{log:?}");
    let now = config(&root, 100).await;
    assert_eq!(now["mp0"], "plain:100/vm-100-disk-0.raw,mp=/data,backup=1,size=1G");
    assert_eq!((&now["unused0"], &now["lock"]), (&json!("tank:100/vm-100-disk-1.raw"), &Json::Null));
    let copy = server.state().join("mnt/plain/images/100/vm-100-disk-0.raw/file");
    assert_eq!(fs::read_to_string(&copy).unwrap(), "v1\n");
    root.put("/nodes/pve/lxc/100/config", &[("protection", "1")]).await.ok();
    let form = [("volume", "rootfs"), ("storage", "plain"), ("delete", "1")];
    assert_eq!(root.run(MOVE_100, &form).await, "OK");
    assert_eq!(config(&root, 100).await["rootfs"], "plain:100/vm-100-disk-1.raw,size=2G");
    assert!(!tree(&server, 100, 0).exists());
    assert_eq!(root.run(MOVE_100, &[("volume", "mp0"), ("storage", "plain")]).await, "OK");
    let now = config(&root, 100).await;
    assert_eq!(now["mp0"], "plain:100/vm-100-disk-2.raw,mp=/data,backup=1,size=1G");
    assert_eq!(now["unused1"], "plain:100/vm-100-disk-0.raw");
    root.put("/nodes/pve/lxc/100/config", &[("protection", "0")]).await.ok();
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let answer = root.post(MOVE_100, &[("volume", "mp0"), ("storage", "tank")]).await;
    answer.failed(500, "cannot move volumes of a running container");
}

/// Unrecorded but for the lock: a failure takes the copy and the lock away again; a SIGKILL leaves both (`disk`).
#[tokio::test]
async fn f85_a_move_to_another_storage_that_fails_or_dies() {
    let (server, root) = pair().await;
    add_plain(&server);
    let images = server.state().join("mnt/plain/images/100/vm-100-disk-0.raw");
    let form = [("volume", "mp0"), ("storage", "plain")];
    fault(&server, "move_volume.copied", &json!({"fail": "no luck"}));
    assert_eq!(root.run(MOVE_100, &form).await, "no luck");
    let now = config(&root, 100).await;
    assert_eq!((&now["lock"], &now["unused0"]), (&Json::Null, &Json::Null));
    assert!(!images.exists());
    let form_local = [("volume", "mp0"), ("storage", "local")];
    let exit = root.run(MOVE_100, &form_local).await;
    assert_eq!(exit, "content type 'rootdir' is not available or configured on storage 'local'");
    fault(&server, "move_volume.config", &json!("kill"));
    assert_eq!(root.run(MOVE_100, &form).await, "unexpected status");
    assert_eq!(config(&root, 100).await["lock"], "disk");
    assert!(images.exists());
    root.post(MOVE_100, &form).await.failed(500, "CT is locked (disk)");
    let snapshots = [("volume", "unused0"), ("storage", "plain")];
    root.post(MOVE_101, &snapshots)
        .await
        .failed(500, "cannot move volume 'unused0', only configured volumes can be moved to another storage");
}
