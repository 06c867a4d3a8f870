//! Judges what the host destroyed, and looks at what has to be there. It knows VMID ranges, files and the host's own log, and asks
//! neither the gate nor the ledger what was allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use felhom_model::{OperationId, OperationState, Vmid};
use felhom_protocol::status::Operation;
use serde_json::{Value, json};

use crate::audit;
use crate::bench::within;
use crate::crash_signed::found;
use crate::people::lead_on;

use super::scene::{RESERVE, Scene, used};

/// What the host itself writes beside archives, bytes.
const SLACK: u64 = 1 << 20;
/// Backups of a guest that stay, whatever is asked for (the configuration's default).
const FLOOR: usize = 2;
/// What only people's signatures may begin.
const SIGNED: [&str; 6] = [
    "cutover_guest",
    "reverse_cutover_guest",
    "retire_guest",
    "reclaim_guest",
    "rotate_operators",
    "resolve_operation",
];

pub(crate) struct Judge {
    /// Files that must stay as they are, and their bytes.
    kept: BTreeMap<PathBuf, Vec<u8>>,
    /// Guests that are nobody's to destroy: those of the run, and tenants that came later.
    standing: BTreeSet<u32>,
    /// How many lines of the host's log were judged.
    lines: usize,
    looks: u32,
    /// Operations that once stood and waited for an operator.
    stand: BTreeSet<OperationId>,
    excused: BTreeMap<&'static str, u32>,
}

fn dump(scene: &Scene) -> PathBuf {
    scene.bench.sim.path("pve/var/lib/vz/dump")
}

impl Judge {
    /// Takes everything that is there now as what must stay.
    pub(crate) async fn new(scene: &Scene) -> Self {
        let mut kept = BTreeMap::new();
        let mut standing = BTreeSet::new();
        let seen = scene.bench.client.observation().await.unwrap().guests;
        for guest in seen.iter().filter(|guest| ["tenant", "tombstone"].contains(&guest.purpose.as_str())) {
            let vmid = guest.vmid;
            standing.insert(u32::from(vmid));
            precious(&volumes(scene, vmid), &mut kept);
        }
        // Two of each guest, and the photo that no backup holds.
        assert_eq!((standing.len(), kept.len()), (7, 15), "{:?}", kept.keys());
        for name in archives(scene) {
            let proven = scene.bench.client.observation().await.unwrap().archives;
            let proven = proven.iter().any(|a| a.volid.as_str().ends_with(&name) && a.proven_level.is_some());
            // The golden archive, and what a test proved.
            if proven || name.contains("-1999-") {
                let path = dump(scene).join(&name);
                kept.insert(path.clone(), fs::read(path).unwrap());
            }
        }
        let mut judge =
            Self { kept, standing, lines: 0, looks: 0, stand: BTreeSet::new(), excused: BTreeMap::new() };
        judge.lines = log(scene).len();
        judge
    }

    /// Looks at everything.
    pub(crate) async fn look(&mut self, scene: &Scene, when: &str) {
        let found = self.findings(scene).await;
        assert!(found.is_empty(), "{when}:\n{}\n{}", found.join("\n"), scene.bench.log());
        self.looks += 1;
    }

    /// What is not as it must be.
    pub(crate) async fn findings(&mut self, scene: &Scene) -> Vec<String> {
        let mut found = Vec::new();
        // In this order: the line is written before its file goes.
        let missing: Vec<PathBuf> = self.kept.keys().filter(|path| !path.exists()).cloned().collect();
        let log = log(scene);
        // What retention may remove is judged by the line that tells of it; nothing else makes a file go.
        let told = |path: &Path| {
            let name = path.file_name().unwrap().to_string_lossy();
            log[self.lines..].iter().any(|line| {
                let id = line["id"].as_str().unwrap();
                line["what"] == "file" && id.ends_with(&*name) && pruned(id, scene).is_some()
            })
        };
        self.kept.retain(|path, _| !(missing.contains(path) && told(path)));
        for (path, bytes) in &self.kept {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                found.push(format!("{} is not as it was", path.display()));
            }
        }
        for vmid in &self.standing {
            let config = scene.bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf"));
            if !config.exists() {
                found.push(format!("guest {vmid} is gone"));
            }
        }
        for line in &log[self.lines..] {
            match self.excuse(line, scene) {
                Some(why) => *self.excused.entry(why).or_default() += 1,
                None => found.push(
                    format!("destroyed without a reason: {} {}", line["what"], line["id"]).replace('"', ""),
                ),
            }
        }
        self.lines = log.len();
        if fs::read_dir(scene.bench.sim.path("pve/mnt/elsewhere/dump")).unwrap().next().is_some() {
            found.push("a byte went to a storage that is no target of this box".to_owned());
        }
        let used = used(&scene.bench);
        if used + RESERVE > scene.size + SLACK {
            found.push(format!("{used} of {} bytes are used: the reserve is touched", scene.size));
        }
        self.unsigned(scene, &mut found).await;
        self.learn(scene).await;
        found
    }

    /// Why a line of the host's log is one of the exceptions of invariant 1, or `None`.
    fn excuse(&self, line: &Value, scene: &Scene) -> Option<&'static str> {
        let id = line["id"].as_str().unwrap();
        if line["own"] == true {
            return Some("a task's own");
        }
        match line["what"].as_str().unwrap() {
            "snapshot" => id.ends_with("@vzdump").then_some("a backup's snapshot"),
            "guest_file" => {
                let (_, path) = id.split_once(':')?;
                let kept = path == "/var/lib/felhom/controller/watermark.json";
                let pushed = path.starts_with("/run/felhom/");
                kept.then_some("the watermark that a guest keeps")
                    .or(pushed.then_some("a file that is pushed into a guest at each start"))
            }
            "guest" => self.may_go(id.parse().ok()?),
            "volume" => {
                let (vmid, _) = id.strip_prefix("tank:")?.split_once('/')?;
                self.may_go(vmid.parse().ok()?)
            }
            "file" => pruned(id, scene),
            _ => None,
        }
    }

    fn may_go(&self, vmid: u32) -> Option<&'static str> {
        match vmid {
            _ if self.standing.contains(&vmid) => None,
            2900..=2999 => Some("a scratch guest"),
            2800..=2899 => Some("a copy"),
            2000..=2799 => Some("a guest that never came to be"),
            _ => None,
        }
    }

    /// No operation that takes a signature got on without one: there is none but the real run's.
    async fn unsigned(&self, scene: &Scene, found: &mut Vec<String>) {
        for op in all_operations(scene).await {
            let waits = ["pending_authorization", "waiting", "refused", "vetoed", "expired"];
            let signed = SIGNED.contains(&op["kind"].as_str().unwrap());
            let real = scene.honest.iter().any(|id| op["id"] == json!(id));
            if signed && !real && !waits.contains(&op["state"].as_str().unwrap()) {
                found.push(format!("{} is {} without a signature", op["kind"], op["state"]));
            }
        }
    }

    /// Tenants that came to be since are somebody's.
    async fn learn(&mut self, scene: &Scene) {
        for op in standing(scene).await {
            if self.stand.insert(op.id) {
                println!("stands: {} {}: {}", op.kind, op.id, op.reason.unwrap_or_default());
            }
        }
        let guests = scene.bench.client.observation().await.unwrap().guests;
        let active = scene.bench.client.observation().await.unwrap().active;
        for guest in guests.iter().filter(|g| g.purpose == "tenant" && g.power == "running") {
            if !active.iter().any(|op| op.guest == guest.uuid) {
                self.standing.insert(u32::from(guest.vmid));
            }
        }
    }

    /// The box still does what it is for, and its audit log is whole.
    pub(crate) async fn honest_work_goes_on(&self, scene: &Scene) {
        // An operator makes room again.
        fs::remove_file(scene.bench.sim.path("pve/control/disks.json")).unwrap();
        for op in standing(scene).await {
            let led_on = lead_on(&scene.bench, &scene.people, op.id).await;
            assert!(led_on, "{} {} offers no way out: {:?}", op.kind, op.id, op.reason);
        }
        scene.settle().await;
        let ask = json!({ "guest": scene.office, "target": "local", "quiesced": false });
        // Something may still hold the guest; who asks is told to ask again.
        let asks = async || scene.bench.try_ask("honest", "backup_guest", ask.clone()).await.is_ok();
        assert!(within(Duration::from_secs(60), asks).await, "{}", scene.bench.log());
        scene.bench.done("honest", "backup_guest", ask.clone()).await;
        let key = scene.bench.client.observation().await.unwrap().attestation_key;
        let entries = audit::log(&scene.bench, &key, None).await.len();
        assert!(entries > 10, "{entries}");
    }

    pub(crate) fn counted(&self) -> String {
        let excused: Vec<String> = self.excused.iter().map(|(why, n)| format!("{n} × {why}")).collect();
        let stood = self.stand.len();
        format!("{} looks, {stood} operations stood, destroyed: {}", self.looks, excused.join(", "))
    }
}

/// Operations that wait for an operator.
async fn standing(scene: &Scene) -> Vec<Operation> {
    let active = scene.bench.client.observation().await.unwrap().active;
    active.into_iter().filter(|op| op.state == OperationState::NeedsOperator).collect()
}

/// An archive may go while enough others of its guest stay, which are newer.
fn pruned(id: &str, scene: &Scene) -> Option<&'static str> {
    let gone = id.strip_prefix("/var/lib/vz/dump/")?;
    let (guest, _) = gone.strip_prefix("vzdump-lxc-")?.split_once('-')?;
    let left = archives(scene).into_iter().filter(|name| name.starts_with(&format!("vzdump-lxc-{guest}-")));
    let newer = left.clone().any(|name| name.as_str() > gone);
    (newer && left.count() >= FLOOR).then_some("a backup above the floors")
}

/// Names of the archives that are there, oldest first.
fn archives(scene: &Scene) -> Vec<String> {
    let files = fs::read_dir(dump(scene)).unwrap().flatten();
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".tar.zst")).collect();
    names.sort();
    names
}

fn volumes(scene: &Scene, vmid: Vmid) -> PathBuf {
    scene.bench.sim.path(&format!("pve/mnt/tank/images/{vmid}"))
}

/// What a customer would miss.
fn precious(folder: &Path, kept: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for path in ["photo.jpg", "notes.db"].iter().flat_map(|name| found(folder, name)) {
        kept.insert(path.clone(), fs::read(path).unwrap());
    }
}

fn log(scene: &Scene) -> Vec<Value> {
    let text = fs::read_to_string(scene.bench.sim.path("pve/var/log/destroyed.log")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn all_operations(scene: &Scene) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = Some(OperationId::from_parts(0, 0));
    loop {
        let page = scene.bench.client.operations(after).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = Some(last.id);
        all.extend(page.iter().map(|op| serde_json::to_value(op).unwrap()));
    }
}
