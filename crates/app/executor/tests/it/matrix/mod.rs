//! Operation × point × fault. A point is each call to Proxmox that changes something, each root act that does, each commit of the
//! database; they register themselves (`examples/crashing_executor.rs`). Faults: a death before and after it, the host losing
//! its power there (its workers and guests end as well, and those that start at boot are started), a full disk, a broken
//! disk, an error for an answer, an answer that is lost; and further deaths at points of the recovery, to depth 3
//! (invariant 8). A point is also each phase of each worker that Proxmox runs for it, where that worker is killed; the
//! simulator tells which it reached.
//!
//! Four of them also where a late step fails: then the points of what is taken back are among them.
//!
//! After each: asked again under the same key it is the same operation, it ends, nothing is left over, and the guest's bytes
//! are there. Only where an error was answered it may end rolled back, or stand until an operator signs a way out that it
//! offers. A seeded part is run, as many cases as an eighth of the points, the same in each run; others after `FELHOM_SEED=N`, all
//! after `FELHOM_SOAK=1`.

mod operations;

pub(crate) use operations::left_scratch;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use felhom_host::RootAct;
use felhom_model::{OperationId, OperationState};
use felhom_protocol::status::Operation;
use serde_json::json;

use self::operations::*;
use crate::bench::within;
use crate::crash::nothing_left_over;
use crate::killed::fault;
use crate::people::{consent, lead_on};
use crate::random::{Random, given_seed};

/// The plan in which nothing goes wrong.
const NOTHING: &str = "any:0:before";
/// How many cases are run of an operation where not all are: one for so many points, but at least so many.
const SHARE: usize = 8;
const SAMPLE: usize = 3;
/// Cases on one host; then another takes its place: the stub speaks for few guests.
const ON_ONE_HOST: usize = 8;
/// A recovery that reaches no point any more is over by then.
const RECOVERY: Duration = Duration::from_secs(20);
/// Deaths of one operation, at most.
const DEPTH: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Before,
    After,
    PowerLoss,
    Killed,
    NoSpace,
    Broken,
    Refused,
    Lost,
}

impl Fault {
    fn plan(self, n: usize) -> String {
        let word = match self {
            Self::Before => "before",
            Self::After | Self::PowerLoss => "after",
            Self::Killed => return NOTHING.to_owned(),
            Self::NoSpace => "enospc",
            Self::Broken => "eio",
            Self::Refused => "refused",
            Self::Lost => "lost",
        };
        format!("any:{n}:{word}")
    }

    fn at(point: &str) -> &'static [Self] {
        match point.split(' ').next() {
            Some("commit") => &[Self::Before, Self::After, Self::PowerLoss, Self::NoSpace, Self::Broken],
            Some("act") => &[Self::Before, Self::After, Self::PowerLoss, Self::Refused],
            Some("worker") => &[Self::Killed],
            _ => &[Self::Before, Self::After, Self::PowerLoss, Self::Refused, Self::Lost],
        }
    }

    /// Whether Proxmox did not do what it was told, or said so.
    fn is_answered(self) -> bool {
        matches!(self, Self::Refused | Self::Lost | Self::Killed | Self::PowerLoss)
    }
}

/// A point of an operation: its number among those of its kind, from 1, and what it is.
type Point = (usize, String);

/// The points of an operation, in the order in which it reaches them: the executor's, then those of Proxmox's workers. Every root
/// act that changes something is among them.
async fn points<P: Prepared>(world: &mut World) -> Vec<Point> {
    let params = P::prepare(world, 0).await;
    let World { bench, people, .. } = world;
    bench.kill();
    let logged = bench.log().len();
    // What came before may have been planned as well.
    let _ = std::fs::remove_file(bench.sim.path("points"));
    let count = json!({ "at": "*.*", "do": { "delay_ms": 0 }, "nth": u32::MAX });
    fault(bench, &["set", &count.to_string()]);
    bench.serve_planned(NOTHING, "asked").await;
    let op = bench.ask("points", P::KIND, params).await;
    consent(bench, people, op.id).await;
    let op = bench.end(op.id).await;
    assert_eq!(op.state, P::END, "{op:?}\n{}", bench.log());
    let listed = std::fs::read_to_string(bench.sim.path("points")).unwrap();
    let points = listed.lines().filter(|line| !line.starts_with("early "));
    let points: Vec<String> = points.map(str::to_owned).collect();
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
    let phases = phases(&bench.sim.path("pve/run/faults"));
    fault(bench, &["clear"]);
    let numbered = |points: Vec<String>| points.into_iter().enumerate().map(|(n, point)| (n + 1, point));
    numbered(points).chain(numbered(phases)).collect()
}

/// What reached the one rule that counts.
fn phases(counts: &Path) -> Vec<String> {
    let Some(file) = std::fs::read_dir(counts).into_iter().flatten().flatten().next() else {
        return Vec::new();
    };
    let reached = std::fs::read_to_string(file.path()).unwrap();
    reached.lines().map(|line| format!("worker {}", line.trim())).collect()
}

async fn run<P: Prepared>() {
    let seed = given_seed().unwrap_or(1);
    let mut random = Random::of(seed, P::KIND);
    let mut world = World::new().await;
    let points = points::<P>(&mut world).await;
    let complete = std::env::var("FELHOM_SOAK").is_ok();
    let mut chosen: Vec<(&Point, Fault)> =
        points.iter().flat_map(|at| Fault::at(&at.1).iter().map(move |fault| (at, *fault))).collect();
    let most = if complete { chosen.len() } else { (points.len() / SHARE).max(SAMPLE) };
    while chosen.len() > most {
        let n = usize::try_from(random.below(chosen.len() as u64)).unwrap();
        chosen.remove(n);
    }
    let mut counts = Counts::default();
    for (host, chunk) in chosen.chunks(ON_ONE_HOST).enumerate() {
        if host > 0 {
            world = World::new().await;
        }
        // On the first host the points were looked at already.
        let mut run = usize::from(host == 0);
        for ((n, point), fault) in chunk {
            let mut further = Vec::new();
            // A tenth of the cases dies again, and a third of those a third time.
            while further.len() < DEPTH - 1 && random.below([10, 3][further.len()]) == 0 {
                further.push(1 + random.below(12));
            }
            let what =
                format!("seed {seed}, {} at point {n} ({point}), {fault:?}, then {further:?}", P::KIND);
            println!("case: {what}");
            let mut case = Case { n: *n, fault: *fault, further, what };
            // What an executor does by itself was counted among the points, and may not come again.
            while !case.run::<P>(&mut world, run, &mut counts).await {
                counts.missed += 1;
                case = case.one_before();
                run += 1;
            }
            run += 1;
        }
    }
    let back = if P::END == OperationState::Done { "" } else { " (taken back)" };
    println!(
        "{}{back}: {} points, {} cases, {counts}, FELHOM_SEED={seed}",
        P::KIND,
        points.len(),
        chosen.len()
    );
    assert!(!complete || counts.deaths > 0, "nothing ever died");
}

/// How cases ended.
#[derive(Debug, Default)]
struct Counts {
    deaths: u32,
    second: u32,
    third: u32,
    rolled_back: u32,
    stood: u32,
    /// Points that did not come again; the one before was taken.
    missed: usize,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { deaths, second, third, rolled_back, stood, missed } = self;
        write!(f, "{deaths} deaths, {second} second deaths, {third} third deaths, ")?;
        write!(f, "{rolled_back} rolled back, {stood} stood, {missed} missed")
    }
}

struct Case {
    n: usize,
    fault: Fault,
    further: Vec<u64>,
    what: String,
}

impl Case {
    /// The same at the point before.
    fn one_before(self) -> Self {
        assert!(self.n > 1, "{}: no point is reached", self.what);
        let fault = if self.fault == Fault::Killed { Fault::Killed } else { Fault::Before };
        let what = format!("{}; that did not come, so {fault:?} at point {}", self.what, self.n - 1);
        println!("case: {what}");
        Self { n: self.n - 1, fault, what, ..self }
    }

    /// Whether its fault came.
    async fn run<P: Prepared>(&self, world: &mut World, run: usize, counts: &mut Counts) -> bool {
        let what = &self.what;
        let params = P::prepare(world, run).await;
        let key = format!("case-{run}");
        world.bench.kill();
        let _ = std::fs::remove_file(world.bench.sim.path("points"));
        if self.fault == Fault::Killed {
            let kill = json!({ "at": "*.*", "do": "kill", "nth": self.n });
            fault(&world.bench, &["set", &kill.to_string()]);
        }
        world.bench.serve_planned(&self.fault.plan(self.n), "asked").await;
        let asked = world.bench.try_ask(&key, P::KIND, params.clone()).await.ok();
        let id = asked.map(|op| op.id);
        let dead = dies_or_ends(world, id).await;
        counts.deaths += u32::from(dead);
        let came = self.came(world);
        if !dead {
            world.bench.kill();
        }
        if self.fault == Fault::PowerLoss {
            world.bench.sim.gone();
            world.bench.sim.boots();
            world.bench.sim.again();
        }
        for (depth, n) in self.further.iter().enumerate() {
            world.bench.start_planned(&format!("any:{n}:before"), "start");
            if !dies_or_ends(world, id).await {
                world.bench.kill();
                break;
            }
            *[&mut counts.second, &mut counts.third][depth] += 1;
        }
        world.bench.serve().await;
        let op = world.bench.ask(&key, P::KIND, params).await;
        assert!(id.is_none_or(|id| id == op.id), "{what}: one key, one operation: {id:?} {op:?}");
        let op = self.ended(world, op, counts).await;
        if op.state != P::END {
            assert!(self.fault.is_answered(), "{what}: {op:?}\n{}", world.bench.log());
        }
        // What an operator leads on goes on by itself.
        let at_rest = async || world.bench.client.observation().await.unwrap().active.is_empty();
        assert!(within(RECOVERY, at_rest).await, "{what}\n{}", world.bench.log());
        nothing_left_over(&world.bench, what).await;
        self.family_is_whole(world).await;
        if self.fault == Fault::Killed {
            fault(&world.bench, &["clear"]);
        }
        came
    }

    /// Whether its point was reached.
    fn came(&self, world: &World) -> bool {
        let sim = &world.bench.sim;
        if self.fault == Fault::Killed {
            return phases(&sim.path("pve/run/faults")).len() >= self.n;
        }
        std::fs::read_to_string(sim.path("points"))
            .is_ok_and(|said| said.lines().any(|l| l.starts_with("hit ")))
    }

    /// Its end; where it stands, after an operator has signed the first way out that it offers.
    async fn ended(&self, world: &World, op: Operation, counts: &mut Counts) -> Operation {
        let what = &self.what;
        consent(&world.bench, &world.people, op.id).await;
        let mut op = world.bench.end(op.id).await;
        if op.state == OperationState::NeedsOperator {
            counts.stood += 1;
            assert!(op.reason.as_ref().is_some_and(|reason| !reason.is_empty()), "{what}: {op:?}");
            self.way_out(world, op.id).await;
            let over = async || world.bench.client.operation(op.id).await.unwrap().state.is_final();
            let ended = within(RECOVERY, over).await;
            op = world.bench.client.operation(op.id).await.unwrap();
            assert!(ended, "{what}: still stands: {:?}\n{}", op.reason, world.bench.log());
        }
        let good = [OperationState::Done, OperationState::RolledBack];
        assert!(good.contains(&op.state), "{what}: {op:?}\n{}", world.bench.log());
        counts.rolled_back += u32::from(op.state == OperationState::RolledBack);
        op
    }

    async fn way_out(&self, world: &World, stands: OperationId) {
        let led_on = lead_on(&world.bench, &world.people, stands).await;
        assert!(led_on, "{}: it offers no way out\n{}", self.what, world.bench.log());
    }

    async fn family_is_whole(&self, world: &World) {
        let guest = world.bench.guest(world.family).await;
        let folder = world.bench.sim.path(&format!("pve/mnt/tank/images/{}", guest.vmid));
        let found = crate::crash_signed::found(&folder, "photo.jpg");
        let photos: Vec<Vec<u8>> = found.iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert_eq!(photos, [b"a photo".to_vec()], "{}: the guest's bytes", self.what);
        for receipt in world.bench.client.receipts(None).await.unwrap() {
            let passed = receipt.document.contains(r#""verdict":"passed""#);
            assert!(passed, "{}: no backup is bad: {}", self.what, receipt.document);
        }
        let images = world.bench.sim.path("pve/mnt/tank/images");
        let albums = crate::crash_signed::found(&images, "album.jpg");
        assert_eq!(albums.len(), world.albums, "{}: {albums:?}", self.what);
        for album in albums {
            assert_eq!(std::fs::read(&album).unwrap(), b"the only photo", "{}", self.what);
            let volume = album.strip_prefix(&images).unwrap().to_str().unwrap();
            let volume = volume.split("/disk.raw").next().unwrap().to_owned() + ".raw,";
            let named = mounted_by(&world.bench.sim.path("pve/etc/pve/lxc"), &volume);
            assert_eq!(named, 1, "{}: {volume} is mounted by {named} guests", self.what);
        }
    }
}

/// How many guests have a volume among their mount points.
fn mounted_by(configs: &Path, volume: &str) -> usize {
    let texts =
        std::fs::read_dir(configs).unwrap().map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap());
    let mounts = |line: &str| line.starts_with("mp") && line.contains(volume);
    texts.filter(|text| text.lines().any(mounts)).count()
}

/// Gives people's signatures for as long as they are asked for, until the executor dies of something, or the operation is over
/// or stands. Whether it died.
async fn dies_or_ends(world: &mut World, asked: Option<OperationId>) -> bool {
    let mut dead = false;
    let end = tokio::time::Instant::now() + RECOVERY * 3;
    while !dead && tokio::time::Instant::now() < end {
        dead = world.bench.is_dead();
        match asked {
            Some(id) => {
                let Ok(op) = world.bench.client.operation(id).await else { continue };
                if op.state.is_final() || op.state == OperationState::NeedsOperator {
                    break;
                }
                if op.state == OperationState::PendingAuthorization {
                    consent(&world.bench, &world.people, id).await;
                }
            }
            // It was never recorded, or nobody heard that it was; then only a death is news.
            None if world.bench.client.operations(None).await.is_ok_and(|all| none_runs(&all)) => break,
            None => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    dead || world.bench.is_dead()
}

fn none_runs(all: &[Operation]) -> bool {
    all.iter().all(|op| op.state.is_final() || op.state == OperationState::PendingAuthorization)
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
    of_destroy_scratch: Scrap,
    of_start: Start,
    of_stop: Stop,
    of_reboot: Reboot,
    of_configure: Configure,
    of_clear_leftovers: Clear,
    of_clear_stale_lock: Unlock,
    of_prune: Prune,
    of_cutover: CutOver,
    of_reverse_cutover: Reverse,
    of_retire: Retire,
    of_reclaim: Reclaim,
    of_restore_back: RestoreBack,
    of_configure_back: ConfigureBack,
    of_cutover_back: CutOverBack,
    of_reverse_cutover_back: ReverseBack,
    of_rotate_operators: Rotate,
    of_resolve: Resolve,
}
