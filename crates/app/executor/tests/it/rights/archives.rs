//! Every restore reads the archive's configuration first (F74, F75): what is not on the allow-list is refused by its line,
//! on each of the three ways, and nothing of it is unpacked.

use std::fs;
use std::path::{Path, PathBuf};

use felhom_model::{Digest, OperationState};
use felhom_signing::Key;
use felhom_signing::sshsig::{Namespace, sign};
use serde_json::json;

use super::world::World;
use crate::bench::{CONFIG, golden_of, provision};

/// Lines that run somebody else's will, reach the host, or are not known.
const REFUSED: [&str; 15] = [
    "hookscript: local:snippets/hook.pl",
    "dev0: /dev/ttyUSB0",
    "dev255: path=/dev/kvm,mode=0666",
    "entrypoint: /bin/evil",
    "env: LD_PRELOAD=/x.so",
    "lxc.mount.entry: /etc etc none bind 0 0",
    "lxc.hook.pre-start = /x",
    "lxc.apparmor.profile: unconfined",
    "features: nesting=1,keyctl=1,mount=nfs",
    "features: fuse=1",
    "features: mknod=1",
    "net2: name=eth2,bridge=vmbr0,ip=dhcp,type=veth",
    "mp0: /etc,mp=/host",
    "lock: create",
    "some-key-of-tomorrow: 1",
];

/// The configuration with one line more; a line that it has already is replaced.
fn with(line: &str) -> String {
    let key = line.split([':', ' ']).next().unwrap();
    let others = CONFIG.lines().filter(|other| other.split(':').next() != Some(key));
    let mut lines: Vec<&str> = others.collect();
    lines.push(line);
    lines.join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_refuses_each_line_by_its_name() {
    let world = World::start().await;
    let archive = world.archives().remove(0);
    for line in REFUSED {
        bring_in(&world, &archive, &golden_of(&with(line), b"x"));
        let op = world.end("restore_guest", json!({ "guest": world.tenant })).await.unwrap();
        assert_eq!(op.state, OperationState::RolledBack, "{line}: {op:?}");
        let reason = op.reason.unwrap();
        assert!(reason.contains("archive_config_not_allowed") && reason.contains(&named(line)), "{reason}");
        nothing_was_unpacked(&world, 1);
    }
    // Two networks are allowed, and both come with their link down.
    bring_in(&world, &archive, &golden_of(&with("net1: name=eth1,bridge=vmbr0,ip=dhcp,type=veth"), b"x"));
    let op = world.run("restore_guest", json!({ "guest": world.tenant })).await.unwrap();
    let copy = world.bench.guest(op.guest.unwrap()).await.vmid;
    let config = fs::read_to_string(world.bench.sim.path(&format!("pve/etc/pve/lxc/{copy}.conf"))).unwrap();
    assert_eq!(config.matches("link_down=1").count(), 2, "{config}");
}

/// For a restore test that is the result, with its receipt.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_test_fails_with_each_line_by_its_name() {
    let world = World::start().await;
    let archive = world.archives().remove(0);
    for line in REFUSED {
        bring_in(&world, &archive, &golden_of(&with(line), b"x"));
        let op = world.run("restore_test", json!({ "guest": world.tenant, "level": "L3" })).await.unwrap();
        let failed = op.result["failed_check"].as_str().unwrap().to_owned();
        assert_eq!(op.result["verdict"], "failed", "{line}");
        assert!(failed.contains("archive_config_not_allowed") && failed.contains(&named(line)), "{failed}");
        nothing_was_unpacked(&world, 1);
    }
}

fn named(line: &str) -> String {
    format!("would take over `{line}")
}

/// A backup with other bytes, which the ledger takes for the ones that were recorded: as if the guest's configuration had
/// been like that when it was backed up.
fn bring_in(world: &World, archive: &Path, bytes: &[u8]) {
    fs::write(archive, bytes).unwrap();
    let database = rusqlite::Connection::open(world.bench.sim.path("executor/executor.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let changed = database
        .execute(
            "UPDATE archive SET detail = json_set(detail, '$.digest', ?1)",
            [serde_json::to_value(Digest::of(bytes)).unwrap().as_str().unwrap()],
        )
        .unwrap();
    assert_eq!(changed, 1);
}

fn nothing_was_unpacked(world: &World, guests: usize) {
    let count = |path: &str| fs::read_dir(world.bench.sim.path(path)).map_or(0, Iterator::count);
    assert_eq!(count("pve/etc/pve/lxc"), guests, "configurations");
    assert_eq!(count("pve/mnt/tank/images"), guests, "volumes");
}

/// A signed golden archive gets in only by `golden import`, which looks, too; so the file is changed behind its back, as a
/// release that was signed by mistake would be.
#[tokio::test(flavor = "multi_thread")]
async fn a_provision_refuses_each_line_by_its_name() {
    let world = World::start().await;
    let dump = world.bench.sim.path("pve/var/lib/vz/dump");
    let golden: PathBuf = fs::read_dir(&dump)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("vzdump-lxc-1999-"))
        .unwrap();
    let volid = format!("local:backup/{}", golden.file_name().unwrap().to_str().unwrap());
    for (n, line) in REFUSED.into_iter().enumerate() {
        let bytes = golden_of(&with(line), b"x");
        fs::write(&golden, &bytes).unwrap();
        sign_by_mistake(&world, &volid, &bytes);
        let op = world.end("provision_guest", provision(&format!("tenant{n}"))).await.unwrap();
        assert_eq!(op.state, OperationState::RolledBack, "{line}: {op:?}");
        let reason = op.reason.unwrap();
        assert!(reason.contains("archive_config_not_allowed") && reason.contains(&named(line)), "{reason}");
        nothing_was_unpacked(&world, 1);
    }
}

/// A release that names these bytes, signed with the release key, in the place of the one that was imported.
fn sign_by_mistake(world: &World, volid: &str, bytes: &[u8]) {
    let artefact = json!({
        "kind": "golden", "name": "a.tar.zst", "sha256": Digest::of(bytes), "bytes": bytes.len(), "apps": ["sample"],
    });
    let release = json!({ "schema": "felhom.release/v1", "version": 1, "artefacts": [artefact] }).to_string();
    let signature = sign(&Key::from_seed(&[5; 32]), Namespace::Release, release.as_bytes()).unwrap();
    let record =
        json!({ "volid": volid, "digest": Digest::of(bytes), "release": release, "signature": signature });
    let folder = world.bench.sim.path("executor/golden");
    for entry in fs::read_dir(&folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::write(folder.join("x.json"), record.to_string()).unwrap();
}
