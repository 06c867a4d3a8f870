//! Deaths: of a container's init, of its monitor, of the simulator in the middle of things.

use crate::lxc::world::{ADDRESS, World, page, until};
use crate::server::{Caller, kill9};

const START: &str = "/nodes/pve/lxc/100/status/start";

async fn status(root: &Caller) -> String {
    root.get("/nodes/pve/lxc/100/status/current").await.ok()["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn a_killed_init_ends_the_guest_and_leaves_nothing() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    assert_eq!(root.run(START, &[]).await, "OK");
    let (init, _) = world.container(100).init().unwrap();
    kill9(i32::try_from(init).unwrap());
    until("the guest is stopped", || !world.container(100).running());
    assert_eq!(status(&root).await, "stopped");
    until("nothing is left", || world.traces().is_empty());
    assert_eq!(root.run(START, &[]).await, "OK");
}

/// Unrecorded: by PVE/LXC.pm of pve-container the guest counts as stopped, whatever of it still runs.
#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn what_a_killed_monitor_leaves_is_ended_by_the_next_start() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    for way in ["start", "poweroff"] {
        assert_eq!(root.run(START, &[]).await, "OK");
        until("the guest answers", || page(ADDRESS).is_some());
        let (init, _) = world.container(100).init().unwrap();
        kill9(parent(init));
        until("the monitor is gone", || !world.container(100).running());
        assert_eq!(status(&root).await, "stopped");
        assert!(!world.traces().is_empty(), "its processes go on");
        if way == "start" {
            assert_eq!(root.run(START, &[]).await, "OK");
            assert_ne!(world.container(100).init().unwrap().0, init);
            assert!(state(init).is_none_or(|state| state == "Z"), "nobody may have waited for it yet");
            until("the new one answers", || page(ADDRESS).is_some());
            assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "OK");
        } else {
            assert!(world.node(&["reboot"], &["--off"]).status.success());
        }
        assert_eq!(world.traces(), [""; 0], "{way}");
    }
}

fn parent(pid: u32) -> i32 {
    stat(pid, 1).unwrap().parse().unwrap()
}

fn state(pid: u32) -> Option<String> {
    stat(pid, 0)
}

fn stat(pid: u32, field: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(field).map(str::to_owned)
}

/// The worker dies with the simulator, at a place of each task.
#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn a_simulator_killed_in_the_middle_leaves_what_the_next_start_takes_over_or_clears() {
    let mut world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    let backup = [("vmid", "100"), ("storage", "local"), ("mode", "snapshot"), ("remove", "0")];
    let places = [
        ("vzstart.locked", START),
        ("vzstart.started", START),
        ("vzstop.begin", "/nodes/pve/lxc/100/status/stop"),
        ("vzdump.frozen", "/nodes/pve/vzdump"),
        ("vzdump.archive", "/nodes/pve/vzdump"),
        ("vzshutdown.begin", "/nodes/pve/lxc/100/status/shutdown"),
    ];
    for (place, path) in places {
        let form = if path.ends_with("vzdump") { &backup[..] } else { &[] };
        let root = world.root().await;
        if !place.starts_with("vzstart") && status(&root).await == "stopped" {
            assert_eq!(root.run(START, &[]).await, "OK", "{place}");
        } else if place.starts_with("vzstart") && status(&root).await == "running" {
            assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "OK", "{place}");
        }
        let rule = format!(r#"{{"at": "{place}", "do": "hold"}}"#);
        assert!(world.node(&["fault"], &["set", &rule]).status.success());
        let upid = root.post(path, form).await.upid();
        let held = world.state().join("run/held");
        until(place, || std::fs::read_dir(&held).is_ok_and(|mut all| all.next().is_some()));
        world.kill();
        kill9(crate::server::pid_of(&upid));
        assert!(world.node(&["fault"], &["clear"]).status.success());
        let _ = std::fs::remove_dir_all(&held);
        world.restart();
        let root = world.root().await;
        // What an administrator does: thaw, unlock; then it starts, or runs already, and can be stopped.
        let _ = world.node(&["lxc-unfreeze"], &["-n", "100"]);
        let _ = world.node(&["pct", "unlock", "100"], &[]);
        if status(&root).await == "stopped" {
            assert_eq!(root.run(START, &[]).await, "OK", "{place}");
        }
        until(place, || page(ADDRESS).is_some_and(|text| text.contains("here I am")));
        assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "OK", "{place}");
        assert_eq!(world.traces(), [""; 0], "{place}");
    }
}

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn a_restore_that_dies_leaves_volumes_and_no_container() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    let rule = r#"{"at": "vzrestore.tar", "id": "101", "do": "kill"}"#;
    assert!(world.node(&["fault"], &["set", rule]).status.success());
    world.restore(&root, 101, "local:backup/vzdump-lxc-998-2026_01_01-00_00_00.tar.zst").await;
    assert!(world.node(&["fault"], &["clear"]).status.success());
    assert_eq!(world.traces(), [""; 0]);
    let ended = root.run("/nodes/pve/lxc/101/status/start", &[]).await;
    assert_ne!(ended, "OK");
    assert!(world.node(&["pct", "unlock", "101"], &[]).status.success());
    assert!(world.node(&["pct", "rescan"], &["--vmid", "101"]).status.success());
    let upid = root.delete("/nodes/pve/lxc/101").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(!world.tree(101, 0).exists());
    assert_eq!(root.run(START, &[]).await, "OK");
}
