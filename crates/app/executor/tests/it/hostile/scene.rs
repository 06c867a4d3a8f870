//! The real run: a box with two tenants, a tombstone and a copy, operators with real keys, and a socket that anything is sent to.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use felhom_model::{GuestUuid, OperationState};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::messages::Message;
use crate::bench::{Bench, within};
use crate::cutover::bulk;
use crate::people::{People, challenge};

/// Bytes of the node's root file system that must stay free.
pub(crate) const RESERVE: u64 = 256 << 20;
/// Bytes that are left for backups when the run begins.
const ROOM: u64 = 24 << 20;

/// What came back: status, and the body if it is JSON.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// The box of the run.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) people: People,
    /// Two tenants; the first one has photos that no backup holds.
    pub(crate) family: GuestUuid,
    pub(crate) office: GuestUuid,
    /// A retired guest.
    pub(crate) attic: GuestUuid,
    /// A copy of the first tenant.
    pub(crate) copy: GuestUuid,
    /// The size of the node's root file system, bytes.
    pub(crate) size: u64,
}

impl Scene {
    pub(crate) async fn real_run() -> Self {
        let more = format!(
            "max_guests = 3\ngrace_s = 86400\nkeep_spread_h = 0\nreserve_bytes = {RESERVE}\nrefused_an_hour = 1000000"
        );
        let mut bench = Bench::start(&more).await;
        let people = People::on(&mut bench, &["anna", "bela"]).await;
        let family = bench.tenant("family").await;
        let office = bench.tenant("office").await;
        let attic = bench.tenant("attic").await;
        for (n, guest) in [family, family, family, office].into_iter().enumerate() {
            let ask = json!({ "guest": guest, "target": "local", "quiesced": false });
            bench.done(&format!("b{n}"), "backup_guest", ask).await;
        }
        bench.done("t", "restore_test", json!({ "guest": family })).await;
        bulk(&bench, bench.guest(family).await.vmid, "mp0", "photo.jpg", b"the only photo");
        let copy = bench.done("r", "restore_guest", json!({ "guest": family })).await.guest.unwrap();
        let retire = bench.ask("retire", "retire_guest", json!({ "guest": attic })).await;
        let (shown, _) = challenge(&bench, retire.id).await;
        bench.client.answer(shown.digest, &people.sign("anna", &shown.signed.bytes)).await.unwrap();
        assert_eq!(bench.end(retire.id).await.state, OperationState::Done, "{}", bench.log());
        elsewhere(&bench);
        let size = used(&bench) + RESERVE + ROOM;
        let disks = json!({ "/": { "size": size }, "/mnt/tank": { "size": 8_u64 << 30 } });
        let control = bench.sim.path("pve/control");
        fs::create_dir_all(&control).unwrap();
        fs::write(control.join("disks.json"), disks.to_string()).unwrap();
        Self { bench, people, family, office, attic, copy, size }
    }

    /// Sends a message on a connection of its own.
    pub(crate) async fn send(&self, message: &Message) -> Reply {
        let mut stream = UnixStream::connect(self.bench.sim.path("run/executor.sock")).await.unwrap();
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: executor\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            message.method,
            message.path,
            message.body.len()
        );
        // What is refused by its head is answered before the body is read.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&message.body).await;
        let mut answer = Vec::new();
        // Of a body that nobody read the rest comes back as a reset, behind the answer.
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{message:?}: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap();
        Reply { status, body: serde_json::from_str(body).unwrap_or_default() }
    }

    /// Waits until nothing runs.
    pub(crate) async fn settle(&self) {
        let at_rest = async || {
            let active = self.bench.client.observation().await.unwrap().active;
            let moves = [OperationState::Pending, OperationState::Running, OperationState::RollingBack];
            !active.iter().any(|op| moves.contains(&op.state))
        };
        assert!(within(std::time::Duration::from_secs(60), at_rest).await, "{}", self.bench.log());
    }
}

/// A storage for backups that the box's own record does not list.
fn elsewhere(bench: &Bench) {
    let file = bench.sim.path("pve/etc/pve/storage.cfg");
    let text = fs::read_to_string(&file).unwrap();
    let path = bench.sim.path("pve/mnt/elsewhere");
    fs::create_dir_all(path.join("dump")).unwrap();
    let path = path.canonicalize().unwrap();
    let entry = format!("dir: elsewhere\n\tpath {}\n\tcontent backup,rootdir\n\n", path.display());
    fs::write(&file, format!("{text}{entry}")).unwrap();
}

/// Bytes in use on the node's root file system, without what the host itself logs: it grows with each call.
pub(crate) fn used(bench: &Bench) -> u64 {
    let without = [bench.sim.path("pve/mnt/tank"), bench.sim.path("pve/var/log")];
    below(&bench.sim.path("pve"), &without)
}

fn below(folder: &Path, without: &[PathBuf]) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if without.contains(&path) {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            sum += below(&path, without);
        } else {
            sum += path.symlink_metadata().map_or(0, |found| found.blocks() * 512);
        }
    }
    sum
}
