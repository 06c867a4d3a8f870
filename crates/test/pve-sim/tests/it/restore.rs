//! F55–F59, F28, F70: restores over an existing guest, and restores that fail.

use std::fs;

use serde_json::json;

use crate::server::{ARCHIVE, CONFIG, Server, encode, write_archive};

pub(crate) const PATH: &str = "/nodes/pve/lxc";
const FULL: &str = "VM.Allocate VM.Audit VM.Backup VM.Config.Disk VM.Config.Network VM.Config.Options VM.Config.Memory \
     VM.PowerMgmt Pool.Audit Datastore.AllocateSpace Datastore.Audit SDN.Use";

/// Parameters of a restore.
pub(crate) fn restore<'a>(vmid: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![("vmid", vmid), ("ostemplate", ARCHIVE), ("restore", "1")];
    form.extend_from_slice(more);
    form
}

/// A disk's directory on `tank`.
pub(crate) fn disk(server: &Server, vmid: u32, number: u32) -> std::path::PathBuf {
    server.state().join(format!("mnt/tank/images/{vmid}/vm-{vmid}-disk-{number}/disk.raw"))
}

/// What the control file says.
pub(crate) fn rules(server: &Server, rules: &serde_json::Value) {
    let dir = server.state().join("control");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(".new"), json!({"rules": rules}).to_string()).unwrap();
    fs::rename(dir.join(".new"), dir.join("faults.json")).unwrap();
}

/// The test archive, its end cut off.
fn truncate_archive(server: &Server) {
    let path = server.dump().join(ARCHIVE.rsplit('/').next().unwrap());
    let length = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(length - 1000).unwrap();
}

/// F55, rec 329–334, 580, 886–901, 987–993: a forced restore destroys every volume of the guest, also those that no backup holds,
/// and every snapshot; it recreates them empty, says OK, and its log does not mention it.
#[tokio::test]
async fn f55_a_forced_restore_loses_what_the_backup_does_not_hold() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    fs::write(disk(&server, 100, 1).join("file"), "v2\n").unwrap();
    fs::write(disk(&server, 100, 2).join("precious"), "nowhere else\n").unwrap();
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "keepme")]).await, "OK");
    root.put("/nodes/pve/lxc/100/config", &[("mp5", "tank:1,mp=/later")]).await.ok();

    let upid = root.post(PATH, &restore("100", &[("storage", "tank"), ("force", "1")])).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let log = root.log(&upid).await.join("\n");
    assert!(!log.contains("disk-2") && !log.contains("destroy") && !log.contains("remov"), "{log}");
    let config = root.get("/nodes/pve/lxc/100/config").await.ok();
    // rec 333: the new volumes were made while the old ones were there.
    assert_eq!(config["rootfs"], "tank:100/vm-100-disk-4.raw,size=2G");
    assert_eq!(config["mp1"], "tank:100/vm-100-disk-6.raw,mp=/scratch,backup=0,size=1G");
    assert_eq!((&config["mp5"], &config["lock"]), (&json!(null), &json!(null)));
    assert_eq!(fs::read_to_string(disk(&server, 100, 5).join("file")).unwrap(), "v1\n");
    assert_eq!(fs::read_dir(disk(&server, 100, 6)).unwrap().count(), 0, "the mount is there, and empty");
    let left: Vec<_> = fs::read_dir(server.state().join("mnt/tank/images/100"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
    let snapshots = root.get("/nodes/pve/lxc/100/snapshot").await.ok();
    assert_eq!((snapshots.as_array().unwrap().len(), &snapshots[0]["name"]), (1, &json!("current")));
}

/// F56, rec 716–721, 731–736: a forced restore that fails deletes the guest altogether; a failing one to a new VMID cleans up after
/// itself (rec 709–714, 727). Its pool and ACL entries stay.
#[tokio::test]
async fn f56_a_forced_restore_that_fails_deletes_the_guest() {
    let server = Server::start();
    let root = server.root().await;
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    let small = [("rootfs", "tank:0.01"), ("force", "1")];
    let tar = |vmid: u32| {
        format!(
            "unable to restore CT {vmid} - command 'lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- tar xpf - \
             --zstd --totals --one-file-system -p --sparse --numeric-owner --acls --xattrs '--xattrs-include=user.*' \
             '--xattrs-include=security.capability' '--warning=no-file-ignored' '--warning=no-xattr-write' \
             -C /var/lib/lxc/{vmid}/rootfs --skip-old-files --anchored --exclude './dev/*'' failed: exit code 2"
        )
    };
    server.restored(&root, 100).await;
    root.put("/pools", &[("poolid", "ours"), ("vms", "100")]).await.ok();
    write_archive(&server.dump().join(ARCHIVE.rsplit('/').next().unwrap()), CONFIG, 12 << 20);
    let upid = root.post(PATH, &restore("101", &small[..1])).await.upid();
    assert_eq!(root.wait(&upid).await, tar(101), "a new VMID");
    assert!(!server.state().join("mnt/tank/images/101").exists());
    let log = root.log(&upid).await.join("\n");
    assert!(log.contains("No space left on device") || log.contains("Wrote only"), "{log}");
    assert!(log.contains("\ntar: Exiting with failure status due to previous errors\n"), "{log}");
    assert!(server.state().join("etc/pve/lxc/100.conf").exists());

    assert_eq!(root.run(PATH, &restore("100", &small)).await, tar(100));
    root.get("/nodes/pve/lxc/100/config")
        .await
        .failed(500, "Configuration file 'nodes/pve/lxc/100.conf' does not exist");
    assert!(!server.state().join("mnt/tank/images/100").exists());
    let users = fs::read_to_string(server.state().join("etc/pve/user.cfg")).unwrap();
    assert!(users.contains("pool:ours::100:"), "{users}");

    // Again, and now the archive is cut off.
    server.restored(&root, 100).await;
    truncate_archive(&server);
    let upid = root.post(PATH, &restore("100", &[("storage", "tank"), ("force", "1")])).await.upid();
    assert_eq!(root.wait(&upid).await, tar(100));
    let log = root.log(&upid).await;
    let eof = "tar: Unexpected EOF in archive";
    let last = [eof, eof, "tar: Error is not recoverable: exiting now"];
    assert_eq!(log[log.len() - 4..log.len() - 1], last);
    assert!(!server.state().join("etc/pve/lxc/100.conf").exists());
    assert!(!server.state().join("mnt/tank/images/100").exists());
}

/// F56, API2/LXC.pm:523, 620: what fails before the first new volume leaves the guest as it was, unlocked; what fails while volumes
/// are made deletes its configuration and leaves its volumes to nobody.
/// Unrecorded: API2/LXC.pm:532 of pve-container 6.1.10.
#[tokio::test]
async fn f56_where_the_point_of_no_return_is() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let path = server.state().join("etc/pve/lxc/100.conf");
    let before = fs::read_to_string(&path).unwrap();
    let form = restore("100", &[("storage", "tank"), ("force", "1")]);
    rules(&server, &json!([{"at": "vzrestore.locked", "do": {"fail": "early"}}]));
    assert_eq!(root.run(PATH, &form).await, "unable to restore CT 100 - early");
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    rules(&server, &json!([{"at": "vzrestore.disks", "do": {"fail": "late"}}]));
    assert_eq!(root.run(PATH, &form).await, "unable to restore CT 100 - late");
    assert!(!path.exists());
    assert!(disk(&server, 100, 2).exists(), "an orphan");
}

/// F58, rec 318, 319, 325: refusals before anything is touched, whoever asks; and a lock.
#[tokio::test]
async fn f58_refusals_of_a_forced_restore() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let form = restore("100", &[("storage", "tank"), ("force", "1")]);
    root.put("/nodes/pve/lxc/100/config", &[("protection", "1")]).await.ok();
    root.post(PATH, &form).await.failed(500, "unable to restore CT 100 - protection mode enabled");
    root.put("/nodes/pve/lxc/100/config", &[("protection", "0"), ("lock", "backup")]).await.ok();
    root.post(PATH, &form).await.failed(500, "unable to restore CT 100 - CT is locked (backup)");
    // Without `restore`, `force` does nothing.
    let create = [("vmid", "100"), ("ostemplate", "local:vztmpl/x.tar.zst"), ("force", "1")];
    root.post(PATH, &create).await.failed(500, "CT 100 already exists on node 'pve'");
}

/// PRIVILEGES, surprise 1: with `force` and `pool` a token overwrites a stopped guest of somebody else, on which it has no right at
/// all, and has it in its pool afterwards. Only protection, a running state or leaving `force` out prevents that.
#[tokio::test]
async fn a_forced_restore_takes_a_foreign_guest() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    fs::write(disk(&server, 100, 2).join("theirs"), "x").unwrap();
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    let paths =
        ["/pool/ours", "/storage/tank", "/storage/local", "/vms/999", "/sdn/zones/localnetwork/vmbr0"];
    let token = server.tenant(&root, FULL, &paths).await;
    root.put("/access/acl", &[("path", "/vms/100"), ("roles", "NoAccess"), ("tokens", "t@pve!tok")])
        .await
        .ok();
    token.get("/nodes/pve/lxc/100/config").await.failed(403, "Permission check failed (/vms/100, VM.Audit)");
    let form = restore("100", &[("storage", "tank"), ("pool", "ours"), ("force", "1")]);
    token.post(PATH, &form[..5]).await.failed(500, "CT 100 already exists on node 'pve'");
    assert_eq!(token.run(PATH, &form).await, "OK");
    assert!(!disk(&server, 100, 2).exists(), "what was theirs is gone");
    let pool = root.get("/pools?poolid=ours").await.ok();
    assert_eq!(pool[0]["members"][0]["vmid"], 100);
}

/// F28, rec 346–348, 562, 567, 581: VM.Backup alone may overwrite a guest, though not with disks given, nor make a new one.
#[tokio::test]
async fn f28_an_operator_may_overwrite_and_not_create() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let text = "[OPTIONS]\nenable: 1\n";
    fs::create_dir_all(server.state().join("etc/pve/firewall")).unwrap();
    fs::write(server.state().join("etc/pve/firewall/100.fw"), text).unwrap();
    let roles = "VM.Backup VM.Audit Datastore.AllocateSpace Datastore.Audit SDN.Use";
    let paths = ["/vms/100", "/vms/101", "/vms/999", "/storage/tank", "/storage/local"];
    let token = server.tenant(&root, roles, &paths).await;
    let denied = "Permission check failed";
    token.post(PATH, &restore("101", &[("storage", "tank")])).await.failed(403, denied);
    let form = restore("100", &[("force", "1"), ("rootfs", "tank:1")]);
    token.post(PATH, &form).await.failed(403, &format!("{denied} (/vms/100, VM.Config.Disk)"));
    let form = restore("100", &[("force", "1"), ("unprivileged", "0"), ("storage", "tank")]);
    token.post(PATH, &form).await.failed(403, &format!("{denied} (/, Sys.Modify)"));
    let form = restore("100", &[("force", "1"), ("storage", "tank")]);
    // SDN.Use for the archive's net is missed in the task only, before anything is lost.
    let exit = format!("unable to restore CT 100 - 403 {denied} (/sdn/zones/localnetwork/vmbr0, SDN.Use)");
    assert_eq!(token.run(PATH, &form).await, exit);
    assert!(root.get("/nodes/pve/lxc/100/config").await.ok()["lock"].is_null());
    for who in ["users", "tokens"] {
        let id = if who == "users" { "t@pve" } else { "t@pve!tok" };
        let form = [("path", "/sdn/zones/localnetwork/vmbr0"), ("roles", "Tenant"), (who, id)];
        root.put("/access/acl", &form).await.ok();
    }
    assert_eq!(token.run(PATH, &form).await, "OK");
    assert_eq!(fs::read_to_string(server.state().join("etc/pve/firewall/100.fw")).unwrap(), text);
}

/// F70, rec2 814–822: with `ignore-unpack-errors` files are missing or cut short, and the task says OK.
#[tokio::test]
async fn f70_ignored_errors_are_ok_with_missing_files() {
    let server = Server::start();
    let root = server.root().await;
    let path = server.dump().join(ARCHIVE.rsplit('/').next().unwrap());
    write_archive(&path, CONFIG, 12 << 20);
    let form = restore("100", &[("rootfs", "tank:0.01"), ("ignore-unpack-errors", "1")]);
    let upid = root.post(PATH, &form).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let tree = disk(&server, 100, 0);
    let kept = fs::metadata(tree.join("data/zeros")).unwrap().len();
    assert!(kept > 0 && kept < 12 << 20, "{kept}");
    assert_eq!(fs::metadata(tree.join("data/last")).unwrap().len(), 0, "there, and empty");
    let log = root.log(&upid).await.join("\n");
    assert!(
        log.contains("tar: ./data/last: Cannot write: No space left on device\nTotal bytes read: "),
        "{log}"
    );
    assert_eq!(root.get("/nodes/pve/lxc/100/config").await.ok()["hostname"], "golden");

    write_archive(&path, CONFIG, 0);
    truncate_archive(&server);
    let form = restore("101", &[("rootfs", "tank:1"), ("ignore-unpack-errors", "1")]);
    assert_eq!(root.run(PATH, &form).await, "OK");
    assert!(!disk(&server, 101, 0).join("data/last").exists());
}

/// F59, rec 567–575: a start and a second restore that are sent during a restore queue on the guest's lock: the start starts the new
/// guest, and the second restore then refuses to overwrite a running one and gives the lock back.
#[tokio::test]
async fn f59_a_start_and_a_second_restore_queue() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    rules(
        &server,
        &json!([{"at": "vzrestore.locked", "nth": 1, "do": "hold"}, {"at": "vzstart.begin", "do": "hold"}]),
    );
    let form = restore("100", &[("storage", "tank"), ("force", "1")]);
    let first = root.post(PATH, &form).await.upid();
    // rec 568: the old guest with a lock, until the new volumes are there.
    let config = root.get("/nodes/pve/lxc/100/config").await.ok();
    assert_eq!((&config["lock"], &config["hostname"]), (&json!("create"), &json!("golden")));
    let start = root.post("/nodes/pve/lxc/100/status/start", &[]).await.upid();
    rules(&server, &json!([{"at": "vzrestore.locked", "nth": 1, "do": "hold"}]));
    root.until_logged(&start, "trying to acquire lock...").await;
    let second = {
        let (root, form) = (root.clone(), restore("100", &[("storage", "tank"), ("force", "1")]));
        let form: Vec<(String, String)> = form.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        tokio::spawn(async move {
            let form: Vec<(&str, &str)> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            root.post(PATH, &form).await
        })
    };
    until_waiting(&server).await;
    rules(&server, &json!([]));
    assert_eq!(root.wait(&first).await, "OK");
    assert_eq!(root.wait(&start).await, "OK");
    assert_eq!(root.log(&start).await, ["trying to acquire lock...", " OK", "TASK OK"]);
    let second = second.await.unwrap().upid();
    assert_eq!(root.wait(&second).await, "unable to restore CT 100 - can't overwrite running container");
    let status = root.get("/nodes/pve/lxc/100/status/current").await.ok();
    assert_eq!((&status["status"], &status["lock"]), (&json!("running"), &json!(null)));
}

/// Until two processes wait for the guest's lock: its file is open three times, once by its holder.
async fn until_waiting(server: &Server) {
    let lock = server.state().join("run/lock/pve-config-100.lock");
    let open = || {
        let Ok(processes) = fs::read_dir("/proc") else { return 0 };
        let of = |entry: fs::DirEntry| {
            let files = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            files.filter(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == lock)).count()
        };
        processes.flatten().map(of).sum::<usize>()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while open() < 3 {
        assert!(std::time::Instant::now() < deadline, "{} wait", open());
        tokio::task::yield_now().await;
    }
}

/// F80, rec2 1124–1128: an interrupted restore takes everything away.
#[tokio::test]
async fn f80_a_slow_restore_can_be_interrupted() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    let form = restore("276", &[("rootfs", "tank:1"), ("bwlimit", "2"), ("pool", "ours")]);
    root.post("/pools", &[("poolid", "ours")]).await.ok();
    let upid = root.post(PATH, &form).await.upid();
    root.until_logged(&upid, "extracting archive").await;
    assert_eq!(root.delete(&format!("/nodes/pve/tasks/{}", encode(&upid))).await.ok(), json!(null));
    let exit = root.wait(&upid).await;
    let begin = "unable to restore CT 276 - command 'set -o pipefail && cstream -t 2048 | lxc-usernsexec ";
    assert!(exit.starts_with(begin) && exit.ends_with("failed: received interrupt"), "{exit}");
    assert!(!server.state().join("etc/pve/lxc/276.conf").exists());
    assert!(!server.state().join("mnt/tank/images/276").exists());
    let users = fs::read_to_string(server.state().join("etc/pve/user.cfg")).unwrap();
    assert!(!users.contains("276"), "{users}");
}

/// F80, F70: an interrupt of a restore that ignores errors is one of them: the guest is there, half of it missing, and the task is OK.
/// Unrecorded: LXC/Create.pm:205 of pve-container 6.1.10.
#[tokio::test]
async fn f70_an_ignored_interrupt_is_ok() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    let more = [("rootfs", "tank:1"), ("bwlimit", "2"), ("ignore-unpack-errors", "1")];
    let upid = root.post(PATH, &restore("100", &more)).await.upid();
    root.until_logged(&upid, "extracting archive").await;
    root.delete(&format!("/nodes/pve/tasks/{}", encode(&upid))).await.ok();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(!disk(&server, 100, 0).join("data/last").exists());
    assert_eq!(root.get("/nodes/pve/lxc/100/config").await.ok()["hostname"], "golden");
}

/// Unrecorded: `get_bandwidth_limit`, PVE/Storage.pm of pve-storage. What the host's owner allows holds for a restore that does not say
/// how fast; one that says 0 has no limit.
#[tokio::test]
async fn the_owners_limit_holds_for_a_restore_that_names_none() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    fs::write(server.state().join("etc/pve/datacenter.cfg"), "bwlimit: default=1,restore=2\n").unwrap();
    let upid = root.post(PATH, &restore("276", &[("rootfs", "tank:1")])).await.upid();
    root.until_logged(&upid, "extracting archive").await;
    root.delete(&format!("/nodes/pve/tasks/{}", encode(&upid))).await.ok();
    let exit = root.wait(&upid).await;
    assert!(exit.contains("cstream -t 2048"), "{exit}");
    assert_eq!(root.run(PATH, &restore("277", &[("rootfs", "tank:1"), ("bwlimit", "0")])).await, "OK");
}
