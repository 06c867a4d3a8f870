//! The real run: a box on which everything that people may have to decide about is there once, operators with real keys, and a
//! socket that anything is sent to.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use felhom_model::{GuestUuid, OperationId, OperationState};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::messages::Message;
use crate::backup_undo::standing;
use crate::bench::{Bench, within};
use crate::cutover::bulk;
use crate::matrix::left_scratch;
use crate::people::{People, signed};

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
    /// A tenant that took over from another guest, which could take over again.
    pub(crate) lodge: GuestUuid,
    /// A tenant that is locked by what is dead, again and again.
    pub(crate) barn: GuestUuid,
    /// A tenant whose backup waits for an operator.
    pub(crate) shed: GuestUuid,
    pub(crate) stands: OperationId,
    /// What the run's own people signed.
    pub(crate) honest: Vec<OperationId>,
    /// The size of the node's root file system, bytes.
    pub(crate) size: u64,
}

impl Scene {
    pub(crate) async fn real_run() -> Self {
        let more = format!(
            "max_guests = 6\ngrace_s = 86400\nkeep_spread_h = 0\nreserve_bytes = {RESERVE}\nrefused_an_hour = 1000000"
        );
        let mut bench = Bench::start(&more).await;
        let people = People::on(&mut bench, &["anna", "bela"]).await;
        let [family, office, attic, lodge, barn, shed] = tenants(&bench).await;
        for (n, guest) in [family, family, family, office, lodge].into_iter().enumerate() {
            let ask = json!({ "guest": guest, "target": "local", "quiesced": false });
            bench.done(&format!("b{n}"), "backup_guest", ask).await;
        }
        bench.done("t", "restore_test", json!({ "guest": family })).await;
        bulk(&bench, bench.guest(family).await.vmid, "mp0", "photo.jpg", b"the only photo");
        let restored = async |key: &str, guest| {
            bench.done(key, "restore_guest", json!({ "guest": guest })).await.guest.unwrap()
        };
        let copy = restored("r", family).await;
        let cutover = json!({ "guest": lodge, "copy": restored("l", lodge).await });
        let retire = json!({ "guest": attic });
        let honest = vec![
            signed(&bench, &people, "cutover", ("cutover_guest", cutover)).await,
            signed(&bench, &people, "retire", ("retire_guest", retire)).await,
        ];
        let stands = stands(&mut bench, shed).await;
        elsewhere(&bench);
        let size = used(&bench) + RESERVE + ROOM;
        let disks = json!({ "/": { "size": size }, "/mnt/tank": { "size": 8_u64 << 30 } });
        let control = bench.sim.path("pve/control");
        fs::create_dir_all(&control).unwrap();
        fs::write(control.join("disks.json"), disks.to_string()).unwrap();
        let mut scene =
            Self { bench, people, family, office, attic, copy, lodge, barn, shed, stands, honest, size };
        scene.meanwhile("first").await;
        scene
    }

    /// What happens on the host whoever talks to it: somebody's backup of a guest dies and leaves its lock, and a scratch guest is
    /// left, if none is there.
    pub(crate) async fn meanwhile(&mut self, when: &str) {
        let vmid = self.bench.guest(self.barn).await.vmid;
        // Where it is locked already, this is refused.
        self.bench.pct(&["set", &vmid.to_string(), "--lock", "backup"]);
        self.settle().await;
        let seen = self.bench.client.observation().await.unwrap();
        if !seen.guests.iter().any(|guest| guest.purpose == "scratch") {
            // As many as may wait about a guest wait by now; an operator gets on by vetoing them.
            for op in seen.active.iter().filter(|op| op.guest == Some(self.lodge)) {
                let _ = self.bench.client.veto(op.id, &self.people.veto("bela", op.id)).await;
            }
            let (_, accepted) = left_scratch(&self.bench, &self.people, self.lodge, when).await;
            self.honest.push(accepted);
        }
    }

    /// The guests that there are, in the order in which they came.
    pub(crate) fn guests(&self) -> [GuestUuid; 7] {
        [self.family, self.office, self.attic, self.copy, self.lodge, self.barn, self.shed]
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

async fn tenants(bench: &Bench) -> [GuestUuid; 6] {
    let mut all = Vec::new();
    for name in ["family", "office", "attic", "lodge", "barn", "shed"] {
        all.push(bench.tenant(name).await);
    }
    all.try_into().unwrap()
}

/// A backup that waits for an operator, who has mended the host meanwhile.
async fn stands(bench: &mut Bench, guest: GuestUuid) -> OperationId {
    let path = bench.sim.path("executor.toml");
    let config = fs::read_to_string(&path).unwrap();
    let (stands, archive) = standing(bench, guest, "stands").await;
    fs::write(path, config).unwrap();
    fs::remove_file(format!("{}.protected", archive.display())).unwrap();
    bench.kill();
    bench.serve().await;
    stands.id
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
