//! F61, F65, F67, F68, F72, F73, F84, F95, F101: options of a backup, the host's settings and its hook script.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value as Json, json};

use crate::faults::fault;
use crate::server::{Caller, Server, encode};
use crate::support::until;

const VZDUMP: &str = "/nodes/pve/vzdump";
const CONTENT: &str = "/nodes/pve/storage/local/content?content=backup&vmid=100";

async fn backup(root: &Caller, more: &[(&str, &str)]) -> Vec<String> {
    let mut form = vec![("vmid", "100"), ("storage", "local")];
    form.extend(more);
    let upid = root.post(VZDUMP, &form).await.upid();
    let (exit, log) = (root.wait(&upid).await, root.log(&upid).await);
    assert_eq!(exit, "OK", "{log:#?}");
    log
}

async fn newest(root: &Caller) -> Json {
    let all = root.get(CONTENT).await.ok();
    all.as_array().unwrap().iter().max_by_key(|b| b["ctime"].as_u64()).unwrap().clone()
}

fn file(server: &Server, volid: &Json) -> std::path::PathBuf {
    server.dump().join(volid.as_str().unwrap().split('/').nth(1).unwrap())
}

/// F61, F73, rec 277–294, 2/190, 741–748: every compression, each read back as it was written; `0` is the word for none.
#[tokio::test]
async fn f61_every_compression() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    for (options, format, stock) in [
        (&[("compress", "0")][..], "tar", "tar -tf \"$1\""),
        (&[("compress", "zstd"), ("zstd", "2")], "tar.zst", "zstd -dc \"$1\" | tar -t"),
        (&[("compress", "zstd"), ("zstd", "0")], "tar.zst", "zstd -dc \"$1\" | tar -t"),
        (&[("compress", "gzip")], "tar.gz", "gzip -dc \"$1\" | tar -t"),
        (&[("compress", "gzip"), ("pigz", "1")], "tar.gz", "gzip -dc \"$1\" | tar -t"),
        (&[("compress", "1")], "tar.lzo", "true"),
        (&[("compress", "lzo")], "tar.lzo", "true"),
    ] {
        for old in root.get(CONTENT).await.ok().as_array().unwrap() {
            fs::remove_file(file(&server, &old["volid"])).unwrap();
        }
        backup(&root, options).await;
        let entry = newest(&root).await;
        assert_eq!(entry["format"], format);
        let listed = crate::support::stock(stock, &file(&server, &entry["volid"]));
        assert!(stock == "true" || listed.contains("./data/last\n"), "{listed}");
        let volid = encode(entry["volid"].as_str().unwrap());
        let config = root.get(&format!("/nodes/pve/vzdump/extractconfig?volume={volid}")).await.ok();
        assert!(config.as_str().unwrap().contains("hostname: golden"), "{config}");
        let form = [
            ("vmid", "101"),
            ("ostemplate", entry["volid"].as_str().unwrap()),
            ("restore", "1"),
            ("storage", "tank"),
        ];
        assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
        let copy = server.state().join("mnt/tank/images/101/vm-101-disk-1/disk.raw/last");
        assert_eq!(fs::read_to_string(copy).unwrap(), "end\n");
        let upid = root.delete("/nodes/pve/lxc/101").await.upid();
        assert_eq!(root.wait(&upid).await, "OK");
    }
}

/// F68, 2/184–200: mode, compress, notes-template, bwlimit and storage of the host's file apply; what is passed wins.
#[tokio::test]
async fn f68_the_hosts_settings_apply_to_tokens() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let conf = server.state().join("etc/vzdump.conf");
    fs::write(
        &conf,
        "mode: stop\nbwlimit: 200000\nnotes-template: HOST {{guestname}}\ncompress: lzo\nstorage: local\n",
    )
    .unwrap();
    let tenant =
        server.tenant(&root, "VM.Backup Datastore.AllocateSpace", &["/vms/100", "/storage/local"]).await;
    let upid = tenant.post(VZDUMP, &[("vmid", "100")]).await.upid();
    assert_eq!(tenant.wait(&upid).await, "OK");
    let log = tenant.log(&upid).await;
    assert_eq!(log[0], "INFO: starting new backup job: vzdump 100 --node pve");
    assert!(log.contains(&"INFO: bandwidth limit: 200000 KiB/s".to_owned()), "{log:#?}");
    let entry = newest(&root).await;
    assert_eq!((&entry["format"], &entry["notes"]), (&json!("tar.lzo"), &json!("HOST golden")));
    let form = [("vmid", "100"), ("storage", "local"), ("compress", "zstd"), ("notes-template", "mine")];
    assert_eq!(tenant.run(VZDUMP, &form).await, "OK");
    let all = root.get(CONTENT).await.ok();
    let mine = all.as_array().unwrap().iter().find(|b| b["notes"] == "mine").unwrap();
    assert_eq!(mine["format"], "tar.zst");
}

/// F68, rec 786, 2/151, 185, 1148: the defaults; tmpdir, script, dumpdir and ionice are for auditors of the node.
#[tokio::test]
async fn f68_defaults_are_shown_by_right() {
    let server = Server::start();
    let root = server.root().await;
    let path = "/nodes/pve/vzdump/defaults?storage=local";
    let all = root.get(path).await.ok();
    let expected = json!({
        "all": 0, "bwlimit": 0, "compress": "0", "dumpdir": "/var/lib/vz/dump", "fleecing": {"enabled": 0}, "ionice": 7,
        "lockwait": 180, "mailnotification": "always", "mode": "snapshot", "notification-mode": "auto",
        "performance": {"max-workers": 16, "pbs-entries-max": 1_048_576}, "pigz": 0, "prune-backups": "keep-all=1",
        "quiet": 0, "remove": 1, "stdexcludes": 1, "stop": 0, "stopwait": 10, "storage": "local", "zstd": 1,
    });
    assert_eq!(all, expected);
    let conf = "tmpdir: /tmp\nscript: /root/vh.sh\nbwlimit: 20000\nexclude-path: /a /b\nprune-backups: keep-last=1\n";
    fs::write(server.state().join("etc/vzdump.conf"), conf).unwrap();
    let all = root.get(path).await.ok();
    assert_eq!((&all["bwlimit"], &all["exclude-path"]), (&json!("20000"), &json!("/a,/b")));
    assert_eq!((&all["script"], &all["tmpdir"]), (&json!("/root/vh.sh"), &json!("/tmp")));
    let tenant = server.tenant(&root, "Datastore.AllocateSpace", &["/storage/local"]).await;
    let seen = tenant.get(path).await.ok();
    for name in ["script", "tmpdir", "dumpdir", "ionice"] {
        assert_eq!(seen[name], Json::Null, "{name}");
    }
    assert_eq!(seen["exclude-path"], "/a,/b");
    let refused = "Permission check failed (/storage/tank, Datastore.Audit|Datastore.AllocateSpace)";
    tenant.get("/nodes/pve/vzdump/defaults?storage=tank").await.failed(403, refused);
    root.get("/nodes/pve/vzdump/defaults?storage=tank")
        .await
        .failed(500, "can't use storage 'tank' for backups - wrong content type");
}

/// F73, rec 260–265, 2/160, 761–779: what is refused, in Proxmox VE's words.
#[tokio::test]
async fn f73_options_that_are_refused() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let tenant =
        server.tenant(&root, "VM.Backup Datastore.AllocateSpace", &["/vms/100", "/storage/local"]).await;
    let base = [("vmid", "100"), ("storage", "local")];
    let post = async |name: &'static str, value: &'static str| {
        tenant.post(VZDUMP, &[base[0], base[1], (name, value)]).await
    };
    for name in ["tmpdir", "dumpdir", "script", "job-id"] {
        post(name, "/tmp").await.bad_parameter(name, "Only root may set this option.");
    }
    for (name, value) in [("bwlimit", "1000"), ("ionice", "5"), ("performance", "max-workers=2")] {
        post(name, value).await.failed(403, "Permission check failed (/, Sys.Modify)");
    }
    let allocate = "Permission check failed (/storage/local, Datastore.Allocate)";
    post("prune-backups", "keep-all=1").await.failed(403, allocate);
    post("stop", "1").await.failed(403, "Permission check failed (/nodes/pve, Sys.Modify)");
    post("pool", "x").await.bad_parameter("pool", "option conflicts with option 'vmid'");
    post("all", "1").await.bad_parameter("all", "option conflicts with option 'vmid'");
    post("stdout", "1")
        .await
        .bad_parameter("stdout", "option is only allowed on the command line interface.");
    post("notes-template", "{{who}} \\x").await.bad_parameter(
        "notes-template",
        "found unknown: escape sequence '\\x' at char 8, variable 'who' at char 4\n",
    );
    tenant
        .post(VZDUMP, &[("vmid", "100"), ("storage", "")])
        .await
        .bad_parameter("storage", "invalid format - storage ID '' cannot be shorter than 2 characters\n");
    tenant
        .post(VZDUMP, &[("vmid", "100"), ("protected", "1")])
        .await
        .bad_parameter("storage", "missing property required by 'protected'");
    tenant.post(VZDUMP, &[("storage", "local")]).await.bad_parameter("vmid", "property is missing");
    for (name, value) in
        [("fleecing", "enabled=0"), ("mailto", "a@b.invalid"), ("quiet", "1"), ("stopwait", "1")]
    {
        let upid = post(name, value).await.upid();
        assert_eq!(tenant.wait(&upid).await, "OK", "{name}");
    }
}

/// F68, 2/205–218, 249–251: the host's script hears of each phase, for a token's backup too; nothing but six variables is in its
/// environment.
#[tokio::test]
async fn f68_the_hosts_script_hears_of_each_phase() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let script = server.state().join("root/vh.sh");
    fs::create_dir_all(script.parent().unwrap()).unwrap();
    let text = "#!/bin/sh\necho \"HOOK $@ [$STOREID ${DUMPDIR##*/} $VMTYPE $HOSTNAME ${TARGET##*.} ${LOGFILE##*.} $HOME]\"\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // The simulated host's root directory is the state directory.
    fs::write(server.state().join("etc/vzdump.conf"), "script: /root/vh.sh\n").unwrap();
    let log = backup(&root, &[("mode", "snapshot"), ("compress", "zstd")]).await;
    let hooks: Vec<&str> = log.iter().filter_map(|l| l.strip_prefix("INFO: HOOK ")).collect();
    let inside = "snapshot 100 [local dump lxc golden zst log ]";
    let expected = [
        "job-init [local      ]".to_owned(),
        "job-start [local dump     ]".to_owned(),
        format!("backup-start {inside}"),
        format!("pre-stop {inside}"),
        format!("pre-restart {inside}"),
        format!("post-restart {inside}"),
        format!("backup-end {inside}"),
        format!("log-end {inside}"),
        "job-end [local dump     ]".to_owned(),
    ];
    assert_eq!(hooks, expected);
    let place = |text: &str| log.iter().position(|l| l.contains(text)).unwrap();
    assert!(
        place("HOOK pre-stop") < place("create storage snapshot")
            && place("create storage") < place("HOOK pre-restart")
    );
    assert!(
        place("HOOK backup-end") < place("cleanup temporary")
            && place("Backup finished") < place("HOOK log-end")
    );
    // A guest that is locked: the abort is heard, with the mode that was asked for.
    let config = server.state().join("etc/pve/lxc/100.conf");
    fs::write(&config, format!("lock: backup\n{}", fs::read_to_string(&config).unwrap())).unwrap();
    let upid = root.post(VZDUMP, &[("vmid", "100"), ("storage", "local")]).await.upid();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await.join("\n");
    let tail =
        "INFO: status = running\nERROR: Backup of VM 100 failed - CT is locked (backup)\nINFO: Failed at ";
    assert!(log.contains(tail) && log.contains("INFO: HOOK backup-abort snapshot 100"), "{log}");
    fs::remove_file(&script).unwrap();
    let exit = root.run(VZDUMP, &[("vmid", "100"), ("storage", "local")]).await;
    assert_eq!(exit, "Error: The hook script '/root/vh.sh' does not exist.");
}

/// F65, rec 770, 1038–1041: `all` leaves out guests without the right when it runs; the UPID names a guest only if it is the only one
/// that is not excluded.
#[tokio::test]
async fn f65_all_pool_and_exclude() {
    let server = Server::start();
    let root = server.root().await;
    for vmid in [100, 101] {
        server.restored(&root, vmid).await;
    }
    let tenant =
        server.tenant(&root, "VM.Backup Datastore.AllocateSpace", &["/vms/100", "/storage/local"]).await;
    let upid = tenant.post(VZDUMP, &[("all", "1"), ("storage", "local")]).await.upid();
    assert!(upid.contains(":vzdump::t@pve!tok:"), "{upid}");
    assert_eq!(tenant.wait(&upid).await, "OK");
    let of = async |vmid: &str| {
        let path = format!("/nodes/pve/storage/local/content?content=backup&vmid={vmid}");
        root.get(&path).await.ok().as_array().unwrap().len()
    };
    assert_eq!((of("100").await, of("101").await), (1, 0));
    let upid = root.post(VZDUMP, &[("exclude", "100"), ("storage", "local")]).await.upid();
    assert!(upid.contains(":vzdump:101:root@pam:"), "{upid}");
    assert_eq!(root.wait(&upid).await, "OK");
    let first = &root.log(&upid).await[0];
    assert_eq!(
        first,
        "INFO: starting new backup job: vzdump --all 1 --exclude 100 --node pve --storage local"
    );
    root.post("/pools", &[("poolid", "p")]).await.ok();
    let empty = root.post(VZDUMP, &[("pool", "p"), ("storage", "local")]).await;
    assert_eq!(empty.ok(), "OK", "nothing to do is no task");
    root.put("/pools/p", &[("vms", "100")]).await.ok();
    let upid = root.post(VZDUMP, &[("pool", "p"), ("storage", "local")]).await.upid();
    assert!(upid.contains(":vzdump:100:root@pam:"), "{upid}");
    assert_eq!(root.wait(&upid).await, "OK");
    root.post(VZDUMP, &[("pool", "q"), ("storage", "local")]).await.failed(500, "pool 'q' does not exist");
}

/// F101, 2/169–177, 865–868: names have whole seconds: a second backup in the same one silently replaces the first, even a protected
/// one, and takes its protection; one that fails takes its log.
#[tokio::test]
async fn f101_a_backup_in_the_same_second_replaces_the_first() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let data = server.state().join("mnt/tank/images/100/vm-100-disk-1/disk.raw/file");
    for _ in 0..20 {
        fs::write(&data, "precious\n").unwrap();
        backup(&root, &[("protected", "1")]).await;
        fs::write(&data, "later\n").unwrap();
        backup(&root, &[]).await;
        let all = root.get(CONTENT).await.ok();
        if all.as_array().unwrap().len() == 1 {
            assert_eq!(all[0]["protected"], 1);
            let path = file(&server, &all[0]["volid"]);
            assert_eq!(
                crate::support::stock("tar -xOf \"$1\" ./data/file", &path),
                "later\n",
                "the first is lost"
            );
            return;
        }
        for entry in all.as_array().unwrap() {
            let path = file(&server, &entry["volid"]);
            let _ = fs::remove_file(format!("{}.protected", path.display()));
            fs::remove_file(path).unwrap();
        }
    }
    panic!("never two backups within a second");
}

/// F84, 2/515: a volume that is missing is noticed when the archive is begun.
#[tokio::test]
async fn f84_a_missing_volume_fails_the_backup() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    fs::remove_dir_all(server.state().join("mnt/tank/images/100/vm-100-disk-1")).unwrap();
    let upid = root.post(VZDUMP, &[("vmid", "100"), ("storage", "local")]).await.upid();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await;
    let at = log.iter().position(|l| l.starts_with("INFO: creating vzdump archive")).unwrap();
    assert_eq!(
        log[at + 1],
        "ERROR: Backup of VM 100 failed - volume 'tank:100/vm-100-disk-1.raw' does not exist"
    );
    let left: Vec<_> = fs::read_dir(server.dump()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the log, and the archive restored from: {left:?}");
    assert_eq!(root.get("/nodes/pve/lxc/100/config").await.ok()["lock"], Json::Null);
}

/// F95, 2/1073–1083: `backup=1` on a running guest is pending, and the next backup still leaves the mount out.
#[tokio::test]
async fn f95_a_pending_backup_flag_does_not_count() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let mount = "tank:100/vm-100-disk-2.raw,mp=/scratch,backup=1";
    root.put("/nodes/pve/lxc/100/config", &[("mp1", mount)]).await.ok();
    let log = backup(&root, &[("mode", "snapshot")]).await.join("\n");
    assert!(log.contains("excluding volume mount point mp1 ('/scratch') from backup (disabled)"), "{log}");
    let path = file(&server, &newest(&root).await["volid"]);
    let config = crate::support::stock("tar -xOf \"$1\" ./etc/vzdump/pct.conf", &path);
    assert!(config.contains("mp=/scratch,backup=0") && !config.contains("pending"), "{config}");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "OK");
    let log = backup(&root, &[("mode", "snapshot")]).await.join("\n");
    assert!(log.contains("including mount point mp1 ('/scratch') in backup"), "{log}");
}

/// rec 483, 485: what is stopped by DELETE names the command that was interrupted, and leaves its log and nothing else. The next guest
/// of the same task is backed up all the same (Unrecorded: PVE/VZDump.pm:1446 of pve-manager).
#[tokio::test]
async fn f37_a_stop_ends_one_guests_backup() {
    let server = Server::start();
    let root = server.root().await;
    for vmid in [100, 101] {
        server.restored(&root, vmid).await;
    }
    fault(&server, &["set", r#"{"at":"vzdump.archive","nth":1,"do":"hold"}"#]);
    let upid =
        root.post(VZDUMP, &[("vmid", "101,100"), ("storage", "local"), ("compress", "gzip")]).await.upid();
    root.until_logged(&upid, "creating vzdump archive").await;
    root.delete(&format!("/nodes/pve/tasks/{}", encode(&upid))).await.ok();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await.join("\n");
    let command =
        "ERROR: Backup of VM 100 failed - command 'set -o pipefail && lxc-usernsexec -m u:0:100000:65536";
    assert!(log.contains(command) && log.contains(".tar.dat' failed: interrupted by signal"), "{log}");
    assert!(log.contains("INFO: Finished Backup of VM 101"), "{log}");
    let left: Vec<String> =
        fs::read_dir(server.dump()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let of_first: Vec<&String> = left.iter().filter(|n| n.contains("-100-")).collect();
    assert!(of_first.len() == 1 && of_first[0].ends_with(".log"), "{left:?}");
}

/// `stop=1` ends the backup that runs on the node (Unrecorded: PVE/VZDump.pm:1556 of pve-manager).
#[tokio::test]
async fn stop_ends_the_running_backup() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    fault(&server, &["set", r#"{"at":"vzdump.archive","do":"hold"}"#]);
    let upid = root.post(VZDUMP, &[("vmid", "100"), ("storage", "local")]).await.upid();
    root.until_logged(&upid, "creating vzdump archive").await;
    assert_eq!(root.post(VZDUMP, &[("stop", "1")]).await.ok(), "OK");
    assert_eq!(root.wait(&upid).await, "job errors");
}

/// dumpdir, tmpdir and script are root's: archives go into a directory that is no storage (Unrecorded: PVE/VZDump.pm:655 of pve-manager).
#[tokio::test]
async fn root_may_write_into_a_directory() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    for dir in ["backups", "scratch"] {
        fs::create_dir(server.state().join(dir)).unwrap();
    }
    let form = [("vmid", "100"), ("dumpdir", "/backups"), ("tmpdir", "/scratch"), ("compress", "zstd")];
    let upid = root.post(VZDUMP, &form).await.upid();
    assert_eq!(root.wait(&upid).await, "OK", "{:#?}", root.log(&upid).await);
    let made = fs::read_dir(server.state().join("backups")).unwrap().count();
    assert_eq!(made, 2, "archive and log");
    let exit = root.run(VZDUMP, &[("vmid", "100"), ("dumpdir", "/nosuch"), ("tmpdir", "/neither")]).await;
    assert_eq!(exit, "dumpdir '/nosuch' does not exist tmpdir '/neither' does not exist");
}

/// A guest that does not end in time stays up, and its backup fails (Unrecorded: src/PVE/LXC.pm `vm_stop` of pve-container).
#[tokio::test]
async fn stop_mode_does_not_kill_a_guest() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let record = server.state().join("run/guests/100.none.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"frozen\":false", "\"frozen\":true")).unwrap();
    let form = [("vmid", "100"), ("storage", "local"), ("mode", "stop"), ("stopwait", "0")];
    let upid = root.post(VZDUMP, &form).await.upid();
    assert_eq!(root.wait(&upid).await, "job errors");
    let log = root.log(&upid).await.join("\n");
    let expected = "command 'lxc-stop -n 100 --nokill --timeout 0' failed: exit code 1\nERROR: Backup of VM 100 failed - container did not stop";
    assert!(log.contains(expected), "{log}");
    let status = root.get("/nodes/pve/lxc/100/status/current").await.ok();
    assert_eq!((&status["status"], &status["lock"]), (&json!("running"), &Json::Null));
    until("nothing is left", || {
        !fs::read_dir(server.dump())
            .unwrap()
            .any(|e| e.unwrap().path().extension().is_some_and(|x| x == "tmp"))
    });
}
