//! F18, F79 and calls that go wrong on demand.

use std::fs::{self, File};
use std::path::PathBuf;

use serde_json::json;

use crate::faults::fault;
use crate::server::Server;

/// Holds a guest's configuration lock until it is dropped.
fn hold_lock(server: &Server, vmid: u32) -> File {
    let path: PathBuf = server.state().join(format!("run/lock/pve-config-{vmid}.lock"));
    let file = File::create(path).unwrap();
    file.lock().unwrap();
    file
}

fn memory(server: &Server) -> String {
    let text = fs::read_to_string(server.state().join("etc/pve/lxc/100.conf")).unwrap();
    text.lines().find(|l| l.starts_with("memory: ")).unwrap().to_owned()
}

/// F18, rec 206, 208: pveproxy gives up after its time limit with an empty 596, while the call goes on and takes effect.
#[tokio::test]
async fn f18_a_call_that_takes_too_long_is_a_596_and_goes_on() {
    let server = Server::with(&["--runtime", "none", "--auth-delay-ms", "0", "--proxy-timeout-ms", "1000"]);
    let root = server.root().await;
    server.restored(&root, 100).await;
    let held = hold_lock(&server, 100);
    let answer = root.put("/nodes/pve/lxc/100/config", &[("memory", "333")]).await;
    let got = (answer.status, answer.reason.as_str(), answer.body.as_str());
    assert_eq!(got, (596, "Connection timed out", ""));
    assert!(answer.headers.get("content-type").is_none());
    assert_eq!(memory(&server), "memory: 256");
    drop(held);
    crate::support::until("applied", || memory(&server) == "memory: 333");
}

/// F18: three blocked calls occupy pvedaemon's three workers; a fourth call that needs one waits, one that needs none does not.
#[tokio::test]
async fn f18_a_fourth_protected_call_waits() {
    let server = Server::with(&["--runtime", "none", "--auth-delay-ms", "0", "--proxy-timeout-ms", "1500"]);
    let root = server.root().await;
    server.restored(&root, 100).await;
    let held = hold_lock(&server, 100);
    let put = || root.put("/nodes/pve/lxc/100/config", &[("memory", "300")]);
    let (a, b, c) = tokio::join!(put(), put(), put());
    assert_eq!((a.status, b.status, c.status), (596, 596, 596));
    // Nobody waits for them any more, but they still occupy the workers.
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.status, 596);
    root.get("/version").await.ok();
    drop(held);
    root.get("/nodes/pve/lxc/100/status/current").await.ok();
}

/// F79, rec 2/622–625: with pvedaemon dead, protected calls are an empty 595, others work.
#[tokio::test]
async fn f79_without_pvedaemon_protected_calls_are_595() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    fault(&server, &["set", r#"{"at":"pvedaemon","do":"dead"}"#]);
    root.get("/nodes/pve/lxc/100/config").await.ok();
    root.get("/nodes/pve/tasks?source=active").await.ok();
    let answer = root.post("/nodes/pve/lxc/100/status/start", &[]).await;
    let got = (answer.status, answer.reason.as_str(), answer.body.as_str());
    assert_eq!(got, (595, "Connection refused", ""));
    fault(&server, &["clear"]);
    assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK");
}

/// A connection that drops before the work was done, and one that drops after it: the caller cannot tell them apart.
#[tokio::test]
async fn connections_drop_before_and_after_the_work() {
    let server = Server::start();
    let root = server.root().await;
    for (act, done) in [("drop_before", json!([])), ("drop_after", json!([{"poolid": "p1"}]))] {
        let rule = format!(r#"{{"at":"http","method":"POST","path":"/pools","do":"{act}"}}"#);
        fault(&server, &["set", &rule]);
        let form = Some(("application/x-www-form-urlencoded", "poolid=p1".to_owned()));
        assert!(root.try_send("POST", "/pools", form).await.is_err(), "{act}");
        assert_eq!(root.get("/pools").await.ok(), done, "{act}");
        fault(&server, &["clear"]);
    }
}

/// 596 with the work done, 500 with a text and without it, by path and by number.
#[tokio::test]
async fn calls_fail_on_demand() {
    let server = Server::start();
    let root = server.root().await;
    fault(&server, &["set", r#"{"at":"http","path":"/pools","method":"POST","nth":1,"do":"timeout"}"#]);
    fault(&server, &["set", r#"{"at":"http","path":"/nodes/*/status","do":{"fail":"out of order"}}"#]);
    let answer = root.post("/pools", &[("poolid", "p1")]).await;
    assert_eq!((answer.status, answer.reason.as_str()), (596, "Connection timed out"));
    root.post("/pools", &[("poolid", "p2")]).await.ok();
    assert_eq!(root.get("/pools").await.ok().as_array().unwrap().len(), 2);
    root.get("/nodes/pve/status").await.failed(500, "out of order");
    fault(&server, &["clear", "http"]);
    root.get("/nodes/pve/status").await.ok();
}
