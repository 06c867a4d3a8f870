//! File systems that are full, with `control/disks.json` (F69, F71).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::server::{ARCHIVE, CONFIG, Caller, Server, write_archive};

const MIB: u64 = 1 << 20;

/// A server with the dir storage `small` on a disk of so many MiB, and an archive of a guest with 8 MiB of data.
async fn with_small(mebibytes: u64) -> (Server, Caller) {
    let server = Server::start();
    let root = server.root().await;
    write_archive(&server.dump().join("vzdump-lxc-999-2026_01_01-00_00_00.tar.zst"), CONFIG, 8 * MIB);
    set_size(&server, mebibytes * MIB, 0);
    let form =
        [("storage", "small"), ("type", "dir"), ("path", "/mnt/small"), ("content", "backup,rootdir,images")];
    root.post("/storage", &form).await.ok();
    (server, root)
}

fn set_size(server: &Server, size: u64, taken: u64) {
    let path = server.state().join("control/disks.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, json!({"/mnt/small": {"size": size, "taken": taken}}).to_string()).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

fn volume(server: &Server, vmid: u32) -> PathBuf {
    server.state().join(format!("mnt/small/images/{vmid}/vm-{vmid}-disk-0.raw"))
}

/// rec2 861, 1042: the sizes are those of the control file, and what is on the disk counts.
#[tokio::test]
async fn a_limited_disk_shows_its_sizes() {
    let (server, root) = with_small(20).await;
    fs::write(server.state().join("mnt/small/filler"), vec![1; 4 << 20]).unwrap();
    set_size(&server, 20 * MIB, 3 * MIB);
    let status = root.get("/nodes/pve/storage/small/status").await.ok();
    assert_eq!((&status["total"], &status["used"]), (&json!(20 * MIB), &json!(7 * MIB)));
    assert_eq!(status["avail"], json!(13 * MIB));
    let listed = root.get("/nodes/pve/storage?storage=small").await.ok();
    assert_eq!(listed[0]["used_fraction"], json!(0.35));
    let disks = root.get("/nodes/pve/disks/list").await.ok();
    assert_eq!((&disks[1]["devpath"], &disks[1]["size"]), (&json!("/dev/vdb"), &json!(20 * MIB)));
}

/// F69, rec2 885–889, 1042–1050: a restore into a sparse image on a file system that fills up says OK, the guest exists, its data is
/// not what was backed up, and it does not start.
#[tokio::test]
async fn f69_a_restore_onto_a_full_disk_says_ok_and_the_data_is_lost() {
    let (server, root) = with_small(4).await;
    let form = [("vmid", "270"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "small:1")];
    let upid = root.post("/nodes/pve/lxc", &form).await.upid();
    assert_eq!(root.wait(&upid).await, "OK", "it lies");
    assert_eq!(root.log(&upid).await.last().unwrap(), "TASK OK");
    assert_eq!(root.get("/nodes/pve/lxc/270/config").await.ok()["hostname"], "golden");
    let zeros = fs::metadata(volume(&server, 270).join("data/zeros")).unwrap().len();
    assert!(zeros < 8 * MIB, "{zeros} bytes of it are left");
    assert_eq!(
        fs::read(volume(&server, 270).join("data/last")).unwrap(),
        b"",
        "and nothing of what came later"
    );
    let avail = root.get("/nodes/pve/storage/small/status").await.ok()["avail"].as_u64().unwrap();
    assert!(avail < MIB, "{avail}");

    let upid = root.post("/nodes/pve/lxc/270/status/start", &[]).await.upid();
    assert_eq!(root.wait(&upid).await, "startup for container '270' failed");
    let expected = [
        "run_buffer: 571 Script exited with status 255",
        "lxc_init: 845 Failed to run lxc.hook.pre-start for container \"270\"",
        "__lxc_start: 2039 Failed to initialize container \"270\"",
        "TASK ERROR: startup for container '270' failed",
    ];
    assert_eq!(root.log(&upid).await, expected);

    let upid = root.delete("/nodes/pve/lxc/270").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(!server.state().join("mnt/small/images/270").exists(), "nothing of it stays behind");
}

/// F71, rec2 862–878: a backup that does not fit ends in `job errors`; what was written of it is gone but for its log; the guest is
/// unlocked and running, and the older archive is whole.
#[tokio::test]
async fn f71_a_backup_onto_a_full_disk_fails_and_cleans_up() {
    let (server, root) = with_small(12).await;
    let form = [("vmid", "100"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "tank:1")];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let dump = server.state().join("mnt/small/dump");
    let backup = async |compress: &str| {
        let form = [("vmid", "100"), ("storage", "small"), ("compress", compress), ("mode", "snapshot")];
        let upid = root.post("/nodes/pve/vzdump", &form).await.upid();
        (root.wait(&upid).await, root.log(&upid).await.join("\n"))
    };
    assert_eq!(backup("0").await.0, "OK");
    let first = names(&dump);
    // F101: names have whole seconds, and a failing backup replaces the log of one in the same second.
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    let (status, log) = backup("0").await;
    assert_eq!(status, "job errors", "{log}");
    assert!(log.contains("No space left on device"), "{log}");
    assert!(log.contains("INFO: cleanup temporary 'vzdump' snapshot"), "{log}");
    assert!(log.contains("ERROR: Backup of VM 100 failed - command '"), "{log}");
    let new: Vec<String> = names(&dump).into_iter().filter(|name| !first.contains(name)).collect();
    assert!(new.len() == 1 && new[0].ends_with(".log"), "{new:?}");
    assert!(first.iter().all(|name| dump.join(name).exists()));
    let current = root.get("/nodes/pve/lxc/100/status/current").await.ok();
    assert_eq!((&current["status"], &current["lock"]), (&json!("running"), &json!(null)));
    let snapshots = root.get("/nodes/pve/lxc/100/snapshot").await.ok();
    assert_eq!(snapshots.as_array().unwrap().len(), 1, "{snapshots}");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "OK");
}

/// rec 2/867, 881: zstd's line ends in a blank; rsync names the file at which the disk was full, in the order of the paths.
#[tokio::test]
async fn the_words_of_zstd_and_rsync_on_a_full_disk() {
    let (server, root) = with_small(4).await;
    let form = [("vmid", "100"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "tank:1")];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    let rootfs = server.state().join("mnt/tank/images/100/vm-100-disk-0/disk.raw");
    let mut seed = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    })
    .take(5 << 20)
    .collect();
    fs::write(rootfs.join("data/noise"), noise).unwrap();
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let backup = async |mode: &str| {
        let form = [("vmid", "100"), ("storage", "small"), ("compress", "zstd"), ("mode", mode)];
        let upid = root.post("/nodes/pve/vzdump", &form).await.upid();
        assert_eq!(root.wait(&upid).await, "job errors");
        root.log(&upid).await
    };
    let full = "INFO: zstd: error 70 : Write error : cannot write block : No space left on device ";
    let log = backup("snapshot").await;
    assert!(log.iter().any(|line| line == full), "{log:#?}");
    let log = backup("suspend").await;
    let names = |line: &String| {
        line.starts_with("ERROR: rsync: [receiver] write failed on \"/mnt/small/dump/vzdump-lxc-100-")
            && line.ends_with(".tmp/data/noise\": No space left on device (28)")
    };
    assert!(log.iter().any(names), "{log:#?}");
}

/// A new guest on a disk with no room at all: mkfs fails. Unrecorded: PVE/LXC.pm:2525 of pve-container 6.1.10.
#[tokio::test]
async fn no_volume_is_made_on_a_disk_without_any_room() {
    let (server, root) = with_small(10).await;
    set_size(&server, 10 * MIB, 10 * MIB);
    let form = [("vmid", "270"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "small:1")];
    let status = root.run("/nodes/pve/lxc", &form).await;
    assert!(status.starts_with("unable to restore CT 270 - command 'mkfs.ext4 "), "{status}");
    assert!(!volume(&server, 270).exists());
    root.get("/nodes/pve/lxc/270/config")
        .await
        .failed(500, "Configuration file 'nodes/pve/lxc/270.conf' does not exist");
}
