//! F41, F42, F45, F78, F84, F86, F87: volumes of configurations and of nobody, who sees and removes them, and what a destroy takes.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::server::{ARCHIVE, Caller, Server, encode};

const CONFIG: &str = "/nodes/pve/lxc/100/config";

async fn config(root: &Caller) -> Json {
    root.get(CONFIG).await.ok()
}

fn tank(server: &Server) -> PathBuf {
    server.state().canonicalize().unwrap().join("mnt/tank/images")
}

fn image(server: &Server, vmid: u32, disk: u32) -> PathBuf {
    tank(server).join(format!("{vmid}/vm-{vmid}-disk-{disk}/disk.raw"))
}

/// What btrfs says of a volume that is not there, with the node's path.
fn gone(volume: &str) -> String {
    let place = format!("/mnt/tank/images/{volume}");
    format!(
        "command 'btrfs subvolume delete -- {place}' failed: ERROR: Could not statfs: No such file or directory"
    )
}

/// A second storage for guests' volumes, of type dir.
fn add_plain(server: &Server) -> PathBuf {
    let path = server.state().canonicalize().unwrap().join("mnt/plain");
    let file = server.state().join("etc/pve/storage.cfg");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}dir: plain\n\tpath {}\n\tcontent rootdir\n\n", path.display())).unwrap();
    path
}

async fn host() -> (Server, Caller) {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    (server, root)
}

/// A content list's volume ids with their content types, sorted.
async fn listed(caller: &Caller, query: &str) -> Vec<String> {
    let all = caller.get(&format!("/nodes/pve/storage/tank/content{query}")).await.ok();
    let shown = |v: &Json| format!("{} {}", v["content"].as_str().unwrap(), v["volid"].as_str().unwrap());
    let mut all: Vec<String> = all.as_array().unwrap().iter().map(shown).collect();
    all.sort();
    all
}

async fn destroy(root: &Caller, query: &str) -> (String, Vec<String>) {
    let upid = root.delete(&format!("/nodes/pve/lxc/100{query}")).await.upid();
    (root.wait(&upid).await, root.log(&upid).await)
}

/// F41, rec 144, 845–849, 2/961: a PUT takes volumes that do not exist, are attached already or belong to another guest, and a relative
/// path; a real volume's size is written behind it, whatever was passed. A second mount of a volume goes without making it unused.
#[tokio::test]
async fn f41_a_put_attaches_anything() {
    let (server, root) = host().await;
    server.restored(&root, 101).await;
    let form = [
        ("mp2", "tank:100/vm-100-disk-1.raw,mp=/dup"),
        ("mp3", "tank:101/vm-101-disk-0.raw,mp=/steal"),
        ("mp4", "tank:0.1,mp=relative"),
        ("mp5", "tank:100/vm-100-disk-9.raw,mp=/gone,size=9G"),
    ];
    root.put(CONFIG, &form).await.ok();
    let now = config(&root).await;
    assert_eq!(now["mp2"], "tank:100/vm-100-disk-1.raw,mp=/dup,size=1G");
    assert_eq!(now["mp3"], "tank:101/vm-101-disk-0.raw,mp=/steal,size=2G");
    assert_eq!(now["mp4"], "tank:100/vm-100-disk-3.raw,mp=relative,size=102M");
    assert_eq!(now["mp5"], "tank:100/vm-100-disk-9.raw,mp=/gone");
    root.put(CONFIG, &[("delete", "mp2")]).await.ok();
    assert_eq!(config(&root).await["unused0"], Json::Null, "mp0 still holds it");
    assert!(image(&server, 100, 1).exists());
    // Unrecorded: LXC/Config.pm:1337 of pve-container 6.1.10.
    let answer = root.put(CONFIG, &[("mp6", "local:1,mp=/x")]).await;
    answer.failed(500, "storage 'local' does not allow content type 'rootdir' (Container)");
    // Destroying the thief leaves what it stole.
    root.put(CONFIG, &[("delete", "mp5")]).await.ok();
    root.put(CONFIG, &[("delete", "unused0")]).await.bad_parameter(
        "unused0",
        &format!("unable to apply pending change unused0 : {}\n", gone("100/vm-100-disk-9")),
    );
}

/// Unrecorded: LXC.pm `delete_mountpoint_volume` of pve-container 6.1.10: another guest's volume survives the destroy.
#[tokio::test]
async fn f41_a_stolen_volume_survives() {
    let (server, root) = host().await;
    server.restored(&root, 101).await;
    root.put(CONFIG, &[("mp3", "tank:101/vm-101-disk-0.raw,mp=/steal")]).await.ok();
    let (exit, log) = destroy(&root, "").await;
    assert_eq!(exit, "OK");
    assert_eq!(log[0], "ignore deletion of 'tank:101/vm-101-disk-0.raw', CT 100 isn't the owner!");
    assert!(image(&server, 101, 0).exists() && !image(&server, 100, 0).exists());
}

/// F41, rec 138–143: what a size as rootfs leaves behind cannot be destroyed either. (Unrecorded: the destroy.)
#[tokio::test]
async fn f41_a_literal_rootfs_cannot_be_destroyed() {
    let (server, root) = host().await;
    root.put(CONFIG, &[("rootfs", "tank:2")]).await.ok();
    assert!(image(&server, 100, 0).exists(), "the root file system is in nobody's configuration now");
    assert_eq!(destroy(&root, "").await.0, "unable to parse directory volume name '2'");
    assert_eq!(config(&root).await["rootfs"], "tank:2");
}

/// F42, rec 835–844, 2/523–528: only the last reference frees a volume; one that a snapshot holds stays when its entry goes.
#[tokio::test]
async fn f42_a_volume_in_a_snapshot_survives_the_removal_of_its_entry() {
    let (server, root) = host().await;
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await, "OK");
    root.put(CONFIG, &[("delete", "mp0")]).await.ok();
    assert_eq!(config(&root).await["unused0"], "tank:100/vm-100-disk-1.raw");
    root.put(CONFIG, &[("delete", "unused0")]).await.ok();
    assert_eq!(config(&root).await["unused0"], Json::Null);
    assert!(image(&server, 100, 1).exists());
    root.put(CONFIG, &[("delete", "unused9,mp9")]).await.ok();
    // rec 843: only the options of a mount change; nothing becomes unused.
    root.put(CONFIG, &[("mp1", "tank:100/vm-100-disk-2.raw,mp=/scratch3,backup=1")]).await.ok();
    let now = config(&root).await;
    assert_eq!(now["mp1"], "tank:100/vm-100-disk-2.raw,mp=/scratch3,backup=1,size=1G");
    assert_eq!(now["unused0"], Json::Null);
}

/// F45, F87, rec 2/631–654: a destroy takes what the configuration names, with all snapshots; ACL and pool entry go without `purge`;
/// archives stay; a running guest needs `force`, a locked one is refused with it, too.
#[tokio::test]
async fn f87_destroy_takes_volumes_snapshots_and_unused_ones() {
    let (server, root) = host().await;
    let plain = add_plain(&server);
    root.put(CONFIG, &[("mp2", "plain:1,mp=/other")]).await.ok();
    root.put(CONFIG, &[("delete", "mp2")]).await.ok();
    assert!(plain.join("images/100/vm-100-disk-0.raw").exists());
    for name in ["a1", "b2"] {
        assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", name)]).await, "OK");
    }
    assert!(tank(&server).join("100/vm-100-disk-1@b2").exists());
    let dump = [("vmid", "100"), ("storage", "local"), ("remove", "0")];
    assert_eq!(root.run("/nodes/pve/vzdump", &dump).await, "OK");
    root.post("/pools", &[("poolid", "p1")]).await.ok();
    root.put("/pools/p1", &[("vms", "100")]).await.ok();
    assert_eq!(destroy(&root, "").await, ("OK".into(), vec!["TASK OK".into()]));
    assert!(!tank(&server).join("100").exists() && !plain.join("images/100").exists());
    assert_eq!(root.get("/pools/p1").await.ok()["members"], json!([]));
    let backups = root.get("/nodes/pve/storage/local/content?content=backup&vmid=100").await.ok();
    assert_eq!(backups.as_array().unwrap().len(), 1);

    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let running = "unable to destroy CT 100 - container is running";
    root.delete("/nodes/pve/lxc/100").await.failed(500, running);
    root.put(CONFIG, &[("lock", "backup")]).await.ok();
    for query in ["", "?force=1&purge=1"] {
        root.delete(&format!("/nodes/pve/lxc/100{query}")).await.failed(500, "CT is locked (backup)");
    }
    let file = server.state().join("etc/pve/lxc/100.conf");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("lock: backup\n", "")).unwrap();
    let log = [
        "forced to stop CT 100 before destroying!",
        "purging CT 100 from related configurations..",
        "TASK OK",
    ];
    assert_eq!(destroy(&root, "?force=1&purge=1").await, ("OK".into(), log.map(str::to_owned).into()));
}

/// A destroy that is killed after the volumes went leaves the VMID taken by `lock: destroyed`. Unrecorded: LXC.pm:1042 of
/// pve-container 6.1.10.
#[tokio::test]
async fn a_killed_destroy_leaves_a_locked_empty_guest() {
    let (server, root) = host().await;
    let control = server.state().join("control");
    fs::create_dir_all(&control).unwrap();
    fs::write(control.join("faults.json"), r#"{"rules": [{"at": "vzdestroy.freed", "do": "kill"}]}"#)
        .unwrap();
    assert_eq!(destroy(&root, "").await.0, "unexpected status");
    assert_eq!(config(&root).await["lock"], "destroyed");
    assert!(!tank(&server).join("100").exists());
    root.delete("/nodes/pve/lxc/100").await.failed(500, "CT is locked (destroyed)");
}

/// F84, rec 2/109–118, 910–913: a missing volume of a btrfs storage makes every destroy fail, before anything is written and with
/// unreferenced disks too; of a dir storage it is only mentioned.
#[tokio::test]
async fn f84_a_missing_volume_stops_the_destroy_on_btrfs_only() {
    let (server, root) = host().await;
    let plain = add_plain(&server);
    let mut upid = root.delete("/nodes/pve/storage/tank/content/tank:100%2Fvm-100-disk-0.raw").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let text = gone("100/vm-100-disk-0");
    for query in ["", "?destroy-unreferenced-disks=1&purge=1"] {
        let (exit, log) = destroy(&root, query).await;
        assert_eq!((exit.as_str(), log), (text.as_str(), vec![format!("TASK ERROR: {text}")]));
    }
    assert!(image(&server, 100, 1).exists() && config(&root).await["rootfs"].is_string());
    upid = root.delete("/nodes/pve/storage/tank/content/tank:100%2Fvm-100-disk-0.raw").await.upid();
    assert_eq!(root.wait(&upid).await, text, "rec 2/90: deleting nothing fails, too");

    let form = [("vmid", "101"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "plain:1")];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    let volume = plain.join("images/101/vm-101-disk-0.raw");
    fs::remove_dir_all(&volume).unwrap();
    let upid = root.delete("/nodes/pve/lxc/101").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await[0], format!("disk image '{}' does not exist", volume.display()));
}

/// F78, F87, rec 2/119–130: what the configuration does not name stays, and a new guest of that VMID takes free numbers, unless
/// unreferenced disks are wanted: those go from every storage for guests' volumes.
#[tokio::test]
async fn f87_unreferenced_volumes() {
    let (server, root) = host().await;
    let plain = add_plain(&server);
    for disk in [image(&server, 100, 7), plain.join("images/100/vm-100-disk-7.raw")] {
        fs::create_dir_all(disk).unwrap();
    }
    assert_eq!(destroy(&root, "").await.0, "OK");
    assert!(image(&server, 100, 7).exists() && plain.join("images/100/vm-100-disk-7.raw").exists());
    assert_eq!(root.get("/cluster/nextid?vmid=100").await.ok(), "100", "rec 2/78: it counts as free");
    fs::create_dir_all(image(&server, 100, 1)).unwrap();
    server.restored(&root, 100).await;
    let now = config(&root).await;
    assert_eq!(now["rootfs"], "tank:100/vm-100-disk-0.raw,size=2G");
    assert!(now["mp0"].as_str().unwrap().starts_with("tank:100/vm-100-disk-2.raw,"), "{now}");
    assert_eq!(destroy(&root, "?destroy-unreferenced-disks=1").await.0, "OK");
    assert!(!tank(&server).join("100").exists() && !plain.join("images/100").exists());
}

/// F86, rec 2/77–106, 946–956: who sees which volumes, and that a volume of no guest is an image; deleting one needs
/// Datastore.Allocate, whosever it is, and asks nobody whether it is in use.
#[tokio::test]
async fn f86_listing_and_deleting_volumes() {
    let (server, root) = host().await;
    fs::create_dir_all(image(&server, 211, 0)).unwrap();
    let orphan = "tank:211/vm-211-disk-0.raw";
    assert_eq!(listed(&root, "?vmid=211").await, [format!("images {orphan}")]);
    assert_eq!(listed(&root, "?content=images").await, [format!("images {orphan}")]);
    assert_eq!(listed(&root, "?content=rootdir").await.len(), 3);
    let one = format!("/nodes/pve/storage/tank/content/{}", encode(orphan));
    let space = "Datastore.AllocateSpace,VM.Config.Disk,VM.Audit,VM.Allocate";
    let tenant = server.tenant(&root, space, &["/storage/tank", "/vms/100", "/vms/211"]).await;
    assert_eq!(listed(&tenant, "").await, [""; 0], "AllocateSpace alone shows nothing");
    let text = "Permission check failed (/storage/tank, Datastore.Audit)";
    tenant.get(&one).await.failed(403, text);
    root.put("/access/roles/Tenant", &[("privs", "Datastore.Audit,VM.Config.Disk,VM.Allocate")]).await.ok();
    assert_eq!(listed(&tenant, "?vmid=211").await, [format!("images {orphan}")]);
    assert_eq!(listed(&tenant, "?vmid=100").await.len(), 3);
    let text = "Permission check failed (/storage/tank, Datastore.Allocate)";
    tenant.delete(&one).await.failed(403, text);
    root.put("/access/roles/Tenant", &[("privs", "Datastore.Audit,VM.Audit")]).await.ok();
    assert_eq!(listed(&tenant, "").await, [""; 0], "an auditor sees nothing either");
    tenant.get(&one).await.failed(403, "Permission check failed (/vms/211, VM.Config.Disk)");
    let shown = root.get("/nodes/pve/storage/tank/content/tank:100%2Fvm-100-disk-1.raw").await.ok();
    assert_eq!((&shown["format"], &shown["size"]), (&json!("raw"), &json!(1_u64 << 30)));
    assert!(shown["used"].as_u64().unwrap() > 0 && shown["path"].as_str().unwrap().ends_with("disk.raw"));
    let upid = root.delete(&one).await.upid();
    assert!(upid.contains(":imgdel:211@tank:root@pam:"), "{upid}");
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await, [format!("Removed volume '{orphan}'"), "TASK OK".into()]);
    // rec 2/106: also what a configuration holds.
    let upid = root.delete("/nodes/pve/storage/tank/content/tank:100%2Fvm-100-disk-0.raw").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let exit = root.run("/nodes/pve/lxc/100/status/start", &[]).await;
    assert_eq!(exit, "volume 'tank:100/vm-100-disk-0.raw' does not exist");
}

/// rec 164, 165, 2/562–573, 809: resize asks for VM.Config.Disk and VM.Config.Options; snapshots and protection are no obstacle; what
/// `e2fsck` and `resize2fs` say; a size is never smaller or the same.
#[tokio::test]
async fn resize_units_locks_and_rights() {
    let (server, root) = host().await;
    let path = "/nodes/pve/lxc/100/resize";
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await, "OK");
    root.put(CONFIG, &[("protection", "1")]).await.ok();
    let upid = root.put(path, &[("disk", "rootfs"), ("size", "+100M")]).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let log = root.log(&upid).await;
    assert_eq!((log.len(), log[0].as_str()), (13, "Image resized."));
    let raw = "/mnt/tank/images/100/vm-100-disk-0/disk.raw";
    assert_eq!(log[10], format!("The filesystem on {raw} is now 549888 (4k) blocks long."));
    assert_eq!(config(&root).await["rootfs"], "tank:100/vm-100-disk-0.raw,size=2148M");
    for (size, stored) in [("3G", "3G"), ("+0.5G", "3584M"), ("3758097408", "3670017K")] {
        let upid = root.put(path, &[("disk", "rootfs"), ("size", size)]).await.upid();
        assert_eq!(root.wait(&upid).await, "OK", "{size}");
        assert_eq!(config(&root).await["rootfs"], format!("tank:100/vm-100-disk-0.raw,size={stored}"));
    }
    let same = root.put(path, &[("disk", "mp0"), ("size", "1G")]).await;
    same.failed(500, "disk is already at specified size");
    root.put(path, &[("disk", "mp0"), ("size", "1023M")]).await.failed(500, "unable to shrink disk size");
    root.put(path, &[("disk", "mp0"), ("size", "1X")])
        .await
        .bad_parameter("size", "value does not match the regex pattern");
    let missing = root.put(path, &[("disk", "mp9"), ("size", "+1G")]).await;
    missing.failed(500, "format error");
    let answer = root.put(path, &[("disk", "mp0"), ("size", "+1G"), ("digest", "00")]).await;
    answer.failed(500, "detected modified configuration - file changed by other user? Try again.");
    let tenant = server.tenant(&root, "VM.Config.Disk,Datastore.AllocateSpace", &["/vms/100"]).await;
    let form = [("disk", "mp0"), ("size", "+1G")];
    tenant.put(path, &form).await.failed(403, "Permission check failed (/vms/100, VM.Config.Options)");
    root.put("/access/roles/Tenant", &[("privs", "VM.Config.Disk,VM.Config.Options")]).await.ok();
    let text = "Permission check failed (/storage/tank, Datastore.AllocateSpace)";
    tenant.put(path, &form).await.failed(403, text);
    root.put(CONFIG, &[("lock", "backup")]).await.ok();
    root.put(path, &form).await.failed(500, "CT is locked (backup)");
}
