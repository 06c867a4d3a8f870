//! F41–F46, F49, F50, F52, F54–F60, F74–F76, F78, F87, F88, F94, F95: configurations, volumes, restores.

use std::fs;

use serde_json::{Value as Json, json};

use crate::server::{ARCHIVE, Caller, Server};

const CONFIG: &str = "/nodes/pve/lxc/100/config";

async fn config(root: &Caller) -> Json {
    root.get(CONFIG).await.ok()
}

fn image(server: &Server, disk: u32) -> std::path::PathBuf {
    server.state().join(format!("mnt/tank/images/100/vm-100-disk-{disk}/disk.raw"))
}

/// F46, rec 127, 130, 146: what is normalised; the digest changes with every write, and a wrong one is refused.
#[tokio::test]
async fn f46_values_are_normalised() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let before = config(&root).await;
    let form = [
        ("tags", "prod,Web;db test"),
        ("description", "a: b"),
        ("digest", before["digest"].as_str().unwrap()),
    ];
    root.put(CONFIG, &form).await.ok();
    let after = config(&root).await;
    assert_eq!((&after["tags"], &after["description"]), (&json!("db;prod;test;web"), &json!("a: b\n")));
    assert_ne!(before["digest"], after["digest"]);
    let answer = root.put(CONFIG, &form).await;
    answer.failed(500, "detected modified configuration - file changed by other user? Try again.");
    root.put(CONFIG, &[("mp5", "tank:0.3,mp=/small")]).await.ok();
    assert_eq!(config(&root).await["mp5"], "tank:100/vm-100-disk-3.raw,mp=/small,size=307M");
    root.put(CONFIG, &[("net1", "name=eth1,bridge=vmbr0")]).await.ok();
    let net = config(&root).await["net1"].as_str().unwrap().to_owned();
    assert!(
        net.starts_with("name=eth1,bridge=vmbr0,hwaddr=BC:24:11:") && net.ends_with(",type=veth"),
        "{net}"
    );
    root.put(CONFIG, &[("tags", "bad!")])
        .await
        .bad_parameter("tags", "invalid format - invalid characters in tag\n");
    root.put(CONFIG, &[]).await.failed(500, "no options specified");
    root.put(CONFIG, &[("delete", "swap,nosuch")]).await.bad_parameter("delete", "unknown option 'nosuch'");
    let answer = root.put(CONFIG, &[("unprivileged", "0")]).await;
    answer.failed(500, "unable to modify read-only option: 'unprivileged'");
    let answer = root.put(CONFIG, &[("mp6", "tank:1")]).await;
    answer.bad_parameter(
        "mp6",
        "invalid format - format error\nmp6.mp: property is missing and it is not optional\n",
    );
}

/// F41, rec 138–143: a size as rootfs of an existing guest is stored literally, and the guest does not start any more.
#[tokio::test]
async fn f41_a_size_as_rootfs_destroys_the_reference() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put(CONFIG, &[("rootfs", "tank:2")]).await.ok();
    assert_eq!(config(&root).await["rootfs"], "tank:2");
    let exit = root.run("/nodes/pve/lxc/100/status/start", &[]).await;
    assert_eq!(exit, "unable to parse directory volume name '2'");
    root.put(CONFIG, &[("mp7", "tank:100/vm-100-disk-9.raw,mp=/gone")]).await.ok();
}

/// F42, rec 835–841: a volume that is overwritten or detached becomes `unusedN`; deleting that destroys it.
#[tokio::test]
async fn f42_a_detached_volume_is_unused_until_it_is_deleted() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put(CONFIG, &[("delete", "mp1")]).await.ok();
    let volume = "tank:100/vm-100-disk-2.raw";
    assert_eq!(config(&root).await["unused0"], volume);
    root.put(CONFIG, &[("mp1", "tank:100/vm-100-disk-2.raw,mp=/scratch,backup=0")]).await.ok();
    let now = config(&root).await;
    assert_eq!(now["mp1"], "tank:100/vm-100-disk-2.raw,mp=/scratch,backup=0,size=1G");
    assert_eq!(now["unused0"], Json::Null);
    root.put(CONFIG, &[("mp1", "tank:0.1,mp=/scratch2")]).await.ok();
    let now = config(&root).await;
    assert_eq!(
        (&now["unused0"], &now["mp1"]),
        (&json!(volume), &json!("tank:100/vm-100-disk-3.raw,mp=/scratch2,size=102M"))
    );
    assert!(image(&server, 2).exists());
    root.put(CONFIG, &[("delete", "unused0")]).await.ok();
    assert!(!image(&server, 2).exists());
}

/// F88, rec 2/557–593: what `protection` refuses, and what it does not.
#[tokio::test]
async fn f88_protection() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.put(CONFIG, &[("protection", "1")]).await.ok();
    root.delete("/nodes/pve/lxc/100").await.failed(500, "can't remove CT 100 - protection mode enabled");
    let refused =
        |verb: &str, key: &str| format!("can't {verb} CT 100 drive '{key}' - protection mode enabled");
    root.put(CONFIG, &[("delete", "mp1")]).await.failed(500, &refused("remove", "mp1"));
    for (key, value) in [
        ("mp3", "tank:1,mp=/new"),
        ("mp0", "tank:100/vm-100-disk-1.raw,mp=/data,backup=0"),
        ("rootfs", "tank:100/vm-100-disk-0.raw,size=2G,mountoptions=noatime"),
    ] {
        root.put(CONFIG, &[(key, value)]).await.failed(500, &refused("update", key));
    }
    let form =
        [("vmid", "100"), ("ostemplate", ARCHIVE), ("restore", "1"), ("force", "1"), ("storage", "tank")];
    root.post("/nodes/pve/lxc", &form)
        .await
        .failed(500, "unable to restore CT 100 - protection mode enabled");
    root.put(CONFIG, &[("hostname", "p2"), ("memory", "96")]).await.ok();
    root.put(CONFIG, &[("delete", "protection")]).await.ok();
}

/// F58, rec 318, 319, 349: an existing guest is not overwritten; a running one never; an archive is no template.
#[tokio::test]
async fn f58_an_existing_guest_is_not_overwritten() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let mut form = vec![("vmid", "100"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank")];
    root.post("/nodes/pve/lxc", &form).await.failed(500, "CT 100 already exists on node 'pve'");
    form.push(("force", "1"));
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    root.post("/nodes/pve/lxc", &form).await.failed(500, "can't overwrite running container");
    let answer =
        root.post("/nodes/pve/lxc", &[("vmid", "115"), ("ostemplate", ARCHIVE), ("rootfs", "tank:1")]).await;
    answer.failed(500, &format!("unable to use volume {ARCHIVE} - content type needs to be 'vztmpl'"));
}

/// F57, rec 307–310, 335–340: without disks the archive's layout on `storage`; with only rootfs, everything lands in it.
#[tokio::test]
async fn f57_disks_given_or_from_the_archive() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let now = config(&root).await;
    assert_eq!(now["mp1"], "tank:100/vm-100-disk-2.raw,mp=/scratch,backup=0,size=1G", "empty, but there");
    assert_eq!(fs::read_dir(image(&server, 2)).unwrap().count(), 0);
    let form = [("vmid", "112"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "tank:1")];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    let copy = root.get("/nodes/pve/lxc/112/config").await.ok();
    assert_eq!((&copy["rootfs"], &copy["mp0"]), (&json!("tank:112/vm-112-disk-0.raw,size=1G"), &Json::Null));
    let rootfs = server.state().join("mnt/tank/images/112/vm-112-disk-0/disk.raw");
    assert_eq!(fs::read_to_string(rootfs.join("data/file")).unwrap(), "v1\n");
    let form = [("vmid", "113"), ("ostemplate", ARCHIVE), ("restore", "1"), ("mp0", "tank:1,mp=/data")];
    root.post("/nodes/pve/lxc", &form)
        .await
        .failed(500, "mount points configured, but 'rootfs' not set - aborting");
    let form = [("vmid", "113"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "local")];
    let answer = root.post("/nodes/pve/lxc", &form).await;
    answer.bad_parameter("storage", "storage 'local' does not support container directories");
}

/// F74, F76, rec 2/1–26, PRIVILEGES surprise 3: what is not passed comes from the archive; a net without address gets a new one.
#[tokio::test]
async fn f74_what_is_not_passed_comes_from_the_archive() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let all = config(&root).await;
    assert_eq!(
        (&all["onboot"], &all["tags"], &all["description"]),
        (&json!(1), &json!("golden"), &json!("golden\n"))
    );
    assert_eq!(all["net0"], "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth", "the same address");
    let form = [
        ("vmid", "203"),
        ("ostemplate", ARCHIVE),
        ("restore", "1"),
        ("storage", "tank"),
        ("onboot", "0"),
        ("description", "mine"),
        ("net0", "name=eth0,bridge=vmbr0,link_down=1"),
    ];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    let copy = root.get("/nodes/pve/lxc/203/config").await.ok();
    assert_eq!(
        (&copy["onboot"], &copy["description"], &copy["hostname"]),
        (&json!(0), &json!("mine\n"), &json!("golden"))
    );
    let net = copy["net0"].as_str().unwrap();
    assert!(net.contains("link_down=1") && !net.contains("00:00:01"), "{net}");
    assert_eq!(copy["features"], "nesting=1,keyctl=1");
}

/// F74, F75: extractconfig shows beforehand what a restore would bring (rec 299, 2/10).
#[tokio::test]
async fn f75_extractconfig_shows_the_archives_configuration() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    let found = root.get(&format!("/nodes/pve/vzdump/extractconfig?volume={ARCHIVE}")).await.ok();
    assert_eq!(found, crate::server::CONFIG);
    let missing = "local:backup/vzdump-lxc-998-2026_01_01-00_00_00.tar.zst";
    assert_eq!(root.get(&format!("/nodes/pve/vzdump/extractconfig?volume={missing}")).await.status, 500);
}

/// F78, F87, rec 2/119–130: what the configuration does not name stays, unless one asks for unreferenced disks.
#[tokio::test]
async fn f78_destroying_an_empty_configuration_leaves_the_volumes() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let file = server.state().join("etc/pve/lxc/100.conf");
    fs::write(&file, "").unwrap();
    let upid = root.delete("/nodes/pve/lxc/100").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(image(&server, 0).exists());
    // F87: a new guest of that VMID takes free disk numbers.
    fs::write(&file, "").unwrap();
    let upid = root.delete("/nodes/pve/lxc/100?destroy-unreferenced-disks=1&purge=1").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await, ["purging CT 100 from related configurations..", "TASK OK"]);
    assert!(!image(&server, 0).exists());
}

/// F95, rec 2/660–718: what reaches a running guest at once, what waits for its stop, and what each view shows.
#[tokio::test]
async fn f95_changes_of_a_running_guest() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    root.put(
        CONFIG,
        &[("memory", "80"), ("cores", "2"), ("hostname", "h2"), ("tags", "t2"), ("onboot", "0")],
    )
    .await
    .ok();
    root.put(
        CONFIG,
        &[("mp1", "tank:100/vm-100-disk-2.raw,mp=/scratch,backup=1"), ("nameserver", "9.9.9.9")],
    )
    .await
    .ok();
    root.put(CONFIG, &[("delete", "mp0"), ("mp4", "tank:1,mp=/hot")]).await.ok();
    let shown = config(&root).await;
    assert_eq!(
        (&shown["mp0"], &shown["mp1"]),
        (&Json::Null, &json!("tank:100/vm-100-disk-2.raw,mp=/scratch,backup=1"))
    );
    let current = root.get(&format!("{CONFIG}?current=1")).await.ok();
    assert_eq!(current["mp1"], "tank:100/vm-100-disk-2.raw,mp=/scratch,backup=0,size=1G");
    assert_eq!((&current["memory"], &current["hostname"]), (&json!(80), &json!("h2")));
    assert_eq!(
        (&current["nameserver"], &current["mp4"]),
        (&Json::Null, &json!("tank:100/vm-100-disk-3.raw,mp=/hot,size=1G"))
    );
    let pending = root.get("/nodes/pve/lxc/100/pending").await.ok();
    let of = |key: &str| pending.as_array().unwrap().iter().find(|e| e["key"] == key).unwrap().clone();
    assert_eq!(of("mp0")["delete"], 1);
    assert_eq!(of("nameserver")["pending"], "9.9.9.9");
    // F95, rec 2/1073–1083: a backup now does not contain the mount that GET config shows with backup=1.
    let upid = root.post("/nodes/pve/vzdump", &[("vmid", "100"), ("storage", "local")]).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let log = root.log(&upid).await.join("\n");
    assert!(log.contains("excluding volume mount point mp1 ('/scratch') from backup (disabled)"), "{log}");
    root.put(CONFIG, &[("revert", "mp0")]).await.ok();
    assert!(config(&root).await["mp0"].is_string());
    assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "OK");
    let current = root.get(&format!("{CONFIG}?current=1")).await.ok();
    assert_eq!(current["mp1"], "tank:100/vm-100-disk-2.raw,mp=/scratch,backup=1,size=1G");
    assert_eq!(current["nameserver"], "9.9.9.9");
}

/// F94, rec 2/529–556: link_down takes net0's address away, on a running guest at once.
#[tokio::test]
async fn f94_link_down_switches_live() {
    let server = Server::with_processes();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.get("/nodes/pve/lxc/100/interfaces").await.ok(), Json::Null);
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    let path = "/nodes/pve/lxc/100/interfaces";
    let up = root.get(path).await.ok();
    assert!(up[0]["inet"].as_str().unwrap().starts_with("127.97."), "{up}");
    assert!(up[1]["inet"].is_string());
    root.put(CONFIG, &[("net0", "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,link_down=1")]).await.ok();
    let down = root.get(path).await.ok();
    assert_eq!((&down[0]["inet"], &down[1]["inet"]), (&up[0]["inet"], &Json::Null));
    root.put(CONFIG, &[("net0", "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01")]).await.ok();
    assert_eq!(root.get(path).await.ok(), up, "the same address again");
}

/// F50, F52, rec 181, 190, 191, 223–228: where snapshots are possible, their names, and the pseudo entry.
#[tokio::test]
async fn f50_snapshots_and_features() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let path = "/nodes/pve/lxc/100/snapshot";
    let text = "invalid format - invalid configuration ID '1bad'\n";
    root.post(path, &[("snapname", "1bad")]).await.bad_parameter("snapname", text);
    root.post(path, &[("snapname", "current")])
        .await
        .failed(500, "unable to use snapshot name 'current' (reserved name)");
    assert_eq!(root.run(path, &[("snapname", "s1"), ("description", "one")]).await, "OK");
    assert_eq!(root.run(path, &[("snapname", "s1")]).await, "snapshot name 's1' already used");
    let all = root.get(path).await.ok();
    assert_eq!((&all[0]["name"], &all[0]["description"]), (&json!("s1"), &json!("one\n")));
    assert_eq!(
        (&all[1]["name"], &all[1]["parent"], &all[1]["running"]),
        (&json!("current"), &json!("s1"), &json!(0))
    );
    let upid = root.delete(&format!("{path}/s1")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let upid = root.delete(&format!("{path}/none")).await.upid();
    assert_eq!(root.wait(&upid).await, "snapshot 'none' does not exist");
    let feature = "/nodes/pve/lxc/100/feature?feature=snapshot";
    assert_eq!(root.get(feature).await.ok()["hasFeature"], 1);
    root.put(CONFIG, &[("mp6", "/srv/shared,mp=/bind")]).await.ok();
    assert_eq!(root.get(feature).await.ok()["hasFeature"], 0, "a bind mount makes it impossible");
    assert_eq!(root.run(path, &[("snapname", "s2")]).await, "snapshot feature is not available");
}

/// rec 164, 165: a volume grows and does not shrink.
#[tokio::test]
async fn a_volume_grows_and_does_not_shrink() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let upid = root.put("/nodes/pve/lxc/100/resize", &[("disk", "mp0"), ("size", "+512M")]).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(config(&root).await["mp0"], "tank:100/vm-100-disk-1.raw,mp=/data,backup=1,size=1536M");
    let answer = root.put("/nodes/pve/lxc/100/resize", &[("disk", "mp0"), ("size", "1M")]).await;
    answer.failed(500, "unable to shrink disk size");
}
