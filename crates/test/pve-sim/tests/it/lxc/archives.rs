//! Backups of containers: what is in them is what the guest sees.

use std::process::Command;

use crate::lxc::world::World;

const START: &str = "/nodes/pve/lxc/100/status/start";
/// Everything that a restore must bring back.
const LOOK: &str = "cd /data; cat file; stat -c '%n %u:%g %a %F %t:%T' file set-id attribute whiteout new";

#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn owners_modes_attributes_and_whiteouts_come_back_from_each_mode() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    assert_eq!(root.run(START, &[]).await, "OK");
    world.says(100, "echo fresh >/data/new; busybox chown 33:34 /data/new; busybox chmod 2750 /data/new");
    let before = world.says(100, LOOK);
    assert!(before.contains("set-id 1000:1000 4755 regular file"), "{before}");
    assert!(before.contains("whiteout 0:0 0 character special file 0:0"), "{before}");
    assert!(before.contains("new 33:34 2750 regular"), "{before}");
    for (vmid, mode) in [(101, "snapshot"), (102, "suspend"), (103, "stop")] {
        let form =
            [("vmid", "100"), ("storage", "local"), ("mode", mode), ("compress", "zstd"), ("remove", "0")];
        let upid = root.post("/nodes/pve/vzdump", &form).await.upid();
        assert_eq!(root.wait(&upid).await, "OK", "{mode}: {:?}", root.log(&upid).await);
        let archives = root.get("/nodes/pve/storage/local/content?content=backup&vmid=100").await.ok();
        let newest = archives.as_array().unwrap().iter().max_by_key(|a| a["ctime"].as_u64()).unwrap();
        let volid = newest["volid"].as_str().unwrap();
        assert_eq!(world.restore(&root, vmid, volid).await, "OK");
        let net = ("net0", "name=eth0,bridge=vmbr0,type=veth,link_down=1");
        root.put(&format!("/nodes/pve/lxc/{vmid}/config"), &[net]).await.ok();
        assert_eq!(root.run(&format!("/nodes/pve/lxc/{vmid}/status/start"), &[]).await, "OK");
        assert_eq!(world.says(vmid, LOOK), before, "{mode}");
        assert_eq!(attribute(&world, vmid), "b", "{mode}");
        assert_eq!(world.says(100, "echo still here"), "still here", "{mode}");
    }
}

fn attribute(world: &World, vmid: u32) -> String {
    let mut buffer = [0; 16];
    let count =
        rustix::fs::getxattr(world.tree(vmid, 1).join("attribute"), "user.a", &mut buffer[..]).unwrap();
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// The tar of any other system reads it: the guest's ids, not this machine's.
#[tokio::test]
#[ignore = "needs root and LXC: cargo xtask test lxc"]
async fn an_archive_names_the_guests_own_ids() {
    let world = World::new();
    let root = world.root().await;
    world.guest(&root, 100).await;
    let form =
        [("vmid", "100"), ("storage", "local"), ("mode", "stop"), ("compress", "zstd"), ("remove", "0")];
    assert_eq!(root.run("/nodes/pve/vzdump", &form).await, "OK");
    let archives = std::fs::read_dir(world.dump()).unwrap().flatten().map(|entry| entry.path());
    let path = archives.into_iter().find(|p| {
        let name = p.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("vzdump-lxc-100-") && name.ends_with(".tar.zst")
    });
    let listed =
        Command::new("tar").args(["--zstd", "--numeric-owner", "-tvf"]).arg(path.unwrap()).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let line = |name: &str| text.lines().find(|line| line.ends_with(name)).unwrap_or_default().to_owned();
    assert!(line(" ./data/set-id").starts_with("-rwsr-xr-x 1000/1000"), "{text}");
    assert!(line(" ./").starts_with("drwxr-xr-x 0/0"), "{text}");
    assert!(line(" ./data/whiteout").starts_with('c'), "{text}");
}
