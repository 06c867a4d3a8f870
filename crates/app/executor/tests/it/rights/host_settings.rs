//! Every backup reads the effective settings of the host first, and refuses those that are not ours (F67, F68).

use std::fs;

use felhom_model::OperationState;
use serde_json::json;

use super::world::{Right, World};

/// Lines of `/etc/vzdump.conf`, and what is to be changed.
const LINES: [(&str, &str); 5] = [
    ("exclude-path: /root/*", "exclude-path: /root/*, in /etc/vzdump.conf"),
    ("exclude-path: /srv /home", "exclude-path: /srv, in /etc/vzdump.conf"),
    ("script: /root/hook.sh", "script: /root/hook.sh, in /etc/vzdump.conf"),
    ("tmpdir: /tmp", "tmpdir: /tmp, in /etc/vzdump.conf"),
    ("prune-backups: keep-last=1", "prune-backups: keep-last=1, of the storage or in /etc/vzdump.conf"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_refused_with_the_line_to_change_and_nothing_is_started() {
    let world = World::start().await;
    let ask = || json!({ "guest": world.tenant, "target": "local", "quiesced": false });
    let file = world.bench.sim.path("pve/etc/vzdump.conf");
    let storages = world.bench.sim.path("pve/etc/pve/storage.cfg");
    let before = world.archives();
    // The storage's own rule would go before the file's.
    let text = fs::read_to_string(&storages).unwrap();
    let rule = "\tprune-backups keep-all=1\n";
    assert!(text.contains(rule), "{text}");
    fs::write(&storages, text.replacen(rule, "", 1)).unwrap();
    for (line, change) in LINES {
        fs::write(&file, format!("{line}\n")).unwrap();
        let op = world.end("backup_guest", ask()).await.unwrap();
        assert_eq!(op.state, OperationState::Refused, "{line}: {op:?}");
        assert!(op.verdict.starts_with("foreign_host_setting:"), "{line}: {}", op.verdict);
        assert!(op.verdict.contains(&format!("change `{change}`")), "{line}: {}", op.verdict);
    }
    // What the request passes itself does not matter.
    fs::write(&file, "mode: stop\nbwlimit: 0\nnotes-template: HOST\nremove: 1\n").unwrap();
    world.run("backup_guest", ask()).await.unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(world.archives().len(), before.len() + 1);
    prune_rule_of_the_storage(&world).await;
    setting_that_comes_meanwhile(&world).await;
    what_is_hidden(&world).await;
}

async fn prune_rule_of_the_storage(world: &World) {
    let file = world.bench.sim.path("pve/etc/pve/storage.cfg");
    let whole = fs::read_to_string(&file).unwrap();
    let with_rule = whole.replacen("dir: local\n", "dir: local\n\tprune-backups keep-last=2\n", 1);
    assert_ne!(with_rule, whole, "{whole}");
    fs::write(&file, with_rule).unwrap();
    let ask = json!({ "guest": world.tenant, "target": "local", "quiesced": false });
    let op = world.end("backup_guest", ask).await.unwrap();
    assert!(op.verdict.contains("change `prune-backups: keep-last=2, of the storage"), "{}", op.verdict);
    fs::write(&file, whole).unwrap();
}

/// Asked again right before vzdump starts.
async fn setting_that_comes_meanwhile(world: &World) {
    let before = world.archives();
    let ask = json!({ "guest": world.tenant, "target": "local", "quiesced": true });
    let op = world.ask("backup_guest", ask).await.unwrap();
    let file = world.bench.sim.path("pve/etc/vzdump.conf");
    fs::write(&file, "script: /root/hook.sh\n").unwrap();
    let thawed = felhom_protocol::local_api::Thawed { downtime_ms: 0, apps: vec![], held: false };
    world.bench.client.thawed(op.id, &thawed).await.unwrap();
    let op = world.bench.end(op.id).await;
    fs::remove_file(&file).unwrap();
    assert_eq!(op.state, OperationState::RolledBack, "{op:?}");
    assert!(op.reason.unwrap().contains("change `script: /root/hook.sh, in /etc/vzdump.conf`"));
    assert_eq!(world.archives(), before);
}

/// Without Sys.Audit on the node Proxmox does not show a script; it would run all the same.
async fn what_is_hidden(world: &World) {
    let file = world.bench.sim.path("pve/etc/vzdump.conf");
    fs::write(&file, "script: /root/hook.sh\n").unwrap();
    let audit = Right {
        role: "FelhomNode".to_owned(),
        path: "/nodes/pve".to_owned(),
        privilege: "Sys.Audit".to_owned(),
    };
    world.take(&audit).await;
    let ask = json!({ "guest": world.tenant, "target": "local", "quiesced": false });
    let refused = world.run("backup_guest", ask).await.unwrap_err();
    assert!(
        refused.contains("Proxmox would hide `script`") && refused.contains("Sys.Audit on /nodes/pve"),
        "{refused}"
    );
    world.give(&audit).await;
    fs::remove_file(&file).unwrap();
}
