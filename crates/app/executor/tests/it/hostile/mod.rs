//! A hostile agent on the executor's socket, and with it whoever controls the hub: whatever a hub makes an agent send, a hostile
//! agent can send as well.
//!
//! ```text
//!   a real run with real signatures ─▶ its messages ─▶ mutated by a seed ─▶ the executor ─▶ the simulated host
//!                                                                                             │ what it destroyed
//!                                     judge (knows no gate): tenants' bytes, archives, space ◀┘
//! ```
//! A seeded part here, the same in each run; another with `FELHOM_SEED=N`; `FELHOM_SOAK=1` runs 10,000 scenarios and demands that
//! each row of the gate was reached a hundred times.

mod judge;
mod messages;
mod scene;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use felhom_model::OperationKind;

use self::judge::Judge;
use self::messages::{Corpus, Message};
use self::scene::{Reply, Scene};
use crate::random::{Random, given_seed};

/// Scenarios of the part that runs always, and of the whole.
const SAMPLE: usize = 200;
const WHOLE: usize = 10_000;
/// After so many the judge looks.
const BETWEEN: usize = 100;
/// Messages at once of a flood.
const FLOOD: usize = 40;
/// A row that the whole reaches less often is a gap in this suite.
const ENOUGH: u32 = 100;
/// What a message may take on a busy machine while others flood.
const RESPONSIVE: Duration = Duration::from_secs(20);

/// How often each row said what, and what everything else was answered.
#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<String, BTreeMap<&'static str, u32>>,
    codes: BTreeMap<String, u32>,
}

impl Rows {
    fn count(&mut self, message: &Message, reply: &Reply) {
        *self.codes.entry(code(reply)).or_default() += 1;
        let Some(kind) = message.asks_for() else { return };
        // The same key is the same request, whatever is asked for under it later.
        let said =
            if reply.body["kind"].as_str().is_some_and(|k| k != kind) { "repeated" } else { verdict(reply) };
        *self.rows.entry(kind).or_default().entry(said).or_default() += 1;
    }

    /// How often the gate judged it; `None` for what this executor cannot do yet and refuses without asking the gate.
    fn of(&self, kind: OperationKind) -> Option<u32> {
        let row = self.rows.get(kind.name())?;
        let judged = GATE.iter().filter_map(|word| row.get(word)).sum();
        (judged > 0 || !row.contains_key("not built")).then_some(judged)
    }

    /// Whether the gate ever allowed it, or asked people: a no alone shows half of a row.
    fn is_let_through(&self, kind: OperationKind) -> bool {
        let row = &self.rows[kind.name()];
        GATE[..GATE.len() - 1].iter().any(|word| row.contains_key(word))
    }
}

/// The words that are the gate's, the last one its no.
const GATE: [&str; 4] = ["allowed", "allowed, but busy", "needs people", "refused"];

/// The stable word of an answer: of an error, of a refusal, or the state.
fn code(reply: &Reply) -> String {
    let of = |key: &str| reply.body[key].as_str().and_then(|text| text.split(':').next()).map(str::to_owned);
    let refused = reply.body["state"] == "refused";
    let code = of("error").or_else(|| if refused { of("verdict") } else { of("state") });
    code.unwrap_or_else(|| format!("HTTP {}", reply.status))
}

/// What came of a request.
fn verdict(reply: &Reply) -> &'static str {
    match (reply.status, reply.body["state"].as_str()) {
        (409, _) => "allowed, but busy",
        (200, Some("pending_authorization" | "waiting")) => "needs people",
        (200, Some("refused")) => match code(reply).as_str() {
            "malformed_parameters" | "unknown_operation" => "malformed",
            "not_built_yet" => "not built",
            _ => "refused",
        },
        (200, Some(_)) => "allowed",
        _ => "malformed",
    }
}

/// One scenario: a message of the corpus, mutated or not, alone or with many others at once.
async fn scenario(scene: &Scene, corpus: &mut Corpus, random: &mut Random, rows: &mut Rows) {
    let many = if random.below(50) == 0 { FLOOD } else { 1 };
    let messages: Vec<Message> = (0..many).map(|_| corpus.next(random)).collect();
    let sent = messages.iter().map(async |message| {
        let begun = Instant::now();
        let reply = scene.send(message).await;
        (reply, begun.elapsed())
    });
    for (message, (reply, took)) in messages.iter().zip(futures_util::future::join_all(sent).await) {
        assert!(took < RESPONSIVE, "{took:?} for {message:?}");
        assert_ne!(reply.status, 500, "{message:?}: {}\n{}", reply.body, scene.bench.log());
        rows.count(message, &reply);
        corpus.learn(&reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_a_hostile_agent_destroys_nothing() {
    let whole = std::env::var_os("FELHOM_SOAK").is_some();
    let seed = given_seed().unwrap_or(1);
    let mut random = Random::of(seed, "hostile agent");
    let mut scene = Scene::real_run().await;
    let mut corpus = Corpus::of(&scene).await;
    let mut judge = Judge::new(&scene).await;
    let mut rows = Rows::default();
    let scenarios = if whole { WHOLE } else { SAMPLE };
    for n in 0..scenarios {
        scenario(&scene, &mut corpus, &mut random, &mut rows).await;
        if n % BETWEEN == BETWEEN - 1 {
            judge.look(&scene, &format!("seed {seed}, scenario {n}")).await;
            scene.meanwhile(&n.to_string()).await;
            corpus.meet(&scene).await;
        }
    }
    scene.settle().await;
    judge.look(&scene, &format!("seed {seed}, the end")).await;
    judge.honest_work_goes_on(&scene).await;
    print(&rows, scenarios, &judge, seed);
    for kind in OperationKind::ALL {
        let Some(judged) = rows.of(kind) else { continue };
        let least = if whole { ENOUGH } else { 1 };
        assert!(judged >= least, "{kind} was judged {judged} times");
        assert!(!whole || rows.is_let_through(kind), "{kind} was never let through");
    }
}

fn print(rows: &Rows, scenarios: usize, judge: &Judge, seed: u64) {
    let shown = |said: Vec<(&str, u32)>| {
        let said: Vec<String> = said.into_iter().map(|(word, n)| format!("{word} {n}")).collect();
        said.join(", ")
    };
    for kind in OperationKind::ALL {
        let row = rows.rows.get(kind.name()).into_iter().flatten();
        println!("hostile {kind}: {}", shown(row.map(|(word, n)| (*word, *n)).collect()));
    }
    println!("answers: {}", shown(rows.codes.iter().map(|(code, n)| (code.as_str(), *n)).collect()));
    println!("hostile agent: {scenarios} scenarios, {}, FELHOM_SEED={seed}", judge.counted());
}

/// The judge itself can find something: what it looks at is destroyed behind the executor's back.
#[tokio::test(flavor = "multi_thread")]
async fn the_judge_sees_what_is_destroyed() {
    let scene = Scene::real_run().await;
    let mut judge = Judge::new(&scene).await;
    judge.look(&scene, "untouched").await;
    let office = scene.office;
    let vmid = scene.bench.guest(office).await.vmid;
    for arguments in [vec!["stop"], vec!["destroy", "--force", "1"]] {
        let vmid = vmid.to_string();
        let mut words = vec![arguments[0], &vmid];
        words.extend(&arguments[1..]);
        let done = scene.bench.pct(&words);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let found = judge.findings(&scene).await;
    let all = found.join("\n");
    assert!(all.contains(&format!("volume tank:{vmid}/")) && all.contains("photo.jpg"), "{all}");
}
