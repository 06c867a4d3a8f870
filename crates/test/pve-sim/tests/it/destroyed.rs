//! The log of what was destroyed: it judges others, so it has to name each thing, who did it, and nothing else.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value as Json, json};

use crate::restore::{PATH, restore, rules};
use crate::server::{ARCHIVE, Server, encode};

/// What was noted since the last look: `KIND ID`, with `own` behind what the task made itself.
fn noted(server: &Server, seen: &mut usize) -> BTreeSet<String> {
    let text = fs::read_to_string(server.state().join("var/log/destroyed.log")).unwrap_or_default();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = |line: &Json| {
        assert!(line["by"].as_str().unwrap().starts_with("UPID:pve:"), "{line}");
        assert!(line["at"].as_str().unwrap().starts_with("20"), "{line}");
        let own = if line["own"] == true { " own" } else { "" };
        format!("{} {}{own}", line["what"].as_str().unwrap(), line["id"].as_str().unwrap())
    };
    let new = lines[*seen..].iter().map(shown).collect();
    *seen = lines.len();
    new
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn volume(vmid: u32, disk: u32) -> String {
    format!("volume tank:{vmid}/vm-{vmid}-disk-{disk}.raw")
}

#[tokio::test]
async fn each_thing_that_goes_is_noted_and_nothing_else() {
    let server = Server::start();
    let root = server.root().await;
    let mut seen = 0;
    server.restored(&root, 100).await;
    assert_eq!(noted(&server, &mut seen), set(&[]), "a restore to a free VMID destroys nothing");
    let snapshot = "/nodes/pve/lxc/100/snapshot";
    assert_eq!(root.run(snapshot, &[("snapname", "s1")]).await, "OK");
    root.put("/nodes/pve/lxc/100/config", &[("delete", "mp1")]).await.ok();
    root.put("/nodes/pve/lxc/100/config", &[("description", "x"), ("memory", "300")]).await.ok();
    assert_eq!(noted(&server, &mut seen), set(&[]), "what becomes unused stays");

    let disks: Vec<String> = (0..3).map(|disk| volume(100, disk)).collect();
    assert_eq!(root.run(&format!("{snapshot}/s1/rollback"), &[]).await, "OK");
    let contents: Vec<String> = disks.iter().map(|d| d.replace("volume", "contents")).collect();
    assert_eq!(noted(&server, &mut seen), contents.iter().cloned().collect());
    let upid = root.delete(&format!("{snapshot}/s1")).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let snapshots = disks.iter().map(|d| format!("{}@s1", d.replace("volume", "snapshot")));
    assert_eq!(noted(&server, &mut seen), snapshots.collect());

    assert_eq!(root.run(PATH, &restore("100", &[("force", "1"), ("storage", "tank")])).await, "OK");
    let mut replaced: BTreeSet<String> = disks.iter().cloned().collect();
    replaced.insert("guest 100".to_owned());
    assert_eq!(noted(&server, &mut seen), replaced, "F55: a forced restore takes all of them");

    let upid = root.delete("/nodes/pve/lxc/100").await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    let mut gone: BTreeSet<String> = (3..6).map(|disk| volume(100, disk)).collect();
    gone.insert("guest 100".to_owned());
    assert_eq!(noted(&server, &mut seen), gone);

    let upid = root.delete(&format!("/nodes/pve/storage/local/content/{}", encode(ARCHIVE))).await;
    let file = format!("file /var/lib/vz/dump/{}", ARCHIVE.rsplit('/').next().unwrap());
    assert_eq!(root.wait(&upid.upid()).await, "OK");
    assert_eq!(noted(&server, &mut seen), set(&[&file]));
}

/// A restore that fails takes away what it made: that is noted as its own.
#[tokio::test]
async fn what_a_failing_task_made_is_noted_as_its_own() {
    let server = Server::start();
    let root = server.root().await;
    server.add_archive();
    rules(&server, &json!([{ "at": "vzrestore.disks", "id": "100", "do": { "fail": "no luck" } }]));
    let mut seen = 0;
    assert_eq!(
        root.run(PATH, &restore("100", &[("storage", "tank")])).await,
        "unable to restore CT 100 - no luck"
    );
    assert_eq!(noted(&server, &mut seen), set(&["guest 100 own"]));
}

/// Backups that a backup's own retention removes are noted, and the one that it makes is not.
#[tokio::test]
async fn backups_that_retention_removes_are_noted() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let mut seen = 0;
    let form =
        [("vmid", "100"), ("storage", "local"), ("prune-backups", "keep-last=1"), ("compress", "zstd")];
    assert_eq!(root.run("/nodes/pve/vzdump", &form).await, "OK");
    assert!(noted(&server, &mut seen).iter().all(|line| line.starts_with("snapshot ")));
    let made = || -> BTreeSet<String> {
        let all = fs::read_dir(server.dump()).unwrap().flatten();
        let names = all.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.contains("-100-") && name.ends_with(".tar.zst")).collect()
    };
    let first = made();
    assert_eq!(first.len(), 1);
    // Two in one second have one name.
    while made().len() < 2 {
        assert_eq!(root.run("/nodes/pve/vzdump", &[form[0], form[1], form[3]]).await, "OK");
    }
    noted(&server, &mut seen);
    assert_eq!(root.run("/nodes/pve/vzdump", &form).await, "OK");
    let first = first.first().unwrap();
    assert!(noted(&server, &mut seen).contains(&format!("file /var/lib/vz/dump/{first}")));
}
