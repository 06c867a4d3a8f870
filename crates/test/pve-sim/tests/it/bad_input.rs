//! F6, F11, F20–F25, F43, F46: what a caller must not get by odd values, and how odd values are answered.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::server::{Server, write_archive};
use crate::support::PVE_SIM;

const CONFIG: &str = "/nodes/pve/lxc/100/config";

/// Nobody writes a second line into a file of the node. Unrecorded: write_pct_config in PVE/LXC/Config.pm of pve-container.
#[tokio::test]
async fn a_value_does_not_reach_over_its_line() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let before = fs::read_to_string(server.state().join("etc/pve/lxc/100.conf")).unwrap();
    let tenant = server.tenant(&root, "VM.Config.Network,VM.Config.Options,VM.Audit", &["/vms/100"]).await;
    for (key, value) in [
        ("nameserver", "1.1.1.1\nmp9: /,mp=/host"),
        ("searchdomain", "a.lan\nlxc.cap.drop: "),
        ("startup", "order=1\nprotection: 1"),
        ("net0", "name=eth0,bridge=vmbr0\n[evil]"),
        ("hostname", "a\nlock: backup"),
        ("tags", "a\nlock: backup"),
    ] {
        let answer = tenant.put(CONFIG, &[(key, value)]).await;
        assert!([400, 403, 500].contains(&answer.status), "{key}: {}", answer.status);
    }
    let newline = "detected invalid newline inside property 'mp5'";
    root.put(CONFIG, &[("mp5", "tank:1,mp=/a\nlock: backup")]).await.failed(500, newline);
    let after = fs::read_to_string(server.state().join("etc/pve/lxc/100.conf")).unwrap();
    assert_eq!(after, before);

    let user = [("email", "x@y.z\nacl:1:/:me@pve:Administrator:")];
    root.post("/access/users", &[("userid", "me@pve")]).await.ok();
    assert_eq!(root.put("/access/users/me@pve", &user).await.status, 400);
    root.post("/pools", &[("poolid", "p"), ("comment", "a\nacl:1:/:me@pve:Administrator:")]).await.ok();
    assert_eq!(
        root.get("/access/acl")
            .await
            .ok()
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["ugid"] == "me@pve")
            .count(),
        0
    );

    let job = [("id", "j2"), ("schedule", "daily"), ("vmid", "100"), ("comment", "a\nvzdump: evil\n\tall 1")];
    root.post("/cluster/backup", &job).await.ok();
    let jobs = root.get("/cluster/backup").await.ok();
    assert_eq!(
        (jobs.as_array().unwrap().len(), &jobs[0]["comment"]),
        (1, &json!("a\nvzdump: evil\n\tall 1"))
    );
    let job = [("id", "j3"), ("schedule", "daily"), ("vmid", "100"), ("exclude-path", "a\nvzdump: evil")];
    assert_eq!(root.post("/cluster/backup", &job).await.status, 500);
    assert_eq!(root.get("/cluster/backup").await.ok().as_array().unwrap().len(), 1);
    let storage =
        [("storage", "x"), ("type", "dir"), ("path", "/mnt/x"), ("bwlimit", "clone=1\n\ndir: evil")];
    assert!(root.post("/storage", &storage).await.status >= 400);
    assert!(!fs::read_to_string(server.state().join("etc/pve/storage.cfg")).unwrap().contains("evil"));
}

/// F25: who may change the ACL of guests by VM.Allocate may not change that of all of them, nor give NoAccess, nor pass on more than he
/// has. The last two are unrecorded: PVE/API2/ACL.pm of pve-access-control 8.
#[tokio::test]
async fn f25_an_owner_of_guests_cannot_give_more_than_that() {
    let server = Server::start();
    let root = server.root().await;
    let tenant = server.tenant(&root, "VM.Allocate,VM.Audit", &["/vms"]).await;
    let below = [("path", "/vms"), ("roles", "Tenant"), ("users", "t@pve"), ("tokens", "t@pve!tok")];
    root.put("/access/acl", &below).await.ok();
    root.post("/access/roles", &[("roleid", "Alloc"), ("privs", "VM.Allocate")]).await.ok();
    root.post("/access/users", &[("userid", "ev@pve")]).await.ok();
    let acl = |path: &'static str, role: &'static str| {
        [("path", path), ("roles", role), ("users", "ev@pve"), ("propagate", "1")]
    };
    tenant.put("/access/acl", &acl("/vms/100", "Alloc")).await.ok();
    for path in ["/vms", "/vms/", "/vms//"] {
        assert_eq!(tenant.put("/access/acl", &acl(path, "Alloc")).await.status, 403, "{path}");
    }
    let answer = tenant.put("/access/acl", &acl("/vms/100", "NoAccess")).await;
    assert!(
        answer.body.contains("Cannot add role 'NoAccess' - requires 'Permissions.Modify'"),
        "{}",
        answer.body
    );
    let text = "either 'users', 'groups' or 'tokens' is required.";
    root.put("/access/acl", &[("path", "/"), ("roles", "Alloc")]).await.bad_parameter("users", text);
    let text = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace";
    root.post("/access/roles", &[("roleid", "pveMine")]).await.bad_parameter("roleid", text);
}

/// F43: only root's ticket may use skiplock, and it works for it; an empty digest is none (F46); the node is also `localhost`.
#[tokio::test]
async fn f43_root_may_skip_a_lock() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put(CONFIG, &[("digest", ""), ("memory", "64")]).await.ok();
    root.put(CONFIG, &[("lock", "backup")]).await.ok();
    let (start, stop) = ("/nodes/pve/lxc/100/status/start", "/nodes/pve/lxc/100/status/stop");
    let tenant = server.tenant(&root, "VM.PowerMgmt", &["/vms/100"]).await;
    let only = "Only root may use this option.";
    tenant.post(start, &[("skiplock", "1")]).await.bad_parameter("skiplock", only);
    assert_eq!(root.run(start, &[]).await, "CT is locked (backup)");
    assert_eq!(root.run(start, &[("skiplock", "1")]).await, "OK");
    assert_eq!(root.run(stop, &[("skiplock", "1")]).await, "OK");
    assert_eq!(root.get("/nodes/localhost/lxc/100/status/current").await.ok()["status"], "stopped");
}

/// rec 113: the log has paths of the node. Root may name an archive by its path there. What is gone is no error (F64).
#[tokio::test]
async fn paths_are_those_of_the_node() {
    let server = Server::start();
    let root = server.root().await;
    write_archive(
        &server.dump().join("vzdump-lxc-999-2026_01_01-00_00_00.tar.zst"),
        "arch: amd64\nrootfs: x:1/y,size=1G\n",
        0,
    );
    let archive = "/var/lib/vz/dump/vzdump-lxc-999-2026_01_01-00_00_00.tar.zst";
    let config = root.get(&format!("/nodes/pve/vzdump/extractconfig?volume={archive}")).await.ok();
    assert!(config.as_str().unwrap().starts_with("arch: amd64"), "{config}");
    let form = [
        ("vmid", "101"),
        ("ostemplate", "local:backup/vzdump-lxc-999-2026_01_01-00_00_00.tar.zst"),
        ("restore", "1"),
        ("storage", "tank"),
    ];
    let upid = root.post("/nodes/pve/lxc", &form).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(root.log(&upid).await.contains(&format!("extracting archive '{archive}'")));
    let gone = "/nodes/pve/storage/local/content/local:vztmpl/x.tar.gz?delay=5";
    assert_eq!(root.delete(gone).await.ok(), json!(null));
}

/// A state directory is served once; another directory is not taken for one; names of nodes are host names.
#[tokio::test]
async fn a_directory_is_served_by_one_process() {
    let server = Server::start();
    let serve = |state: &std::path::Path, more: &[&str]| {
        let mut command = Command::new(PVE_SIM);
        command.arg("--state").arg(state).args(["--listen", "127.0.0.1:0"]).args(more);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (ok, text) = serve(&server.state(), &["--node", "other"]);
    assert!(!ok && text.contains("is being served by another process"), "{text}");
    let host = fs::read_to_string(server.state().join("etc/host.json")).unwrap();
    assert!(host.contains("\"pve\""), "{host}");
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("letter.txt"), "x").unwrap();
    let (ok, text) = serve(other.path(), &[]);
    assert!(!ok && text.contains("holds `letter.txt`"), "{text}");
    let (ok, text) = serve(&other.path().join("new"), &["--node", "a b"]);
    assert!(!ok && text.contains("'a b' is no name of a node"), "{text}");
}
