//! `pct` beside `exec` and `push`: what the node's owner repairs and changes there, with the node's own words.

use std::fs;
use std::process::Command;

use serde_json::Value as Json;

use crate::server::{Caller, Server};
use crate::support::PVE_SIM;

/// Exit status, standard output and standard error of `pve-sim PROGRAM --state DIR …`.
fn run(server: &Server, program: &str, line: &str) -> (i32, String, String) {
    let output = Command::new(PVE_SIM)
        .arg(program)
        .arg("--state")
        .arg(server.state())
        .args(line.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn pct(server: &Server, line: &str) -> (i32, String, String) {
    run(server, "pct", line)
}

fn quiet(code: i32, out: &str, err: &str) -> (i32, String, String) {
    (code, out.to_owned(), err.to_owned())
}

/// F43, F78, rec 2/72–78, 146–150, 233: `pct unlock` removes any lock, of a killed restore it leaves an EMPTY configuration; destroying
/// that leaves all volumes, unless `pct rescan` entered them as unused before.
#[tokio::test]
async fn f78_unlock_and_rescan_of_a_killed_restore() {
    let server = Server::start();
    let root = server.root().await;
    // What a restore leaves that was killed while it unpacked (F77).
    server.restored(&root, 100).await;
    let file = server.state().join("etc/pve/lxc/100.conf");
    fs::write(&file, "lock: create\n").unwrap();
    root.delete("/nodes/pve/lxc/100").await.failed(500, "CT is locked (create)");
    let locked = quiet(255, "rescan volumes...\n", "CT is locked (create)\n");
    assert_eq!(pct(&server, "rescan --vmid 100"), locked);
    assert_eq!(pct(&server, "unlock 100"), quiet(0, "", ""));
    assert_eq!(pct(&server, "unlock 100"), quiet(255, "", "no lock found trying to remove any lock\n"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    assert_eq!(pct(&server, "config 100"), quiet(0, "", ""));
    let volumes = server.state().join("mnt/tank/images/100");
    let upid = root.delete("/nodes/pve/lxc/100?purge=1").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(volumes.join("vm-100-disk-0").exists() && !file.exists(), "the volumes stay, nobody knows them");

    fs::write(&file, "").unwrap();
    let found = "rescan volumes...\n\
                 CT 100: add unreferenced volume 'tank:100/vm-100-disk-0.raw' as 'unused0' to config.\n\
                 CT 100: add unreferenced volume 'tank:100/vm-100-disk-1.raw' as 'unused1' to config.\n\
                 CT 100: add unreferenced volume 'tank:100/vm-100-disk-2.raw' as 'unused2' to config.\n";
    let dry = format!("NOTE: running in dry-run mode, won't write changes out!\n{found}");
    assert_eq!(pct(&server, "rescan --vmid 100 --dryrun"), quiet(0, &dry, ""));
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    assert_eq!(pct(&server, "rescan --vmid 100"), quiet(0, found, ""));
    let upid = root.delete("/nodes/pve/lxc/100").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(!volumes.exists());
}

/// Unrecorded: LXC.pm `update_disksize` of pve-container 6.1.10: `pct rescan` corrects recorded sizes.
#[tokio::test]
async fn rescan_corrects_sizes() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let file = server.state().join("etc/pve/lxc/100.conf");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("backup=1,size=1G", "backup=1,size=7G")).unwrap();
    let said = "rescan volumes...\nCT 100: updated volume size of 'tank:100/vm-100-disk-1.raw' in config.\n";
    assert_eq!(pct(&server, "rescan"), quiet(0, said, ""));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

/// F96, rec 2/713–718: `pct set` of a bind mount, which no token may, is silent and at once; its removal waits for the stop.
#[tokio::test]
async fn f96_set_adds_a_bind_mount_live() {
    let server = Server::with_processes();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(pct(&server, "start 100"), quiet(0, "", ""));
    assert_eq!(pct(&server, "status 100"), quiet(0, "status: running\n", ""));
    let bind = server.state().parent().unwrap().join("bind");
    fs::create_dir(&bind).unwrap();
    fs::write(bind.join("f"), "B\n").unwrap();
    let line = format!("set 100 -mp7 {},mp=/bind", bind.display());
    assert_eq!(pct(&server, &line), quiet(0, "", ""));
    let seen = server.state().join("mnt/tank/images/100/vm-100-disk-0/disk.raw/bind/f");
    assert_eq!(fs::read_to_string(&seen).unwrap(), "B\n");
    assert_eq!(pct(&server, "set 100 -delete mp7"), quiet(0, "", ""));
    assert!(seen.exists());
    let pending = root.get("/nodes/pve/lxc/100/pending").await.ok();
    let mp7 = pending.as_array().unwrap().iter().find(|e| e["key"] == "mp7").unwrap();
    assert_eq!(mp7["delete"], 1);
    assert_eq!(pct(&server, "stop 100"), quiet(0, "", ""));
    assert_eq!(pct(&server, "status 100"), quiet(0, "status: stopped\n", ""));
}

/// rec 2/791: the list; its columns, and what a lock looks like in it.
#[tokio::test]
async fn the_list_has_the_nodes_columns() {
    let server = Server::start();
    let root = server.root().await;
    assert_eq!(pct(&server, "list"), quiet(0, "", ""));
    server.restored(&root, 100).await;
    root.put("/nodes/pve/lxc/100/config", &[("lock", "backup")]).await.ok();
    let said = "VMID       Status     Lock         Name                \n\
                100        stopped    backup       golden              \n";
    assert_eq!(pct(&server, "list"), quiet(0, said, ""));
    let config = pct(&server, "config 100").1;
    assert!(config.contains("\nlock: backup\n") && config.contains("description: golden%0A\n"), "{config}");
}

/// rec 2/252: what is refused is said on standard error, with 255.
#[tokio::test]
async fn delsnapshot_of_a_locked_guest_is_refused() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(pct(&server, "snapshot 100 s1"), quiet(0, "", ""));
    root.put("/nodes/pve/lxc/100/config", &[("lock", "backup")]).await.ok();
    let refused = quiet(255, "", "CT is locked (backup)\n");
    assert_eq!(pct(&server, "delsnapshot 100 s1"), refused);
    assert_eq!(pct(&server, "delsnapshot 100 s1 --force"), refused);
    assert_eq!(pct(&server, "unlock 100"), quiet(0, "", ""));
    assert_eq!(pct(&server, "delsnapshot 100 s1"), quiet(0, "", ""));
    let missing = "Configuration file 'nodes/pve/lxc/101.conf' does not exist\n";
    assert_eq!(pct(&server, "unlock 101"), quiet(255, "", missing));
    let (code, _, err) = pct(&server, "set 100 --mp6 tank:1");
    assert_eq!(code, 255);
    assert!(err.starts_with("400 Parameter verification failed.\nmp6: invalid format"), "{err}");
}

/// F99, rec 2/1170, 1191: `pct unlock` does not thaw a guest that a killed snapshot left frozen; `lxc-unfreeze` does.
#[tokio::test]
async fn f99_a_frozen_guest_is_thawed_by_hand() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(run(&server, "lxc-info", "-n 100"), quiet(0, "State:          STOPPED\n", ""));
    let not = quiet(1, "", "lxc-unfreeze: 100: Container 100 is not running\n");
    assert_eq!(run(&server, "lxc-unfreeze", "-n 100"), not);
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    // What a snapshot leaves that was killed while it held the guest.
    let record = server.state().join("run/guests/100.none.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"frozen\":false", "\"frozen\":true")).unwrap();
    root.put("/nodes/pve/lxc/100/config", &[("lock", "snapshot")]).await.ok();
    let frozen = quiet(0, "State:          FROZEN\n", "");
    assert_eq!(run(&server, "lxc-info", "-n 100"), frozen);
    assert_eq!(pct(&server, "unlock 100"), quiet(0, "", ""));
    assert_eq!(run(&server, "lxc-info", "-n 100"), frozen);
    assert_eq!(run(&server, "lxc-unfreeze", "-n 100"), quiet(0, "", ""));
    assert_eq!(run(&server, "lxc-info", "-n 100"), quiet(0, "State:          RUNNING\n", ""));
}

/// Unrecorded (PVE/CLI/pveum.pm of pve-access-control): `pveum acl modify` is the call as root, silent; what it gives to user and token a
/// privilege-separated token has.
#[tokio::test]
async fn pveum_gives_and_takes_rights() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.post("/access/users", &[("userid", "ctl@pve")]).await.ok();
    root.post("/access/users/ctl@pve/token/tok", &[]).await.ok();
    let rest = "/vms/100 --roles PVEVMUser --users ctl@pve --tokens ctl@pve!tok --propagate 0";
    assert_eq!(run(&server, "pveum", &format!("acl modify {rest}")), quiet(0, "", ""));
    assert_eq!(entries(&root).await, [entry("ctl@pve"), entry("ctl@pve!tok")]);
    let token = root.get("/access/permissions?userid=ctl@pve!tok&path=/vms/100").await.ok();
    assert_eq!(token["/vms/100"]["VM.PowerMgmt"], 0);
    let taken = "acl modify /vms/100 --roles PVEVMUser --tokens ctl@pve!tok --delete 1";
    assert_eq!(run(&server, "pveum", taken), quiet(0, "", ""));
    assert_eq!(entries(&root).await, [entry("ctl@pve")]);
    let taken = "acl delete /vms/100 --roles PVEVMUser --users ctl@pve";
    assert_eq!(run(&server, "pveum", taken), quiet(0, "", ""));
    assert_eq!(entries(&root).await, []);
    let unknown = quiet(255, "", "ACL update failed: no such token 'other' for user 'ctl@pve'\n");
    let line = "acl modify /vms/100 --roles PVEVMUser --tokens ctl@pve!other";
    assert_eq!(run(&server, "pveum", line), unknown);
    let path = "400 Parameter verification failed.\npath: invalid ACL path '/nowhere'\n\
                pveum acl modify <path> --roles <string> [OPTIONS]\n";
    let line = "acl modify /nowhere --roles PVEVMUser --users ctl@pve";
    assert_eq!(run(&server, "pveum", line), quiet(255, "", path));
}

type Entry = (String, String, String, u64);

fn entry(who: &str) -> Entry {
    ("/vms/100".to_owned(), who.to_owned(), "PVEVMUser".to_owned(), 0)
}

async fn entries(root: &Caller) -> Vec<Entry> {
    let of = |entry: &Json| {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        (text("path"), text("ugid"), text("roleid"), entry["propagate"].as_u64().unwrap())
    };
    root.get("/access/acl").await.ok().as_array().unwrap().iter().map(of).collect()
}

/// F78, F86: with a VMID only that guest's volumes are entered; a VMID without a configuration changes nothing.
#[tokio::test]
async fn f86_rescan_of_one_guest_leaves_the_others() {
    let server = Server::start();
    let root = server.root().await;
    for vmid in [100, 101] {
        server.restored(&root, vmid).await;
        fs::write(server.state().join(format!("etc/pve/lxc/{vmid}.conf")), "").unwrap();
    }
    let said = pct(&server, "rescan --vmid 101");
    assert!(said.1.contains("'tank:101/vm-101-disk-0.raw'") && !said.1.contains("vm-100"), "{said:?}");
    assert!(pct(&server, "config 101").1.contains("unused2: tank:101/vm-101-disk-2.raw"));
    assert_eq!(pct(&server, "rescan --vmid 999").0, 255);
    assert_eq!(pct(&server, "config 100"), quiet(0, "", ""));
}
