//! Storage definitions, state, content and pruning.

use std::fs;

use serde_json::{Value as Json, json};

use crate::server::{ARCHIVE, Caller, Server, encode};

/// A new dir storage `bk` at `/srv/bk`.
async fn make_bk(root: &Caller, content: &str) -> Json {
    let form = [("storage", "bk"), ("type", "dir"), ("path", "/srv/bk"), ("content", content)];
    root.post("/storage", &form).await.ok()
}

/// Empty archives of one guest on `local`, by their time stamps.
fn put_archives(server: &Server, vmid: u32, stamps: &[&str]) {
    fs::create_dir_all(server.dump()).unwrap();
    for stamp in stamps {
        fs::write(server.dump().join(format!("vzdump-lxc-{vmid}-{stamp}.tar.zst")), "x").unwrap();
    }
}

/// F17, rec 391, 397, 399, 405: POST and PUT answer with an object, GET with the definition.
#[tokio::test]
async fn f17_a_storage_is_defined_changed_and_shown() {
    let server = Server::start();
    let root = server.root().await;
    assert_eq!(make_bk(&root, "backup").await, json!({"storage": "bk", "type": "dir"}));
    let shown = root.get("/storage/bk").await.ok();
    let digest = shown["digest"].as_str().unwrap().to_owned();
    let expected =
        json!({"storage": "bk", "type": "dir", "path": "/srv/bk", "content": "backup", "digest": digest});
    assert_eq!(shown, expected);
    assert!(server.state().join("srv/bk/dump").is_dir(), "its directories are made at once");

    let answer = root.put("/storage/bk", &[("prune-backups", "keep-last=2,keep-daily=1")]).await;
    assert_eq!(answer.ok(), json!({"storage": "bk", "type": "dir"}));
    let shown = root.get("/storage/bk").await.ok();
    assert_eq!(shown["prune-backups"], "keep-last=2,keep-daily=1");
    assert_ne!(shown["digest"], json!(digest));
    let answer = root.put("/storage/bk", &[("digest", &digest), ("disable", "1")]).await;
    answer.failed(
        500,
        "update storage failed: detected modified configuration - file changed by other user? Try again.",
    );
    root.put("/storage/bk", &[("delete", "prune-backups")]).await.ok();
    assert_eq!(root.get("/storage/bk").await.ok()["prune-backups"], Json::Null);
}

/// An option without a value is none: it is not written (src/PVE/SectionConfig.pm:1643 of pve-common). Directories for content are made
/// unless one of two options says no (src/PVE/Storage/Plugin.pm:2000 of pve-storage). Unrecorded.
#[tokio::test]
async fn options_without_a_value_and_directories_that_are_not_made() {
    let server = Server::start();
    let root = server.root().await;
    make_bk(&root, "backup").await;
    root.put("/storage/bk", &[("nodes", ""), ("prune-backups", ""), ("is_mountpoint", "")]).await.ok();
    let shown = root.get("/storage/bk").await.ok();
    let keys: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["content", "digest", "path", "storage", "type"], "{shown}");
    for (number, options) in
        [[("create-subdirs", "0"), ("mkdir", "1")], [("create-subdirs", "1"), ("mkdir", "0")]]
            .iter()
            .enumerate()
    {
        let (id, path) = (format!("no{number}"), format!("/srv/no{number}"));
        let at = server.state().join(&path[1..]);
        fs::create_dir_all(&at).unwrap();
        let form = [("storage", id.as_str()), ("type", "dir"), ("path", &path), ("content", "backup,images")];
        root.post("/storage", &[&form[..], options].concat()).await.ok();
        assert_eq!(root.get(&format!("/nodes/pve/storage/{id}/status")).await.ok()["active"], 1);
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0, "{options:?}");
        assert_eq!(root.get(&format!("/nodes/pve/storage/{id}/content")).await.ok(), json!([]));
    }
}

/// rec 392–396, 398, 400.
#[tokio::test]
async fn bad_definitions_are_refused_in_the_recorded_words() {
    let server = Server::start();
    let root = server.root().await;
    make_bk(&root, "backup").await;
    let post = async |storage: &str, kind: &str, more: &[(&str, &str)]| {
        let form = [&[("storage", storage), ("type", kind)], more].concat();
        root.post("/storage", &form).await
    };
    let path = [("path", "/srv/bk2")];
    post("bk", "dir", &path).await.failed(500, "create storage failed: storage ID 'bk' already defined");
    post("bk2", "dir", &[path[0], ("content", "bogus")])
        .await
        .bad_parameter("content", "invalid format - invalid content type 'bogus'\n");
    post("bk2", "dir", &[]).await.failed(500, "missing value for required option 'path'");
    let types = "value 'nope' does not have a value in the enumeration 'btrfs, cephfs, cifs, dir, esxi, iscsi, \
                 iscsidirect, lvm, lvmthin, nfs, pbs, rbd, zfs, zfspool'";
    post("bk2", "nope", &path).await.bad_parameter("type", types);
    post("1bad", "dir", &path)
        .await
        .bad_parameter("storage", "invalid format - storage ID '1bad' contains illegal characters\n");
    root.get("/storage/none").await.failed(500, "storage 'none' does not exist");
    root.put("/storage/bk", &[("path", "/elsewhere")]).await.bad_parameter(
        "path",
        "property is not defined in schema and the schema does not allow additional properties",
    );
}

/// rec 401–407: a disabled storage is not active, has no sizes and no content.
#[tokio::test]
async fn a_disabled_storage_shows_nothing() {
    let server = Server::start();
    let root = server.root().await;
    make_bk(&root, "backup").await;
    root.put("/storage/bk", &[("disable", "1")]).await.ok();
    let off = json!({"type": "dir", "content": "backup", "shared": 0, "enabled": 0, "active": 0, "total": 0,
                     "avail": 0, "used": 0});
    assert_eq!(root.get("/nodes/pve/storage/bk/status").await.ok(), off);
    root.get("/nodes/pve/storage/bk/content").await.failed(500, "storage 'bk' is disabled");
    let listed = root.get("/nodes/pve/storage?storage=bk").await.ok();
    assert_eq!((&listed[0]["enabled"], &listed[0]["used_fraction"]), (&json!(0), &Json::Null));
    root.put("/storage/bk", &[("delete", "disable")]).await.ok();
    assert_eq!(root.get("/nodes/pve/storage/bk/status").await.ok()["active"], 1);
    assert_eq!(root.get("/nodes/pve/storage/bk/content").await.ok(), json!([]));
}

/// rec 408, 659.
#[tokio::test]
async fn a_storage_without_rootdir_holds_no_guest_and_an_unknown_one_is_a_parameter_error() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    make_bk(&root, "backup").await;
    let form = [("vmid", "120"), ("ostemplate", ARCHIVE), ("restore", "1"), ("rootfs", "bk:1")];
    let answer = root.post("/nodes/pve/lxc", &form).await;
    answer.bad_parameter("storage", "storage 'bk' does not support container directories");
    root.get("/nodes/pve/storage/nosuch/status").await.bad_parameter("storage", "No such storage.");
}

/// F87, rec2 1040, rec 436: deleting a definition drops the ACL entries of its path; what lies on it stays.
#[tokio::test]
async fn f87_deleting_a_storage_drops_its_rights_and_keeps_its_files() {
    let server = Server::start();
    let root = server.root().await;
    make_bk(&root, "backup").await;
    let token = server.tenant(&root, "Datastore.AllocateSpace,Datastore.Audit", &["/storage/bk"]).await;
    token.delete("/storage/bk").await.failed(403, "Permission check failed (/storage, Datastore.Allocate)");
    let file = server.state().join("srv/bk/dump/keep");
    fs::write(&file, "x").unwrap();
    assert_eq!(root.delete("/storage/bk").await.ok(), Json::Null);
    root.get("/storage/bk").await.failed(500, "storage 'bk' does not exist");
    assert!(file.exists());
    make_bk(&root, "backup").await;
    let answer = token.get("/nodes/pve/storage/bk/status").await;
    answer.failed(403, "Permission check failed (/storage/bk, Datastore.Audit|Datastore.AllocateSpace)");
}

/// Unrecorded: `lvmthin` holds volumes with snapshots under names of its own, and no archives.
#[tokio::test]
async fn a_thin_pool_holds_guests_and_no_archives() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    let form = [("storage", "thin"), ("type", "lvmthin"), ("vgname", "pve"), ("thinpool", "data")];
    root.post("/storage", &form).await.ok();
    assert_eq!(root.get("/storage/thin").await.ok()["content"], "images,rootdir");
    let form = [("vmid", "100"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "thin")];
    assert_eq!(root.run("/nodes/pve/lxc", &form).await, "OK");
    let config = root.get("/nodes/pve/lxc/100/config").await.ok();
    assert_eq!(config["rootfs"], "thin:vm-100-disk-0,size=2G");
    let file = server.state().join("dev/pve/images/100/vm-100-disk-1/disk.raw/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "v1\n");
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "first")]).await, "OK");
    let listed = root.get("/nodes/pve/storage/thin/content").await.ok();
    assert_eq!(listed[0]["volid"], "thin:vm-100-disk-0");
    let status = root.run("/nodes/pve/vzdump", &[("vmid", "100"), ("storage", "thin")]).await;
    assert!(status.ends_with("can't use storage 'thin' for backups - wrong content type"), "{status}");
    root.put("/storage/thin", &[("prune-backups", "keep-last=1")])
        .await
        .failed(500, "update storage failed: unexpected property 'prune-backups'");
    let upid = root.delete("/nodes/pve/lxc/100").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(!file.exists());
}

/// rec 300, 743–750: the preview says what would go; keep-last=0 keeps all; a protected archive is neither counted nor removed.
#[tokio::test]
async fn a_prune_is_previewed_and_done() {
    let server = Server::start();
    let root = server.root().await;
    let stamps = ["2026_11_23-11_28_42", "2026_11_23-11_28_43", "2026_11_23-11_28_44"];
    put_archives(&server, 110, &stamps);
    let volid = |n: usize| format!("local:backup/vzdump-lxc-110-{}.tar.zst", stamps[n]);
    let path = format!("/nodes/pve/storage/local/content/{}", encode(&volid(0)));
    root.put(&path, &[("protected", "1")]).await.ok();
    let prune = "/nodes/pve/storage/local/prunebackups";
    let marks = root.get(&format!("{prune}?vmid=110&prune-backups=keep-last%3D1")).await.ok();
    let shown: Vec<&str> = marks.as_array().unwrap().iter().map(|m| m["mark"].as_str().unwrap()).collect();
    assert_eq!(shown, ["protected", "remove", "keep"]);
    assert_eq!(
        (&marks[1]["volid"], &marks[1]["type"], &marks[1]["vmid"]),
        (&json!(volid(1)), &json!("lxc"), &json!(110))
    );

    let upid = root.delete(&format!("{prune}?vmid=110&prune-backups=keep-last%3D0")).await.upid();
    assert!(upid.contains(":prunebackups:110@local:root@pam:"), "{upid}");
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await, ["TASK OK"]);
    assert_eq!(fs::read_dir(server.dump()).unwrap().count(), 4);
    let upid = root.delete(&format!("{prune}?vmid=110&prune-backups=keep-last%3D1")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await, [format!("removing backup '{}'", volid(1)), "TASK OK".to_owned()]);
    let left = root.get("/nodes/pve/storage/local/content?content=backup").await.ok();
    assert_eq!(left.as_array().unwrap().len(), 2, "{left}");
}

/// Without a VMID a prune needs Datastore.Allocate; with one, the rights for that guest's archives.
/// Unrecorded: PVE/API2/Storage/PruneBackups.pm:178-183 of libpve-storage-perl 9.1.7.
#[tokio::test]
async fn a_token_prunes_its_own_guests_archives_only() {
    let server = Server::start();
    let root = server.root().await;
    put_archives(&server, 110, &["2026_11_23-11_28_42", "2026_11_23-11_28_43"]);
    let rights = "Datastore.AllocateSpace,VM.Backup";
    let token = server.tenant(&root, rights, &["/storage/local", "/vms/110"]).await;
    let prune = "/nodes/pve/storage/local/prunebackups?prune-backups=keep-last%3D1";
    token.delete(prune).await.failed(403, "Permission check failed (/storage/local, Datastore.Allocate)");
    token
        .delete(&format!("{prune}&vmid=111"))
        .await
        .failed(403, "Permission check failed (/vms/111, VM.Backup)");
    let upid = token.delete(&format!("{prune}&vmid=110")).await.upid();
    assert_eq!(token.wait(&upid).await, "OK");
    assert_eq!(fs::read_dir(server.dump()).unwrap().count(), 1);
}

/// F64, rec 298, 668, 669, 738–742: with `delay` the answer waits for the end; a missing archive is no error, a protected one is.
#[tokio::test]
async fn f64_deleting_an_archive() {
    let server = Server::start();
    let root = server.root().await;
    put_archives(&server, 160, &["2026_11_23-11_30_26"]);
    let volid = "local:backup/vzdump-lxc-160-2026_11_23-11_30_26.tar.zst";
    let path = format!("/nodes/pve/storage/local/content/{}", encode(volid));
    root.put(&path, &[("protected", "1")]).await.ok();
    let refused =
        "cannot remove protected volume 'backup/vzdump-lxc-160-2026_11_23-11_30_26.tar.zst' on 'local'";
    root.delete(&format!("{path}?delay=5")).await.failed(500, refused);
    let upid = root.delete(&path).await.upid();
    assert!(upid.contains(":imgdel:160@local:root@pam:"), "{upid}");
    assert_eq!(root.wait(&upid).await, refused);
    root.put(&path, &[("protected", "0")]).await.ok();
    assert_eq!(root.delete(&format!("{path}?delay=5")).await.ok(), Json::Null);
    assert!(!server.dump().join("vzdump-lxc-160-2026_11_23-11_30_26.tar.zst").exists());
    assert_eq!(root.delete(&format!("{path}?delay=5")).await.ok(), Json::Null, "gone already");
    // An unescaped path is the same (rec 664).
    let upid = root.delete(&format!("/nodes/pve/storage/local/content/{volid}")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
}

/// rec 301, 660, rec2 976.
#[tokio::test]
async fn what_else_a_storage_answers() {
    let server = Server::start();
    let root = server.root().await;
    let index = root.get("/nodes/pve/storage/local").await.ok();
    assert_eq!(index.as_array().unwrap().len(), 11, "{index}");
    let query = "volume=local%3Abackup%2Fx.tar.zst&filepath=%2F";
    root.get(&format!("/nodes/pve/storage/local/file-restore/list?{query}"))
        .await
        .bad_parameter("storage", "Only PBS storages supported for file-restore.");
    let points = root.get("/nodes/pve/storage/local/rrddata?timeframe=hour").await.ok();
    let points = points.as_array().unwrap();
    assert_eq!(points[1]["time"].as_u64().unwrap() - points[0]["time"].as_u64().unwrap(), 60);
    assert_eq!(points[0].as_object().unwrap().len(), 1, "nothing was measured then");
    root.get("/nodes/pve/storage/local/rrddata")
        .await
        .bad_parameter("timeframe", "property is missing and it is not optional");
}
