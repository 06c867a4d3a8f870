//! What root does at the node's own shell works with containers: exec, push, bind mounts, thaw.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::lxc::world::World;

const START: &str = "/nodes/pve/lxc/100/status/start";

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn exec_ends_as_the_program_does() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    let output = world.node(&["pct", "exec", "100"], &["--", "/bin/true"]);
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "container '100' not running!\n");
    assert_eq!(root.run(START, &[]).await, "OK");
    assert_eq!(world.exec(100, "exit 7").0, Some(7));
    assert_eq!(world.node(&["pct", "exec", "100"], &["--", "/no/such"]).status.code(), Some(127));
    let output = world.node(&["pct", "exec", "100"], &["--", "/bin/sh", "-c", "cat <&0; echo oops >&2"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "oops\n");
    assert_eq!(world.says(100, "echo $HOME$PVE_SIM_STATE"), "");
}

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn push_writes_by_the_guests_own_paths_and_names() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    let file = world.state().parent().unwrap().join("to-push");
    fs::write(&file, "secret\n").unwrap();
    let push = |to: &str, more: &[&str]| {
        world.node(&["pct", "push", "100"], &[&[file.to_str().unwrap(), to], more].concat())
    };
    let output = push("/run/x", &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "can only push files to a running CT\n");
    assert_eq!(root.run(START, &[]).await, "OK");
    world.says(100, "busybox mount -t tmpfs none /run");
    assert!(push("/run/x", &["--perms", "0600", "--user", "app", "--group", "1000"]).status.success());
    // Only the container sees its own mounts.
    assert_eq!(world.says(100, "cat /run/x; stat -c %u:%g:%a /run/x"), "secret\n1000:1000:600");
    assert!(!world.tree(100, 0).join("run/x").exists());
    let unknown = push("/run/y", &["--user", "nobody-here"]);
    assert!(!unknown.status.success());
    // A link leads to where the guest sees it lead, never to a file of this machine.
    let outside = world.state().parent().unwrap().join("outside");
    fs::write(&outside, "untouched").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o666)).unwrap();
    symlink(&outside, world.tree(100, 0).join("etc/leak")).unwrap();
    assert!(!push("/etc/leak", &[]).status.success());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
    assert!(push("/data/file", &[]).status.success());
    let log = fs::read_to_string(world.state().join("var/log/destroyed.log")).unwrap();
    assert!(log.contains("100:/data/file") && !log.contains("100:/run/x"), "{log}");
}

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn a_bind_mount_is_there_at_once_and_after_a_start() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    let (first, second) = (world.state().join("srv/one"), world.state().join("srv/a b"));
    for (dir, text) in [(&first, "1"), (&second, "2")] {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("file"), text).unwrap();
    }
    let set = |key: &str, dir: &std::path::Path, mp: &str| {
        let output = world.node(&["pct", "set", "100"], &[key, &format!("{},mp={mp}", dir.display())]);
        assert!(output.status.success(), "{output:?}");
    };
    set("--mp7", &first, "/srv/one");
    assert_eq!(root.run(START, &[]).await, "OK");
    assert_eq!(world.says(100, "cat /srv/one/file"), "1");
    set("--mp8", &second, "/srv/two");
    assert_eq!(world.says(100, "cat /srv/two/file; stat -c %u /srv/two"), "265534");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/reboot", &[("timeout", "10")]).await, "OK");
    assert_eq!(world.says(100, "cat /srv/one/file /srv/two/file"), "12");
    assert_eq!(root.run("/nodes/pve/lxc/100/status/stop", &[]).await, "OK");
    assert_eq!(world.traces(), [""; 0]);
    assert_eq!(fs::read_to_string(second.join("file")).unwrap(), "2");
}

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn what_a_dead_snapshot_froze_is_thawed_by_hand() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    assert_eq!(root.run(START, &[]).await, "OK");
    let fault = r#"{"at": "vzsnapshot.frozen", "do": "kill"}"#;
    assert!(world.node(&["fault"], &["set", fault]).status.success());
    let upid = root.post("/nodes/pve/lxc/100/snapshot", &[("snapname", "snap")]).await.upid();
    root.wait(&upid).await;
    let state = |world: &World| {
        String::from_utf8(world.node(&["lxc-info"], &["-n", "100"]).stdout).unwrap().trim().to_owned()
    };
    assert_eq!(state(&world), "State:          FROZEN");
    assert!(world.node(&["lxc-unfreeze"], &["-n", "100"]).status.success());
    assert_eq!(state(&world), "State:          RUNNING");
    assert_eq!(world.says(100, "echo again"), "again");
}
