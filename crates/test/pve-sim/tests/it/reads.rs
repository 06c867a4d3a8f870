//! F19, F26, F29, F34, F48, F89, F98: what can be read of a cluster and a node, index pages, lists of tasks, presets.

use serde_json::{Value as Json, json};

use crate::server::{Caller, PASSWORD, Server, encode};

fn names(list: &Json, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|e| e[key].as_str().unwrap_or_default().to_owned()).collect()
}

/// An auditor's token: PVEAuditor on /, propagated, for user and token.
async fn auditor(server: &Server, root: &Caller) -> Caller {
    root.post("/access/users", &[("userid", "audit@pve")]).await.ok();
    let made = root.post("/access/users/audit@pve/token/ro", &[]).await.ok();
    let form = [("path", "/"), ("roles", "PVEAuditor"), ("users", "audit@pve"), ("tokens", "audit@pve!ro")];
    root.put("/access/acl", &form).await.ok();
    server.token("audit@pve!ro", made["value"].as_str().unwrap())
}

/// rec 387–389, 660, 676, 677: index pages; a guest's needs the guest.
#[tokio::test]
async fn index_pages_list_the_children() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let all = ["version", "cluster", "nodes", "storage", "access", "pools"];
    for path in ["/", ""] {
        assert_eq!(names(&root.get(path).await.ok(), "subdir"), all);
    }
    let node = names(&root.get("/nodes/pve").await.ok(), "name");
    assert_eq!((node.len(), node[0].as_str(), node[40].as_str()), (41, "aplinfo", "wakeonlan"));
    let guest = names(&root.get("/nodes/pve/lxc/100").await.ok(), "subdir");
    assert_eq!((guest.len(), guest[0].as_str(), guest[14].as_str()), (15, "config", "interfaces"));
    let status = names(&root.get("/nodes/pve/lxc/100/status").await.ok(), "subdir");
    assert_eq!(status, ["current", "start", "stop", "shutdown", "reboot", "migrate"]);
    assert_eq!(root.get("/nodes/pve/storage/local").await.ok().as_array().unwrap().len(), 11);
    assert!(names(&root.get("/cluster").await.ok(), "name").contains(&"resources".to_owned()));
    assert_eq!(names(&root.get("/access").await.ok(), "subdir")[0], "users");
    let missing = "Configuration file 'nodes/pve/lxc/101.conf' does not exist";
    root.get("/nodes/pve/lxc/101").await.failed(500, missing);
}

/// F98, rec 2/967–1019: an auditor reads everything but updates, logs and scans.
#[tokio::test]
async fn f98_an_auditor_reads_all_but_a_few() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let audit = auditor(&server, &root).await;
    for path in [
        "/cluster/resources",
        "/cluster/status",
        "/cluster/options",
        "/cluster/tasks",
        "/cluster/nextid",
        "/cluster/mapping/dir",
        "/cluster/metrics/server",
        "/nodes",
        "/nodes/pve/lxc",
        "/nodes/pve/status",
        "/nodes/pve/storage",
        "/nodes/pve/network?type=any_bridge",
        "/nodes/pve/time",
        "/nodes/pve/dns",
        "/nodes/pve/hosts",
        "/nodes/pve/subscription",
        "/nodes/pve/services",
        "/nodes/pve/netstat",
        "/nodes/pve/config",
        "/nodes/pve/version",
        "/nodes/pve/tasks?limit=2",
        "/nodes/pve/rrddata?timeframe=hour",
        "/nodes/pve/lxc/100/rrddata?timeframe=hour",
        "/nodes/pve/storage/tank/rrddata?timeframe=hour",
        "/nodes/pve/firewall/rules",
        "/storage",
        "/pools",
        "/access/acl",
        "/access/users",
        "/access/permissions",
    ] {
        let answer = audit.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    for (path, needed) in [
        ("/nodes/pve/apt/update", "/nodes/pve, Sys.Modify"),
        ("/nodes/pve/syslog?limit=2", "/nodes/pve, Sys.Syslog"),
        ("/nodes/pve/journal?lastentries=2", "/nodes/pve, Sys.Syslog"),
        ("/nodes/pve/scan/nfs?server=127.0.0.1", "/storage, Datastore.Allocate"),
    ] {
        audit.get(path).await.failed(403, &format!("Permission check failed ({needed})"));
    }
    root.get("/nodes/pve/apt/update").await.failed(501, "Method 'GET /nodes/pve/apt/update' not implemented");
}

/// rec 2/967, 1027: pools with their members' sums, the network zone and storages only for who may audit them.
#[tokio::test]
async fn resources_have_pools_and_are_filtered() {
    let server = Server::with(&["--runtime", "none", "--auth-delay-ms", "0", "--status-interval-ms", "20"]);
    let root = server.root().await;
    server.restored(&root, 100).await;
    root.post("/pools", &[("poolid", "p1")]).await.ok();
    root.put("/pools", &[("poolid", "p1"), ("vms", "100")]).await.ok();
    root.run("/nodes/pve/lxc/100/status/start", &[]).await;
    let all = loop {
        let all = root.get("/cluster/resources").await.ok();
        let running = all.as_array().unwrap().iter().any(|e| e["type"] == "pool" && e["maxmem"].is_number());
        if running {
            break all;
        }
    };
    let kinds = names(&all, "type");
    assert_eq!(kinds, ["pool", "lxc", "node", "storage", "storage", "network"]);
    assert_eq!((&all[0]["id"], &all[0]["maxmem"]), (&json!("/pool/p1"), &json!(256 << 20)));
    let tenant =
        server.tenant(&root, "Datastore.AllocateSpace,Pool.Audit", &["/storage/tank", "/pool/p1"]).await;
    let seen = tenant.get("/cluster/resources").await.ok();
    assert_eq!(names(&seen, "type"), ["pool", "node"]);
    assert_eq!(tenant.get("/cluster/options").await.ok(), json!({"allowed-tags": ["golden"]}));
    tenant.get("/cluster/status").await.failed(403, "Permission check failed (/, Sys.Audit)");
}

/// F34, F89, rec 438, 2/598–606, 1129–1132: filters of the list of tasks.
#[tokio::test]
async fn f34_the_list_of_tasks_is_filtered() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    assert_eq!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await, "OK");
    assert_ne!(root.run("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await, "OK");
    root.finished("?errors=1").await;
    let count = |query: &'static str| {
        let root = root.clone();
        async move { root.get(&format!("/nodes/pve/tasks?{query}")).await.ok().as_array().unwrap().len() }
    };
    assert_eq!(count("errors=1").await, 1);
    assert_eq!(count("statusfilter=ok").await, 2);
    assert_eq!(count("statusfilter=OK,error&limit=2").await, 2);
    assert_eq!(count("statusfilter=unknown").await, 0);
    assert_eq!(count("typefilter=vzsnapshot").await, 2);
    assert_eq!(count("userfilter=ROOT&vmid=100").await, 3);
    assert_eq!(count("userfilter=nobody").await, 0);
    assert_eq!(count("since=4000000000").await, 0);
    assert_eq!(count("limit=0").await, 0);
    assert_eq!(count("start=2").await, 1);
    let none = root.get("/nodes/pve/tasks?vmid=999").await;
    assert_eq!(none.json, json!({"data": []}), "nothing has no total");
    root.get("/nodes/pve/tasks?statusfilter=odd").await.failed(400, "Parameter verification failed.");
}

/// F29, rec 442–445, 2/606: who sees whose tasks.
#[tokio::test]
async fn f29_tasks_are_seen_by_their_owner_and_by_auditors() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let token = server.tenant(&root, "VM.Snapshot,VM.Audit", &["/vms/100"]).await;
    let made = root.post("/access/users/t@pve/token/other", &[("privsep", "0")]).await.ok();
    let sibling = server.token("t@pve!other", made["value"].as_str().unwrap());
    root.put(
        "/access/password",
        &[("userid", "t@pve"), ("password", PASSWORD), ("confirmation-password", PASSWORD)],
    )
    .await;
    let upid = token.post("/nodes/pve/lxc/100/snapshot", &[("snapname", "s1")]).await.upid();
    assert_eq!(token.wait(&upid).await, "OK");
    root.finished("?typefilter=vzsnapshot").await;
    let status = format!("/nodes/pve/tasks/{}/status", encode(&upid));
    sibling.get(&status).await.failed(403, "Permission check failed (/nodes/pve, Sys.Audit)");
    assert_eq!(sibling.get("/nodes/pve/tasks").await.ok(), json!([]));
    assert_eq!(token.get("/nodes/pve/tasks").await.ok().as_array().unwrap().len(), 1);
    assert_eq!(token.get("/cluster/tasks").await.ok(), json!([]), "not even its own");
    let audit = auditor(&server, &root).await;
    assert_eq!(audit.get(&status).await.ok()["exitstatus"], "OK");
    let recent = audit.get("/cluster/tasks").await.ok();
    assert_eq!(recent.as_array().unwrap().len(), 2);
    assert_eq!((&recent[0]["saved"], &recent[1]["saved"]), (&json!(1), &json!("1")), "rec 456");
}

/// `--preset busy`: fifty guests that can be read, snapshot and destroyed; a password is made up.
#[tokio::test]
async fn the_busy_preset_has_fifty_guests() {
    let server = Server::with(&["--runtime", "none", "--auth-delay-ms", "0", "--preset", "busy"]);
    let root = server.root().await;
    assert_eq!(root.get("/nodes/pve/lxc").await.ok().as_array().unwrap().len(), 50);
    assert_eq!(root.get("/pools").await.ok().as_array().unwrap().len(), 5);
    assert_eq!(root.get("/cluster/nextid").await.ok(), "150");
    assert_eq!(root.run("/nodes/pve/lxc/103/snapshot", &[("snapname", "s1")]).await, "OK");
    let upid = root.delete("/nodes/pve/lxc/103").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
}
