//! Operation × point × fault. A point is each call to Proxmox that changes something, each root act that does, each commit of the
//! database; they register themselves (`examples/crashing_executor.rs`). Faults: a death before and after it, the host dying
//! with it, a full disk, a broken disk; and a second death at a point of the recovery.
//!
//! After each: asked again under the same key it is the same operation, it ends done, nothing is left over, and the guest's
//! bytes are there. A seeded part is run, the same in each run; another with `FELHOM_SEED=N`, all of it with `FELHOM_SOAK=1`.

use std::collections::BTreeMap;
use std::time::Duration;

use felhom_host::RootAct;
use felhom_model::{GuestUuid, OperationState};
use serde_json::{Value, json};

use crate::bench::{Bench, provision, within};
use crate::crash::nothing_left_over;
use crate::random::{Random, given_seed};

/// Cases of an operation where not all are run.
const SAMPLE: usize = 6;
/// Cases on one host; then another takes its place: the stub speaks for few guests.
const ON_ONE_HOST: usize = 8;
/// A recovery that reaches no point any more is over by then.
const RECOVERY: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Before,
    After,
    WithTheHost,
    NoSpace,
    Broken,
}

impl Fault {
    fn plan(self, n: usize) -> String {
        let word = match self {
            Self::Before | Self::WithTheHost => "before",
            Self::After => "after",
            Self::NoSpace => "enospc",
            Self::Broken => "eio",
        };
        format!("any:{n}:{word}")
    }

    fn at(point: &str) -> &'static [Self] {
        if point.starts_with("commit ") {
            &[Self::Before, Self::After, Self::WithTheHost, Self::NoSpace, Self::Broken]
        } else {
            &[Self::Before, Self::After, Self::WithTheHost]
        }
    }
}

/// What makes an operation possible, again and again; its parameters.
trait Prepared {
    const KIND: &'static str;
    async fn prepare(bench: &Bench, family: GuestUuid, run: usize) -> Value;
}

struct Provision;
struct BackUp;
struct Restore;
struct Discard;
struct Test;
struct Stop;
struct Clear;

impl Prepared for Provision {
    const KIND: &'static str = "provision_guest";
    async fn prepare(_: &Bench, _: GuestUuid, run: usize) -> Value {
        provision(&format!("guest-{run}"))
    }
}

impl Prepared for BackUp {
    const KIND: &'static str = "backup_guest";
    async fn prepare(_: &Bench, family: GuestUuid, _: usize) -> Value {
        json!({ "guest": family, "target": "local", "quiesced": false })
    }
}

impl Prepared for Restore {
    const KIND: &'static str = "restore_guest";
    async fn prepare(bench: &Bench, family: GuestUuid, run: usize) -> Value {
        discard_copies(bench, run).await;
        json!({ "guest": family })
    }
}

impl Prepared for Discard {
    const KIND: &'static str = "discard_restored_copy";
    async fn prepare(bench: &Bench, family: GuestUuid, run: usize) -> Value {
        bench.done(&format!("copy-{run}"), "restore_guest", json!({ "guest": family })).await;
        let seen = bench.client.observation().await.unwrap();
        json!({ "guest": seen.guests.iter().find(|guest| guest.purpose == "copy").unwrap().uuid })
    }
}

impl Prepared for Test {
    const KIND: &'static str = "restore_test";
    async fn prepare(_: &Bench, family: GuestUuid, _: usize) -> Value {
        json!({ "guest": family })
    }
}

impl Prepared for Stop {
    const KIND: &'static str = "stop_guest";
    async fn prepare(bench: &Bench, family: GuestUuid, run: usize) -> Value {
        bench.done(&format!("start-{run}"), "start_guest", json!({ "guest": family })).await;
        json!({ "guest": family })
    }
}

impl Prepared for Clear {
    const KIND: &'static str = "clear_leftovers";
    async fn prepare(bench: &Bench, family: GuestUuid, _: usize) -> Value {
        let vmid = bench.guest(family).await.vmid;
        let config = bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf"));
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(config, format!("{text}lock: backup\n")).unwrap();
        json!({ "guest": family })
    }
}

async fn discard_copies(bench: &Bench, run: usize) {
    let seen = bench.client.observation().await.unwrap();
    for copy in seen.guests.iter().filter(|guest| guest.purpose == "copy") {
        let key = format!("discard-{run}-{}", copy.vmid);
        bench.done(&key, "discard_restored_copy", json!({ "guest": copy.uuid })).await;
    }
}

/// A host with a guest and its backup.
async fn host() -> (Bench, GuestUuid) {
    let bench = Bench::start("max_guests = 500").await;
    let family = bench.tenant("family").await;
    bench.done("b", "backup_guest", json!({ "guest": family, "target": "local", "quiesced": false })).await;
    (bench, family)
}

/// The points of an operation, in the order in which it reaches them. Every root act that changes something is among them.
async fn points<P: Prepared>() -> Vec<String> {
    let (mut bench, family) = host().await;
    let params = P::prepare(&bench, family, 0).await;
    bench.kill();
    let logged = bench.log().len();
    bench.serve_planned("any:0:before", "asked").await;
    bench.done("points", P::KIND, params).await;
    let listed = std::fs::read_to_string(bench.sim.path("points")).unwrap();
    let points: Vec<String> = listed.lines().map(str::to_owned).collect();
    let changing = |act: &&RootAct| act.changes();
    let acts = |text: &str, before: &str| -> BTreeMap<String, usize> {
        let counted = RootAct::ALL.iter().filter(changing).map(|act| {
            let name = act.to_string();
            let count = text.matches(&format!("{before}{name}")).count();
            (name, count)
        });
        counted.collect()
    };
    let (done, seen) = (acts(&bench.log()[logged..], "root act act="), acts(&listed, "act "));
    assert_eq!(done, seen, "root acts that were done, and those that were points");
    points
}

async fn run<P: Prepared>() {
    let seed = given_seed().unwrap_or(1);
    let mut random = Random::of(seed, P::KIND);
    let points = points::<P>().await;
    let all: Vec<(usize, Fault)> = points
        .iter()
        .enumerate()
        .flat_map(|(n, point)| Fault::at(point).iter().map(move |fault| (n + 1, *fault)))
        .collect();
    let complete = std::env::var("FELHOM_SOAK").is_ok();
    let mut chosen = all.clone();
    if !complete {
        while chosen.len() > SAMPLE {
            let n = usize::try_from(random.below(chosen.len() as u64)).unwrap();
            chosen.remove(n);
        }
    }
    let (mut died, mut twice) = (0, 0);
    for chunk in chosen.chunks(ON_ONE_HOST) {
        let (mut bench, family) = host().await;
        for (run, (n, fault)) in chunk.iter().enumerate() {
            let again = random.below(if complete { 10 } else { 4 }) == 0;
            let second = again.then(|| 1 + random.below(12));
            let what = format!(
                "seed {seed}, {} at point {n} ({}), {fault:?}, then {second:?}",
                P::KIND,
                points[n - 1]
            );
            let (dead, dead_again) = case::<P>(&mut bench, (family, run), (*n, *fault, second), &what).await;
            died += u32::from(dead);
            twice += u32::from(dead_again);
        }
    }
    println!(
        "{}: {} points, {} cases of {}, {died} deaths, {twice} second deaths, FELHOM_SEED={seed}",
        P::KIND,
        points.len(),
        chosen.len(),
        all.len()
    );
    assert!(died > 0, "nothing ever died");
}

/// One case; whether the executor died of it, and a second time in the recovery.
async fn case<P: Prepared>(
    bench: &mut Bench,
    (family, run): (GuestUuid, usize),
    (n, fault, second): (usize, Fault, Option<u64>),
    what: &str,
) -> (bool, bool) {
    let params = P::prepare(bench, family, run).await;
    let key = format!("case-{run}");
    bench.kill();
    bench.serve_planned(&fault.plan(n), "asked").await;
    let asked = bench.try_ask(&key, P::KIND, params.clone()).await;
    let dead = match &asked {
        Ok(op) => bench.died(op.id).await,
        Err(_) => within(RECOVERY, async || bench.is_dead()).await,
    };
    if !dead {
        bench.kill();
    }
    if fault == Fault::WithTheHost {
        bench.sim.gone();
        bench.sim.again();
    }
    let mut dead_again = false;
    if let Some(second) = second {
        bench.start_planned(&format!("any:{second}:before"), "start");
        let mut over = false;
        within(RECOVERY, async || {
            dead_again = bench.is_dead();
            if let Ok(op) = &asked {
                let now = bench.client.operation(op.id).await;
                over = now.is_ok_and(|now| now.state.is_final());
            } else {
                over = bench.client.operations(None).await.is_ok();
            }
            dead_again || over
        })
        .await;
        if !dead_again && !bench.is_dead() {
            bench.kill();
        }
    }
    bench.serve().await;
    let op = bench.ask(&key, P::KIND, params).await;
    if let Ok(asked) = asked {
        assert_eq!(op.id, asked.id, "{what}: one key, one operation");
    }
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::Done, "{what}: {op:?}\n{}", bench.log());
    nothing_left_over(bench, what).await;
    let guest = bench.guest(family).await;
    if guest.power == "running" {
        let photo = bench.cat(guest.vmid, "/data/photo.jpg");
        assert_eq!(photo.as_deref(), Some(&b"a photo"[..]), "{what}: the guest's bytes");
    }
    (dead, dead_again)
}

macro_rules! operations {
    ($($test:ident: $kind:ty,)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            run::<$kind>().await;
        })*
    };
}

operations! {
    of_provision: Provision,
    of_backup: BackUp,
    of_restore: Restore,
    of_discard: Discard,
    of_restore_test: Test,
    of_stop: Stop,
    of_clear_leftovers: Clear,
}
