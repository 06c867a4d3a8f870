//! The operations of the matrix: what makes each possible, again and again on one host.

use std::fs;
use std::time::Duration;

use felhom_model::{GuestUuid, OperationId, OperationState, Vmid};
use serde_json::{Value, json};

use crate::backup_undo::standing;
use crate::bench::{Bench, provision, within};
use crate::cutover::bulk;
use crate::killed::fault;
use crate::people::{People, signed};

/// A host with people, and a guest with its backup that no case may harm.
pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) people: People,
    pub(super) family: GuestUuid,
    /// Volumes that no backup holds: each has the only copy of something.
    pub(super) albums: usize,
}

impl World {
    pub(super) async fn new() -> Self {
        let mut bench = Bench::start("max_guests = 500\ngrace_s = 0\nkeep_spread_h = 0").await;
        let people = People::on(&mut bench, &["anna", "bela"]).await;
        let family = bench.tenant("family").await;
        bench.done("b", "backup_guest", backup_of(family)).await;
        Self { bench, people, family, albums: 0 }
    }

    async fn signed(&self, key: &str, kind: &str, params: Value) {
        signed(&self.bench, &self.people, key, (kind, params)).await;
    }

    async fn tenant(&self, run: usize) -> GuestUuid {
        self.bench.tenant(&format!("guest-{run}")).await
    }
}

fn backup_of(guest: GuestUuid) -> Value {
    json!({ "guest": guest, "target": "local", "quiesced": false })
}

/// What makes an operation possible, again and again; its parameters.
pub(super) trait Prepared {
    const KIND: &'static str;
    /// How it ends when nobody meddles; one that is taken back has the points of its undo, too.
    const END: OperationState = OperationState::Done;
    async fn prepare(world: &mut World, run: usize) -> Value;
}

/// What makes each of these fail, late, so that all of it is taken back.
fn fails(world: &World, at: &str, vmid: Option<Vmid>) {
    fault(&world.bench, &["clear"]);
    let mut rule = json!({ "at": at, "do": { "fail": "no" } });
    if let Some(vmid) = vmid {
        rule["id"] = json!(vmid.to_string());
    }
    fault(&world.bench, &["set", &rule.to_string()]);
}

pub(super) struct RestoreBack;
pub(super) struct ConfigureBack;
pub(super) struct CutOverBack;
pub(super) struct ReverseBack;

impl Prepared for RestoreBack {
    const KIND: &'static str = Restore::KIND;
    const END: OperationState = OperationState::RolledBack;
    async fn prepare(world: &mut World, run: usize) -> Value {
        fault(&world.bench, &["clear"]);
        let params = Restore::prepare(world, run).await;
        // A copy: the guest's own start is not touched.
        fails(world, "vzrestore.pool", None);
        params
    }
}

impl Prepared for ConfigureBack {
    const KIND: &'static str = Configure::KIND;
    const END: OperationState = OperationState::RolledBack;
    async fn prepare(world: &mut World, run: usize) -> Value {
        fails(world, "resize.begin", None);
        Configure::prepare(world, run).await
    }
}

impl Prepared for CutOverBack {
    const KIND: &'static str = CutOver::KIND;
    const END: OperationState = OperationState::RolledBack;
    async fn prepare(world: &mut World, run: usize) -> Value {
        fault(&world.bench, &["clear"]);
        let params = CutOver::prepare(world, run).await;
        let copy = params["copy"].as_str().unwrap().parse().unwrap();
        fails(world, "vzstart.begin", Some(world.bench.guest(copy).await.vmid));
        params
    }
}

impl Prepared for ReverseBack {
    const KIND: &'static str = Reverse::KIND;
    const END: OperationState = OperationState::RolledBack;
    async fn prepare(world: &mut World, run: usize) -> Value {
        fault(&world.bench, &["clear"]);
        let params = Reverse::prepare(world, run).await;
        // Where the old guest stands, which would be started again.
        let family = params["guest"].as_str().unwrap().parse().unwrap();
        let seen = world.bench.client.observation().await.unwrap();
        let old = seen.guests.iter().find(|guest| guest.succeeded_by == Some(family)).unwrap();
        fails(world, "vzstart.begin", Some(old.vmid));
        params
    }
}

pub(super) struct Provision;
pub(super) struct BackUp;
pub(super) struct Restore;
pub(super) struct Discard;
pub(super) struct Test;
pub(super) struct Scrap;
pub(super) struct Start;
pub(super) struct Stop;
pub(super) struct Reboot;
pub(super) struct Configure;
pub(super) struct Clear;
pub(super) struct Unlock;
pub(super) struct Prune;
pub(super) struct CutOver;
pub(super) struct Reverse;
pub(super) struct Retire;
pub(super) struct Reclaim;
pub(super) struct Rotate;
pub(super) struct Resolve;

impl Prepared for Provision {
    const KIND: &'static str = "provision_guest";
    async fn prepare(_: &mut World, run: usize) -> Value {
        provision(&format!("guest-{run}"))
    }
}

impl Prepared for BackUp {
    const KIND: &'static str = "backup_guest";
    async fn prepare(world: &mut World, _: usize) -> Value {
        backup_of(world.family)
    }
}

impl Prepared for Restore {
    const KIND: &'static str = "restore_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        discard_copies(&world.bench, run).await;
        json!({ "guest": world.family })
    }
}

impl Prepared for Discard {
    const KIND: &'static str = "discard_restored_copy";
    async fn prepare(world: &mut World, run: usize) -> Value {
        discard_copies(&world.bench, run).await;
        let ask = json!({ "guest": world.family });
        let copy = world.bench.done(&format!("copy-{run}"), "restore_guest", ask).await.guest.unwrap();
        json!({ "guest": copy })
    }
}

impl Prepared for Test {
    const KIND: &'static str = "restore_test";
    async fn prepare(world: &mut World, _: usize) -> Value {
        json!({ "guest": world.family })
    }
}

impl Prepared for Scrap {
    const KIND: &'static str = "destroy_scratch";
    async fn prepare(world: &mut World, run: usize) -> Value {
        let key = run.to_string();
        json!({ "guest": left_scratch(&world.bench, &world.people, world.family, &key).await.0 })
    }
}

/// A scratch guest is left where somebody protected it from its restore test, and a person accepted that, by the operation that is
/// the second.
pub(crate) async fn left_scratch(
    bench: &Bench,
    people: &People,
    guest: GuestUuid,
    key: &str,
) -> (GuestUuid, OperationId) {
    bench.sim.faults(&json!([{ "at": "vzdestroy.begin", "do": { "fail": "not today" } }]));
    let logged = bench.log().len();
    let test = bench.ask(&format!("t-{key}"), "restore_test", json!({ "guest": guest })).await;
    let refused = async || bench.log()[logged..].contains("not today");
    assert!(within(Duration::from_secs(60), refused).await, "{}", bench.log());
    let seen = bench.client.observation().await.unwrap();
    let scratch = seen.guests.iter().find(|guest| guest.purpose == "scratch").unwrap();
    let protect = |yes: &str| {
        let done = bench.pct(&["set", &scratch.vmid.to_string(), "--protection", yes]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    protect("1");
    bench.sim.faults(&json!([]));
    let test = bench.end(test.id).await;
    assert_eq!(test.state, OperationState::NeedsOperator, "{test:?}\n{}", bench.log());
    let accept = json!({ "operation": test.id, "way": "accept" });
    let accepted = signed(bench, people, &format!("a-{key}"), ("resolve_operation", accept)).await;
    protect("0");
    (scratch.uuid.unwrap(), accepted)
}

async fn power(world: &World, key: &str, on: bool) -> Value {
    let guest = json!({ "guest": world.family });
    let is = if on { "running" } else { "stopped" };
    if world.bench.guest(world.family).await.power != is {
        world.bench.done(key, if on { "start_guest" } else { "stop_guest" }, guest.clone()).await;
    }
    guest
}

impl Prepared for Start {
    const KIND: &'static str = "start_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        power(world, &format!("stop-{run}"), false).await
    }
}

impl Prepared for Reboot {
    const KIND: &'static str = "reboot_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        power(world, &format!("start-{run}"), true).await
    }
}

impl Prepared for Stop {
    const KIND: &'static str = "stop_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        power(world, &format!("start-{run}"), true).await
    }
}

impl Prepared for Configure {
    const KIND: &'static str = "configure_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        let memory = if world.bench.guest(world.family).await.memory_mib == 300 { 310 } else { 300 };
        json!({ "guest": world.family, "memory_mib": memory, "disk_gib": 2 + run })
    }
}

async fn locked(world: &World, lock: &str) {
    let vmid = world.bench.guest(world.family).await.vmid;
    let config = world.bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf"));
    let text = fs::read_to_string(&config).unwrap();
    if !text.contains("lock: ") {
        fs::write(config, format!("{text}lock: {lock}\n")).unwrap();
    }
}

impl Prepared for Clear {
    const KIND: &'static str = "clear_leftovers";
    async fn prepare(world: &mut World, _: usize) -> Value {
        locked(world, "backup").await;
        json!({ "guest": world.family })
    }
}

impl Prepared for Unlock {
    const KIND: &'static str = "clear_stale_lock";
    async fn prepare(world: &mut World, _: usize) -> Value {
        locked(world, "backup").await;
        json!({ "guest": world.family })
    }
}

impl Prepared for Prune {
    const KIND: &'static str = "prune_backups";
    async fn prepare(world: &mut World, run: usize) -> Value {
        let bench = &world.bench;
        let guest = world.tenant(run).await;
        for n in 0..4 {
            bench.done(&format!("b-{run}-{n}"), "backup_guest", backup_of(guest)).await;
        }
        bench.done(&format!("t-{run}"), "restore_test", json!({ "guest": guest })).await;
        let mut all = bench.client.observation().await.unwrap().archives;
        all.retain(|archive| archive.guest == guest);
        all.sort_by_key(|archive| archive.taken_at);
        json!({ "guest": guest, "target": "local", "remove": [all[0].volid, all[1].volid] })
    }
}

impl Prepared for CutOver {
    const KIND: &'static str = "cutover_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        let guest = world.tenant(run).await;
        world.albums += 1;
        let bench = &world.bench;
        bench.done(&format!("b-{run}"), "backup_guest", backup_of(guest)).await;
        bulk(bench, bench.guest(guest).await.vmid, "mp0", "album.jpg", b"the only photo");
        let copy = bench.done(&format!("r-{run}"), "restore_guest", json!({ "guest": guest })).await.guest;
        json!({ "guest": guest, "copy": copy })
    }
}

impl Prepared for Reverse {
    const KIND: &'static str = "reverse_cutover_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        let params = CutOver::prepare(world, run).await;
        let guest = params["guest"].clone();
        world.signed(&format!("c-{run}"), "cutover_guest", params).await;
        json!({ "guest": guest })
    }
}

impl Prepared for Retire {
    const KIND: &'static str = "retire_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        json!({ "guest": world.tenant(run).await })
    }
}

impl Prepared for Reclaim {
    const KIND: &'static str = "reclaim_guest";
    async fn prepare(world: &mut World, run: usize) -> Value {
        let guest = world.tenant(run).await;
        world.signed(&format!("x-{run}"), "retire_guest", json!({ "guest": guest })).await;
        world.bench.done(&format!("b-{run}"), "backup_guest", backup_of(guest)).await;
        world.bench.done(&format!("t-{run}"), "restore_test", json!({ "guest": guest })).await;
        json!({ "guest": guest })
    }
}

impl Prepared for Rotate {
    const KIND: &'static str = "rotate_operators";
    async fn prepare(world: &mut World, run: usize) -> Value {
        let version = 2 + run as u64;
        let next = world.people.next_file(version, &["anna", "bela", &format!("carla-{run}")]);
        world.people.rotation(version, &next, &["anna", "bela"])
    }
}

impl Prepared for Resolve {
    const KIND: &'static str = "resolve_operation";
    async fn prepare(world: &mut World, run: usize) -> Value {
        let guest = world.tenant(run).await;
        let path = world.bench.sim.path("executor.toml");
        let config = fs::read_to_string(&path).unwrap();
        let (stands, archive) = standing(&mut world.bench, guest, &format!("s-{run}")).await;
        fs::write(path, config).unwrap();
        fs::remove_file(format!("{}.protected", archive.display())).unwrap();
        json!({ "operation": stands.id, "way": "roll_back" })
    }
}

async fn discard_copies(bench: &Bench, run: usize) {
    let seen = bench.client.observation().await.unwrap();
    for copy in seen.guests.iter().filter(|guest| guest.purpose == "copy") {
        let key = format!("discard-{run}-{}", copy.vmid);
        bench.done(&key, "discard_restored_copy", json!({ "guest": copy.uuid })).await;
    }
}
