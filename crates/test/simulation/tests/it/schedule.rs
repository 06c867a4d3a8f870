//! What happens next: drawn from the seed, written into the history, judged.

use std::collections::BTreeMap;
use std::time::Instant;

use felhom_model::operation::WayOut;
use felhom_model::{OperationId, OperationState};
use felhom_protocol::status::Operation;
use felhom_rig::Random;
use jiff::SignedDuration;

use crate::judge::Judge;
use crate::network::Fate;
use crate::operator::Operator;
use crate::part::Point;
use crate::world::{Who, World};

/// Rounds in which everything is made whole, until which the box has to be as it should.
const ROUNDS: usize = 80;
/// How far a clock jumps, seconds.
const JUMPS: [i64; 6] = [-315_576_000, -86_400, -400, 400, 86_400, 315_576_000];
/// How long an event takes, milliseconds: no divisors of what programs wait for.
const TICKS: [i64; 4] = [1_370, 7_310, 41_770, 311_930];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Pass,
    Sync,
    Late,
    Point,
    Operator,
    Sign,
    Kill,
    Jump,
    RightClocks,
    Partition,
}

/// The run of one seed.
struct Run {
    world: World,
    random: Random,
    judge: Judge,
    history: Vec<String>,
    /// When the event before was over.
    since: Instant,
    /// Whether the network is down.
    down: bool,
    /// Whether a change at Proxmox was refused or its answer lost, so that an operation may stand.
    hindered: bool,
    /// What stands, and how many ways out were tried of it.
    standing: BTreeMap<OperationId, usize>,
    /// Whether something waits for a signature.
    asks: bool,
    operator: Operator,
}

/// Runs so many events of a seed, and then makes everything whole; what happened, line by line.
pub(crate) fn history(seed: u64, events: u64) -> Vec<String> {
    let mut run = Run::of(seed);
    run.events(events);
    run.make_whole();
    run.history
}

/// After so many events of a seed the hub falls into other hands and says so many things, and nobody signs any more. How many
/// operations came of it that the box let begin.
pub(crate) fn in_other_hands(seed: u64, events: u64, lies: u64) -> usize {
    let mut run = Run::of(seed);
    run.events(events);
    run.make_whole();
    // A wrong word of Proxmox's is none of the hub's, but what the hub begins may stand as well.
    run.hindered = true;
    let let_begin = |world: &World| {
        let all = world.operations();
        all.iter().filter(|op| op.state != OperationState::Refused && !op.steps.is_empty()).count()
    };
    let before = let_begin(&run.world);
    for _ in 0..lies {
        run.world.tick(TICKS[run.random.place(TICKS.len())]);
        let done = run.world.sync(Fate::Forged);
        run.note(format!("a lie: {}", said(&done)));
        if run.random.below(20) == 0 {
            let line = run.kill();
            run.note(line);
        }
        let passed = run.world.agent.order("pass");
        run.note(format!("pass: {}", said(&passed)));
        while let Some(point) = run.first() {
            let line = run.lead(&point, "go");
            run.note(line);
        }
    }
    let_begin(&run.world) - before
}

impl Run {
    /// A box whose first guest is there.
    fn of(seed: u64) -> Self {
        let mut run = Self {
            world: World::new(seed),
            random: Random::of(seed, "history"),
            judge: Judge::default(),
            history: Vec::new(),
            since: Instant::now(),
            down: false,
            hindered: false,
            standing: BTreeMap::new(),
            asks: false,
            operator: Operator::default(),
        };
        let line = run.operator.want_family(&run.world);
        run.note(line);
        run.make_whole();
        run
    }

    fn events(&mut self, events: u64) {
        for _ in 0..events {
            let tick = TICKS[self.random.place(TICKS.len())];
            self.world.tick(tick);
            let line = self.event();
            self.note(line);
        }
    }

    /// Waits until everything stands, writes down what happened, and judges.
    fn note(&mut self, line: String) {
        let settled = self.world.settle().or_else(|| {
            self.world.restart(Who::Executor);
            self.world.settle()
        });
        let operations = settled.expect("an executor that was started again lives");
        let line = format!("{:3} {line}  [{}]", self.history.len(), self.judge.shown(&operations));
        println!("{line}  {} ms", self.since.elapsed().as_millis());
        self.since = Instant::now();
        self.history.push(line);
        for op in operations.iter().filter(|op| op.state == OperationState::NeedsOperator) {
            let why = op.reason.as_deref().unwrap_or_default();
            assert!(self.hindered, "{} stands, and Proxmox did all that was asked of it: {why}", op.kind);
            println!("      {} stands: {why}", op.kind);
        }
        let stands = |op: &&Operation| op.state == OperationState::NeedsOperator;
        let tried = |id| (id, self.standing.get(&id).copied().unwrap_or_default());
        self.standing = operations.iter().filter(stands).map(|op| tried(op.id)).collect();
        self.asks = operations.iter().any(|op| op.state == OperationState::PendingAuthorization);
        let found = self.judge.look(&self.world, &operations);
        assert!(found.is_empty(), "{found:#?}\nthe executor's log is\n{}", self.world.log(Who::Executor));
    }

    fn event(&mut self) -> String {
        let stands = if self.world.executor.standing.is_empty() { 0 } else { 60 };
        let late = if self.world.network.late() == 0 { 0 } else { 4 };
        let kind = self.random.weighted(&[
            (16, Kind::Pass),
            (22, Kind::Sync),
            (late, Kind::Late),
            (stands, Kind::Point),
            (16, Kind::Operator),
            (if self.asks { 16 } else { 0 }, Kind::Sign),
            (5, Kind::Kill),
            (3, Kind::Jump),
            (5, Kind::RightClocks),
            (if self.down { 10 } else { 2 }, Kind::Partition),
        ]);
        match kind {
            Kind::Pass => format!("pass: {}", said(&self.world.agent.order("pass"))),
            Kind::Sync => self.sync(),
            Kind::Late => self.late(),
            Kind::Point => self.point(),
            Kind::Operator => self.operator.act(&self.world, &mut self.random),
            Kind::Sign => self.sign(),
            Kind::Kill => self.kill(),
            Kind::Jump => self.jump(),
            Kind::RightClocks => {
                self.world.set_off(Who::Agent, 0);
                self.world.set_off(Who::Hub, 0);
                "clocks are right".to_owned()
            }
            Kind::Partition => {
                self.down = !self.down;
                format!("network is {}", if self.down { "down" } else { "up" })
            }
        }
    }

    fn sync(&mut self) -> String {
        let fate = self.random.weighted(&[
            (20, Fate::Whole),
            (2, Fate::RequestLost),
            (3, Fate::AnswerLost),
            (2, Fate::Late),
            (2, Fate::Twice),
            (2, Fate::OldAnswer),
            (2, Fate::SenderDies),
        ]);
        let fate = if self.down { Fate::RequestLost } else { fate };
        let done = self.world.sync(fate);
        let copies = self.world.network.copies();
        // A second copy is never taken, whatever the first one was answered with.
        assert!(copies.iter().all(|status| *status != 200), "a copy was taken: {copies:?}");
        // Of what goes through, a refusal (a clock that is off) is an answer as well.
        let goes_through = matches!(fate, Fate::Whole | Fate::Twice);
        assert!(goes_through || done.is_err(), "{fate:?} ended well");
        format!("sync, {fate:?}: {}", said(&done))
    }

    fn late(&mut self) -> String {
        let n = self.random.place(self.world.network.late());
        let (network, runtime) = (&self.world.network, &self.world.runtime);
        let status = runtime.block_on(network.deliver(n));
        format!("late request {n} arrives: {status:?}")
    }

    fn point(&mut self) -> String {
        let mut standing = self.world.executor.standing.clone();
        standing.sort_by_key(|point| (general(&point.what), point.number));
        let point = standing[self.random.place(standing.len())].clone();
        let word = self.random.weighted(&[(30, "go"), (1, "refuse"), (1, "lose"), (1, "die"), (1, "kill")]);
        self.hindered |= ["refuse", "lose"].contains(&word);
        self.lead(&point, word)
    }

    fn lead(&mut self, point: &Point, word: &str) -> String {
        if word == "kill" {
            self.world.restart(Who::Executor);
        } else {
            self.world.executor.answer(point, word);
        }
        let line = format!("{word} {}", general(&point.what));
        if word == "die" {
            self.world.executor.dies();
            self.world.restart(Who::Executor);
        }
        line
    }

    fn kill(&mut self) -> String {
        let who = [Who::Hub, Who::Agent, Who::Executor][self.random.place(3)];
        self.world.restart(who);
        format!("{who:?} is killed and started again")
    }

    fn jump(&mut self) -> String {
        let who = [Who::Hub, Who::Agent][self.random.place(2)];
        let seconds = JUMPS[self.random.place(JUMPS.len())];
        self.world.set_off(who, seconds * 1000);
        let far = SignedDuration::from_secs(seconds);
        format!("the clock of the {} is off by {far:#}", if who == Who::Hub { "hub" } else { "box" })
    }

    /// Signs what waits for a signature.
    fn sign(&mut self) -> String {
        let (line, signed) = self.operator.sign(&self.world);
        if let Some(challenge) = signed {
            self.judge.signed(&challenge);
        }
        line
    }

    /// Nothing goes wrong any more: in the end the box is as it should be, and the hub knows.
    fn make_whole(&mut self) {
        self.down = false;
        self.world.set_off(Who::Agent, 0);
        self.world.set_off(Who::Hub, 0);
        self.note("everything is made whole".to_owned());
        let mut missing = Vec::new();
        for round in 0..ROUNDS {
            self.world.tick(1_111_130);
            while let Some(point) = self.first() {
                let line = self.lead(&point, "go");
                self.note(line);
            }
            self.lead_on(round);
            let synced = self.world.sync(Fate::Whole);
            self.note(format!("sync: {}", said(&synced)));
            let passed = self.world.agent.order("pass");
            self.note(format!("pass: {}", said(&passed)));
            missing = self.judge.missing(&self.world, &self.operator.guests);
            if missing.is_empty()
                && self.standing.is_empty()
                && synced.is_ok()
                && passed.is_ok()
                && self.world.executor.standing.is_empty()
            {
                return;
            }
        }
        panic!(
            "{missing:#?}\nthe agent's log is\n{}\nthe executor's\n{}",
            self.world.log(Who::Agent),
            self.world.log(Who::Executor)
        );
    }

    /// The operator leads on what stands, from the hub, and signs for it. Until that has come about some rounds pass.
    fn lead_on(&mut self, round: usize) {
        if self.asks {
            let line = self.sign();
            self.note(line);
        }
        let Some((id, tried)) = self.standing.iter_mut().next().filter(|_| round.is_multiple_of(5)) else {
            return;
        };
        let way = WayOut::ALL[*tried % WayOut::ALL.len()];
        *tried += 1;
        let line = self.operator.lead_on(&self.world, *id, way);
        self.note(line);
    }

    fn first(&self) -> Option<Point> {
        let standing = self.world.executor.standing.iter();
        standing.min_by_key(|point| (general(&point.what), point.number)).cloned()
    }
}

/// Whether it succeeded; why not is only printed, for it names times and identities.
fn said(done: &Result<(), String>) -> &'static str {
    match done {
        Ok(()) => "ok",
        Err(why) => {
            println!("      {why}");
            "no"
        }
    }
}

/// Without what is another in each run: times, identities, ports.
fn general(what: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_own = |part: &str| part.len() > 4 && part.chars().any(|c| c.is_ascii_digit());
    let mut general = String::new();
    for part in what.split_inclusive(|c: char| !is_of_word(c)) {
        let (word, end) = match part.char_indices().last() {
            Some((at, last)) if !is_of_word(last) => part.split_at(at),
            _ => (part, ""),
        };
        general.push_str(if is_own(word) { "*" } else { word });
        general.push_str(end);
    }
    general
}
