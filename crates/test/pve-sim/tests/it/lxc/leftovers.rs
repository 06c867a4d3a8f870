//! Starting and stopping leaves nothing on this machine.

use crate::lxc::world::World;

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn twenty_starts_and_stops_leave_nothing() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    for round in 0..20 {
        assert_eq!(root.run("/nodes/pve/lxc/100/status/start", &[]).await, "OK", "{round}");
        let way = if round % 2 == 0 { "stop" } else { "shutdown" };
        assert_eq!(root.run(&format!("/nodes/pve/lxc/100/status/{way}"), &[]).await, "OK", "{round}");
        assert_eq!(world.traces(), [""; 0], "{round}");
    }
    // Powered off, the host has no network here any more.
    assert!(world.node(&["reboot"], &["--off"]).status.success());
    let names: Vec<String> = std::fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.ends_with("vmbr0") && name.starts_with('v')), "{names:?}");
}
