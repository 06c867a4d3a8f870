//! Faults on demand through the control file: tasks, storages, the clock, a power cycle. Calls are in `http_faults`.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::server::{ARCHIVE, Caller, Server, encode, pid_of};
use crate::support::{PVE_SIM, lives, until};

/// `pve-sim fault --state DIR …`; what it prints.
pub(crate) fn fault(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new(PVE_SIM);
    command.args(["fault", "--state"]).arg(server.state()).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn snapshot(root: &Caller, name: &str) -> String {
    root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", name)]).await
}

/// Rules are set, listed and cleared; what is no rule changes nothing.
#[test]
fn rules_are_set_listed_and_cleared() {
    let server = Server::start();
    assert_eq!(fault(&server, &["list"]), "");
    let kill = r#"{"at":"vzdump.archive","id":"101","nth":2,"do":"kill"}"#;
    fault(&server, &["set", kill, r#"{"at":"clock","do":{"shift_s":60}}"#, "--seed", "7"]);
    assert_eq!(
        fault(&server, &["list"]),
        format!("{kill}\n{{\"at\":\"clock\",\"do\":{{\"shift_s\":60}}}}\n")
    );
    let file = server.state().join("control/faults.json");
    let before = fs::read_to_string(&file).unwrap();
    assert!(before.contains("\"seed\": 7"), "{before}");
    let mut command = Command::new(PVE_SIM);
    let output =
        command.args(["fault", "--state"]).arg(server.state()).args(["set", "{\"at\":1}"]).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    fault(&server, &["clear", "clock"]);
    assert_eq!(fault(&server, &["list"]), format!("{kill}\n"));
    fault(&server, &["clear"]);
    assert_eq!(fault(&server, &["list"]), "");
}

/// A held task is running until its rule is gone; `fail` gives the task its text; `nth` counts arrivals over processes.
#[tokio::test]
async fn tasks_are_held_failed_and_counted() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    fault(&server, &["set", r#"{"at":"vzsnapshot.begin","id":"100","do":"hold"}"#]);
    let upid = root.post("/nodes/pve/lxc/100/snapshot", &[("snapname", "s0")]).await.upid();
    let path = format!("/nodes/pve/tasks/{}/status", encode(&upid));
    assert_eq!(root.get(&path).await.ok()["status"], "running");
    fault(&server, &["clear", "vzsnapshot.begin"]);
    assert_eq!(root.wait(&upid).await, "OK");

    fault(&server, &["set", r#"{"at":"vzsnapshot.begin","nth":2,"do":{"fail":"out of luck"}}"#]);
    assert_eq!(snapshot(&root, "s1").await, "OK");
    assert_eq!(snapshot(&root, "s2").await, "out of luck");
    assert_eq!(snapshot(&root, "s2").await, "OK");
    // Set again, it counts anew.
    fault(&server, &["set", r#"{"at":"vzsnapshot.begin","nth":1,"do":"kill"}"#]);
    fault(&server, &["clear", "vzsnapshot.begin"]);
    fault(&server, &["set", r#"{"at":"vzsnapshot.begin","nth":1,"do":"kill"}"#]);
    assert_eq!(snapshot(&root, "s3").await, "unexpected status");
    assert_eq!(snapshot(&root, "s3").await, "OK");
}

/// The same seed makes the same tasks fail.
#[tokio::test]
async fn a_seed_chooses_the_same_tasks_again() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let rule = r#"{"at":"vzstart.begin","probability":0.5,"do":{"fail":"seeded"}}"#;
    let mut rounds = Vec::new();
    for _ in 0..2 {
        fault(&server, &["set", rule, "--seed", "11"]);
        let mut ends = Vec::new();
        for _ in 0..8 {
            let end = root.run("/nodes/pve/lxc/100/status/start", &[]).await;
            if end == "OK" {
                root.run("/nodes/pve/lxc/100/status/stop", &[]).await;
            }
            ends.push(end);
        }
        rounds.push(ends);
    }
    assert_eq!(rounds[0], rounds[1]);
    assert!(rounds[0].iter().any(|e| e == "OK") && rounds[0].iter().any(|e| e == "seeded"), "{rounds:?}");
}

/// A storage out of reach is not active; what needs it fails, in the call or in the task.
#[tokio::test]
async fn an_offline_storage_is_not_active() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    fault(&server, &["set", r#"{"at":"storage","id":"local","do":"offline"}"#]);
    assert_eq!(root.get("/nodes/pve/storage/local/status").await.ok()["active"], 0);
    root.get("/nodes/pve/storage/local/content").await.failed(500, "storage 'local' is not online");
    let form = [("vmid", "100"), ("storage", "local")];
    let upid = root.post("/nodes/pve/vzdump", &form).await.upid();
    let end = root.wait(&upid).await;
    assert!(end.contains("storage 'local' is not online"), "{end}");
    fault(&server, &["clear"]);
    assert_eq!(root.get("/nodes/pve/storage/local/status").await.ok()["active"], 1);
}

/// A clock that jumped shows in tasks, tickets and the node's time.
#[tokio::test]
async fn a_clock_that_jumps_ends_tickets() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let before = root.get("/nodes/pve/time").await.ok()["time"].as_u64().unwrap();
    fault(&server, &["set", r#"{"at":"clock","do":{"shift_s":3600}}"#]);
    let after = root.get("/nodes/pve/time").await.ok()["time"].as_u64().unwrap();
    assert!((3600..3660).contains(&(after - before)), "{before} {after}");
    let upid = root.post("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await.upid();
    let start = u64::from_str_radix(upid.split(':').nth(4).unwrap(), 16).unwrap();
    assert!(start >= after, "{start} {after}");
    assert_eq!(root.wait(&upid).await, "OK");
    // A ticket lives two hours.
    fault(&server, &["set", r#"{"at":"clock","do":{"shift_s":86400}}"#]);
    let answer = root.get("/version").await;
    assert_eq!((answer.status, answer.reason.as_str()), (401, "Authentication failed!"));
}

/// F77, F90, rec 2/131–145: after a power cycle worker, archiver and guests are gone, lock and volumes are not; the list of tasks
/// shows the dead as running until the next round, the status says at once what became of it.
#[tokio::test]
async fn f77_a_power_cycle_ends_everything_and_tidies_nothing() {
    let never = ["--runtime", "none", "--auth-delay-ms", "0", "--status-interval-ms", "3600000"];
    let server = Server::with(&never);
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
    fault(&server, &["set", r#"{"at":"vzrestore.begin","id":"210","do":"hold"}"#]);
    let form = [("vmid", "210"), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank")];
    let upid = root.post("/nodes/pve/lxc", &form).await.upid();
    until("claimed", || server.state().join("etc/pve/lxc/210.conf").exists());
    let output = Command::new(PVE_SIM).args(["reboot", "--state"]).arg(server.state()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    until("dead", || !lives(pid_of(&upid)));
    let list = root.get("/nodes/pve/tasks?source=active&vmid=210").await.ok();
    assert_eq!((&list[0]["upid"], &list[0]["status"]), (&json!(upid), &json!("RUNNING")));
    assert_eq!(root.wait(&upid).await, "unexpected status");
    assert_eq!(root.get("/nodes/pve/lxc/210/config").await.ok()["lock"], "create");
    let status = root.get("/nodes/pve/lxc/100/status/current").await.ok();
    assert_eq!(status["status"], "stopped");
    assert!(root.get("/nodes/pve/status").await.ok()["uptime"].as_u64().unwrap() < 60);
}
