//! F36, F42, F57: what a node does with a template's and a guest's own files: host keys, the release, odd mount points; volumes that are
//! made by name.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::server::{ARCHIVE, Caller, Server};

const PATH: &str = "/nodes/pve/lxc";

/// A template with a folder for SSH's keys and a release.
fn template(server: &Server, release: &str) {
    let path = server.state().join("var/lib/vz/template/cache/t.tar.zst");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let out = zstd::Encoder::new(File::create(path).unwrap(), 1).unwrap().auto_finish();
    let mut tar = tar::Builder::new(out);
    let from = tempfile::tempdir().unwrap();
    fs::create_dir_all(from.path().join("etc/ssh")).unwrap();
    fs::write(from.path().join("etc/debian_version"), format!("{release}\n")).unwrap();
    tar.append_dir_all("./", from.path()).unwrap();
    tar.into_inner().unwrap();
}

async fn create(root: &Caller) -> (String, Vec<String>) {
    let form = [
        ("vmid", "181"),
        ("ostemplate", "local:vztmpl/t.tar.zst"),
        ("rootfs", "tank:1"),
        ("hostname", "future.lan"),
    ];
    let upid = root.post(PATH, &form).await.upid();
    (root.wait(&upid).await, root.log(&upid).await)
}

fn rootfs(server: &Server) -> std::path::PathBuf {
    server.state().join("mnt/tank/images/181/vm-181-disk-0/disk.raw")
}

/// rec 113, 121, 834: a guest from a template gets SSH host keys of its own.
#[tokio::test]
async fn a_template_s_guest_gets_host_keys() {
    let server = Server::start();
    let root = server.root().await;
    template(&server, "13.1");
    let (status, log) = create(&root).await;
    assert_eq!(status, "OK", "{log:#?}");
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let line = format!("Creating SSH host key 'ssh_host_{kind}_key' - this may take some time ...");
        let at = log.iter().position(|l| *l == line).unwrap_or_else(|| panic!("{kind}: {log:#?}"));
        assert!(
            log[at + 1].starts_with("done: SHA256:") && log[at + 1].ends_with(" root@future"),
            "{log:#?}"
        );
        let key = fs::read_to_string(rootfs(&server).join(format!("etc/ssh/ssh_host_{kind}_key"))).unwrap();
        assert!(key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        let public = rootfs(&server).join(format!("etc/ssh/ssh_host_{kind}_key.pub"));
        assert!(fs::read_to_string(public).unwrap().ends_with(" root@future\n"));
    }
    let left = fs::read_dir(server.state().join("tmp")).unwrap().count();
    assert_eq!(left, 0, "no key is left on the host");
}

/// F36, rec 1001–1011: a release that is newer than the node is a warning when the guest is made and at each start; the task ends
/// `WARNINGS: 1`, which is no error.
#[tokio::test]
async fn f36_a_release_that_is_too_new_is_a_warning() {
    let server = Server::start();
    let root = server.root().await;
    template(&server, "99.1");
    let (status, log) = create(&root).await;
    let warning = "WARN: The container's Debian version '99' is newer than the tested version '14'.";
    assert_eq!(status, "WARNINGS: 1");
    let at = log.iter().position(|line| line.starts_with(warning)).unwrap();
    assert_eq!(log[at + 1], "Detected container architecture: amd64");
    assert_eq!(root.run(&format!("{PATH}/181/status/start"), &[]).await, "WARNINGS: 1");
    let failed = root.get("/nodes/pve/tasks?statusfilter=warning").await.ok();
    assert_eq!(failed.as_array().unwrap().len(), 2);
}

/// A link in the guest leads nowhere on the host.
#[tokio::test]
async fn a_link_to_the_host_is_not_followed() {
    let server = Server::start();
    let root = server.root().await;
    template(&server, "13.1");
    assert_eq!(create(&root).await.0, "OK");
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("debian_version"), "99.1\n").unwrap();
    fs::remove_dir_all(rootfs(&server).join("etc")).unwrap();
    std::os::unix::fs::symlink(secret.path(), rootfs(&server).join("etc")).unwrap();
    assert_eq!(root.run(&format!("{PATH}/181/status/start"), &[]).await, "OK");
}

/// rec 890–901: a configuration may name a mount point without its leading slash, and another guest's volume: a backup takes both, and a
/// restore makes own ones.
#[tokio::test]
async fn f57_odd_mount_points_come_back_as_own_volumes() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let config = server.state().join("etc/pve/lxc/100.conf");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}mp4: tank:100/vm-100-disk-4.raw,mp=relative,size=102M,backup=1\n"))
        .unwrap();
    let tree = server.state().join("mnt/tank/images/100/vm-100-disk-4/disk.raw");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("kept"), "here\n").unwrap();
    assert_eq!(root.run("/nodes/pve/vzdump", &[("vmid", "100"), ("storage", "local")]).await, "OK");
    let content = root.get("/nodes/pve/storage/local/content?content=backup&vmid=100").await.ok();
    let newest = content.as_array().unwrap().iter().filter_map(|e| e["volid"].as_str()).max().unwrap();
    let form = [("vmid", "101"), ("ostemplate", newest), ("restore", "1"), ("storage", "tank")];
    assert_eq!(root.run(PATH, &form).await, "OK");
    let mp4 = root.get(&format!("{PATH}/101/config")).await.ok()["mp4"].as_str().unwrap().to_owned();
    assert!(mp4.starts_with("tank:101/vm-101-disk-") && mp4.contains(",mp=relative,"), "{mp4}");
    let name = Path::new(mp4.split([':', ',']).nth(1).unwrap()).with_extension("");
    let file = server.state().join("mnt/tank/images").join(name).join("disk.raw/kept");
    assert_eq!(fs::read_to_string(file).unwrap(), "here\n");
}

/// F86, rec 661–667: a volume that no configuration names, made by its name and freed again.
#[tokio::test]
async fn f86_a_volume_is_allocated_by_name() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 140).await;
    let path = "/nodes/pve/storage/tank/content";
    let form = |size: &'static str| [("vmid", "140"), ("filename", "vm-140-disk-7.raw"), ("size", size)];
    root.post(path, &form("8X")).await.bad_parameter("size", "value does not match the regex pattern");
    let other = [("vmid", "140"), ("filename", "vm-140-disk-7.raw"), ("size", "8M"), ("format", "qcow2")];
    root.post(path, &other).await.bad_parameter("format", "different storage formats (qcow2 != raw)");
    assert_eq!(root.post(path, &form("8M")).await.ok(), json!("tank:140/vm-140-disk-7.raw"));
    let taken = "disk image '/mnt/tank/images/140/vm-140-disk-7/disk.raw' already exists";
    root.post(path, &form("8M")).await.failed(500, taken);
    let listed = root.get(&format!("{path}?vmid=140")).await.ok();
    let made =
        listed.as_array().unwrap().iter().find(|v| v["volid"] == "tank:140/vm-140-disk-7.raw").unwrap();
    assert_eq!((&made["size"], &made["content"]), (&json!(8 << 20), &json!("rootdir")));
    let upid = root.delete(&format!("{path}/tank:140/vm-140-disk-7.raw")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await, ["Removed volume 'tank:140/vm-140-disk-7.raw'", "TASK OK"]);
    let tenant = server.tenant(&root, "Datastore.Audit", &["/storage/tank"]).await;
    let denied = "Permission check failed (/storage/tank, Datastore.AllocateSpace)";
    tenant.post(path, &form("8M")).await.failed(403, denied);
}

/// rec 670, 674, 935: small answers of a node without second factors and firewall files; a console only for those who may.
#[tokio::test]
async fn what_is_not_there_is_empty() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.get("/access/tfa").await.ok(), json!([]));
    let options = root.get("/nodes/pve/lxc/100/firewall/options").await.ok();
    assert_eq!(options, json!({"digest": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}));
    let tenant = server.tenant(&root, "VM.Audit", &["/vms/100"]).await;
    let denied = "Permission check failed (/vms/100, VM.Console)";
    tenant.post("/nodes/pve/lxc/100/termproxy", &[]).await.failed(403, denied);
    let text = "Method 'POST /nodes/pve/lxc/100/termproxy' not implemented";
    root.post("/nodes/pve/lxc/100/termproxy", &[]).await.failed(501, text);
}

/// F47, rec 932–934: nobody runs a program in a container through the API.
#[tokio::test]
async fn f47_there_is_no_exec() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    for (method, path) in [("POST", "exec"), ("POST", "agent/exec"), ("POST", "console")] {
        let path = format!("/nodes/pve/lxc/100/{path}");
        let text = format!("Method '{method} {path}' not implemented");
        root.send(method, &path, None).await.failed(501, &text);
    }
}

/// F81, rec 2/823, 827: two guests may have one name; a restore may go to a storage of another type.
#[tokio::test]
async fn f81_a_name_can_be_taken_twice() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    server.add_archive();
    root.put("/storage/local", &[("content", "backup,vztmpl,iso,rootdir")]).await.ok();
    let form = |vmid, storage| {
        [
            ("vmid", vmid),
            ("ostemplate", ARCHIVE),
            ("restore", "1"),
            ("storage", storage),
            ("hostname", "twin"),
        ]
    };
    for (vmid, storage) in [("101", "tank"), ("102", "tank"), ("103", "local")] {
        assert_eq!(root.run(PATH, &form(vmid, storage)).await, "OK", "{vmid}");
    }
    let names = root.get(PATH).await.ok();
    assert_eq!(names.as_array().unwrap().iter().filter(|guest| guest["name"] == "twin").count(), 3);
}

/// rec 18, 672: an address is an empty text where a comment follows it in the file, and missing where nothing does.
#[tokio::test]
async fn an_empty_address_is_shown_before_a_comment() {
    let server = Server::start();
    let root = server.root().await;
    root.post("/access/users", &[("userid", "a@pve"), ("comment", "controller")]).await.ok();
    root.post("/access/users", &[("userid", "b@pve")]).await.ok();
    let users = root.get("/access/users").await.ok();
    let email = |id: &str| {
        users.as_array().unwrap().iter().find(|u| u["userid"] == id).map(|u| u["email"].clone()).unwrap()
    };
    assert_eq!((email("a@pve"), email("b@pve")), (json!(""), Json::Null));
}
