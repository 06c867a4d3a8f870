//! Start, stop, network, limits.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::lxc::world::{ADDRESS, World, page, until};

const START: &str = "/nodes/pve/lxc/100/status/start";
const CONFIG: &str = "/nodes/pve/lxc/100/config";

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn a_guest_is_an_unprivileged_container_with_its_name_volumes_and_limits() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    root.put(CONFIG, &[("hostname", "box.example.org")]).await.ok();
    assert_eq!(root.run(START, &[]).await, "OK");
    assert_eq!(world.says(100, "id -u"), "0");
    let map: Vec<String> =
        world.says(100, "cat /proc/1/uid_map").split_whitespace().map(str::to_owned).collect();
    assert_eq!(map, ["0", "100000", "65536"]);
    let ours = fs::metadata(world.tree(100, 0).join("sbin/init")).unwrap();
    assert_eq!((ours.uid(), ours.gid(), ours.mode() & 0o7777), (100_000, 100_000, 0o755));
    assert_eq!(world.says(100, "cat /etc/hostname; hostname"), "box\nbox.example.org");
    assert!(world.says(100, "cat /etc/hosts").contains("127.0.1.1 box.example.org box\n"));
    assert_eq!(
        world.says(100, "cat /data/file; stat -c %u:%a /data/file /data/set-id"),
        "v1\n1000:640\n1000:4755"
    );
    // 64 MiB and 32 MiB of swap: what takes more is ended, the guest is not.
    let (code, _) = world.exec(100, "dd if=/dev/zero of=/dev/null bs=120M count=1");
    assert_ne!(code, Some(0));
    let status = root.get("/nodes/pve/lxc/100/status/current").await.ok();
    assert_eq!(status["status"], "running");
    let memory = status["mem"].as_u64().unwrap();
    assert!((1..64 << 20).contains(&memory), "{memory}");
    assert!(status["pid"].as_u64().unwrap() > 1 && status["uptime"].as_u64().unwrap() < 60);
}

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn link_down_is_honoured_at_a_start_and_while_it_runs() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    let up = "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth";
    let down = format!("{up},link_down=1");
    root.put(CONFIG, &[("net0", &down)]).await.ok();
    assert_eq!(root.run(START, &[]).await, "OK");
    until("the guest answers itself", || {
        world.exec(100, "busybox wget -qO- http://127.0.0.1/index.html").1 == "here I am"
    });
    assert_eq!(page(ADDRESS), None);
    root.put(CONFIG, &[("net0", up)]).await.ok();
    until("the guest answers", || page(ADDRESS).is_some_and(|text| text.contains("here I am")));
    let shown = root.get("/nodes/pve/lxc/100/interfaces").await.ok();
    let eth0 = shown.as_array().unwrap().iter().find(|i| i["name"] == "eth0").unwrap();
    assert_eq!(
        (&eth0["inet"], &eth0["hwaddr"]),
        (&format!("{ADDRESS}/24").into(), &"bc:24:11:00:00:01".into())
    );
    root.put(CONFIG, &[("net0", &down)]).await.ok();
    until("the guest cannot be reached", || page(ADDRESS).is_none());
}

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn shutdown_asks_and_stop_does_not() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    assert_eq!(root.run(START, &[]).await, "OK");
    root.post(START, &[]).await.failed(500, "CT 100 already running");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/shutdown", &[("timeout", "10")]).await, "OK");
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.ok()["status"], "stopped");
    assert_eq!(root.run(START, &[]).await, "OK");
    // An init that does not listen.
    world.says(100, "echo 'trap \"\" PWR; while :; do sleep 1; done' >/sbin/init2; echo '#!/bin/sh' >/sbin/init; cat /sbin/init2 >>/sbin/init");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "OK");
    assert_eq!(root.run(START, &[]).await, "OK");
    let ended = root.run("/nodes/pve/lxc/100/status/shutdown", &[("timeout", "1")]).await;
    assert_eq!(ended, "container did not stop");
    let ended = root.run("/nodes/pve/lxc/100/status/shutdown", &[("timeout", "1"), ("forceStop", "1")]).await;
    assert_eq!(ended, "OK");
    assert_eq!(world.traces(), [""; 0]);
}

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn what_cannot_be_a_container_is_refused_with_its_reason() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    root.put(CONFIG, &[("net0", "name=eth0,bridge=vmbr7,type=veth")]).await.ok();
    assert_eq!(root.run(START, &[]).await, "bridge 'vmbr7' does not exist");
    let path = world.state().join("etc/pve/lxc/100.conf");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("unprivileged: 1", "unprivileged: 0")).unwrap();
    let ended = root.run(START, &[]).await;
    assert!(ended.contains("only unprivileged containers"), "{ended}");
    fs::write(&path, text.replace("vmbr7", "vmbr0")).unwrap();
    fs::remove_file(world.tree(100, 0).join("sbin/init")).unwrap();
    let ended = root.run(START, &[]).await;
    assert!(ended.starts_with("startup for container '100' failed"), "{ended}");
    assert_eq!(world.traces(), [""; 0]);
}
