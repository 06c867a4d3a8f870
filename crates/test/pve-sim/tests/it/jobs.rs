//! F30, F45, F98: backup jobs of the host.

use serde_json::{Value as Json, json};

use crate::server::Server;

const JOBS: &str = "/cluster/backup";

/// rec 653–655: made, listed with its next run, changed, deleted; a token needs Sys.Modify on /.
#[tokio::test]
async fn f30_jobs_are_made_listed_changed_and_deleted() {
    let server = Server::start();
    let root = server.root().await;
    let form = [
        ("schedule", "daily"),
        ("storage", "local"),
        ("vmid", "140"),
        ("mode", "snapshot"),
        ("enabled", "0"),
    ];
    let tenant = server.tenant(&root, "VM.Backup Datastore.Allocate", &["/vms/140", "/storage/local"]).await;
    tenant.post(JOBS, &form).await.failed(403, "Permission check failed (/, Sys.Modify)");
    tenant.get(JOBS).await.failed(403, "Permission check failed (/, Sys.Audit)");
    assert_eq!(root.post(JOBS, &form).await.ok(), Json::Null);
    let all = root.get(JOBS).await.ok();
    let mut job = all[0].clone();
    let id = job["id"].as_str().unwrap().to_owned();
    assert!(id.len() == 36 && job["next-run"].as_u64().unwrap() % 60 == 0, "{job}");
    for key in ["id", "next-run"] {
        job.as_object_mut().unwrap().remove(key);
    }
    let expected = json!({
        "enabled": 0, "mode": "snapshot", "schedule": "daily", "storage": "local", "type": "vzdump", "vmid": "140",
    });
    assert_eq!(job, expected);
    let path = format!("{JOBS}/{id}");
    let change = [
        ("all", "1"),
        ("starttime", "2:30"),
        ("dow", "mon,tue"),
        ("prune-backups", "keep-last=3"),
        ("delete", "mode"),
    ];
    root.put(&path, &change).await.ok();
    let job = root.get(&path).await.ok();
    assert_eq!((&job["all"], &job["vmid"], &job["mode"]), (&json!(1), &Json::Null, &Json::Null));
    assert_eq!(
        (&job["schedule"], &job["prune-backups"]),
        (&json!("mon,tue 2:30"), &json!({"keep-last": "3"}))
    );
    root.put(&path, &[]).await.failed(500, "no options specified");
    root.put(&path, &[("delete", "bogus")]).await.bad_parameter("delete", "unknown option 'bogus'");
    root.delete(&path).await.ok();
    root.delete(&path).await.bad_parameter("id", &format!("No such job '{id}'"));
    root.get(&path).await.bad_parameter("id", &format!("No such job '{id}'"));
    assert_eq!(root.get(JOBS).await.ok(), json!([]));
}

/// Unrecorded: PVE/API2/Backup.pm:300 of pve-manager.
#[tokio::test]
async fn jobs_that_are_refused() {
    let server = Server::start();
    let root = server.root().await;
    root.post(JOBS, &[("vmid", "100")])
        .await
        .bad_parameter("schedule", "neither 'starttime' nor 'schedule' were set");
    root.post(JOBS, &[("schedule", "daily")]).await.bad_parameter("vmid", "property is missing");
    root.post(JOBS, &[("schedule", "daily"), ("starttime", "1:00"), ("all", "1")])
        .await
        .bad_parameter("starttime", "'starttime' and 'schedule' cannot both be set");
    let form = [("schedule", "daily"), ("all", "1"), ("id", "nightly")];
    root.post(JOBS, &form).await.ok();
    root.post(JOBS, &form).await.failed(500, "Job 'nightly' already exists");
    root.put("/cluster/backup/nosuch", &[("comment", "x")]).await.failed(500, "no such vzdump job");
}

/// F45, rec 910–926: destroying a guest leaves it in the host's jobs, so that its successor under the same VMID is backed up and pruned
/// with it; only `purge=1` takes it out, and an empty job with it.
#[tokio::test]
async fn f45_jobs_keep_a_destroyed_guest_until_purge() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 171).await;
    root.post(JOBS, &[("schedule", "daily"), ("storage", "local"), ("vmid", "171"), ("id", "job171")])
        .await
        .ok();
    let upid = root.delete("/nodes/pve/lxc/171").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.get(JOBS).await.ok()[0]["vmid"], "171");
    let volumes = root.get("/cluster/backup/job171/included_volumes").await.ok();
    assert_eq!(volumes, json!({"children": [{"id": 171, "leaf": 1, "type": "unknown"}]}));
    server.restored(&root, 171).await;
    let volumes = root.get("/cluster/backup/job171/included_volumes").await.ok();
    let guest = &volumes["children"][0];
    assert_eq!((&guest["id"], &guest["name"], &guest["leaf"]), (&json!(171), &json!("golden"), &json!(0)));
    let reasons: Vec<&str> =
        guest["children"].as_array().unwrap().iter().map(|v| v["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["rootfs", "enabled", "disabled"]);
    assert_eq!(root.get("/cluster/backup-info/not-backed-up").await.ok(), json!([]));
    let upid = root.delete("/nodes/pve/lxc/171?purge=1").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert_eq!(root.log(&upid).await, ["purging CT 171 from related configurations..", "TASK OK"]);
    assert_eq!(root.get(JOBS).await.ok(), json!([]));
}

/// F98, 2/1003, 1039: guests in no job.
#[tokio::test]
async fn f98_guests_that_no_job_backs_up() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let found = root.get("/cluster/backup-info/not-backed-up").await.ok();
    assert_eq!(found, json!([{"vmid": 100, "type": "lxc", "name": "golden"}]));
    let tenant = server.tenant(&root, "VM.Audit", &["/vms/100"]).await;
    let refused = "Permission check failed (/, Sys.Audit)";
    tenant.get("/cluster/backup-info/not-backed-up").await.failed(403, refused);
}
