//! A toy domain: an operation puts named things into a world that outlives the process; undo takes them away.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use felhom_journal::{
    Body, BoxFuture, Driver, Envelope, Intent, Journal, JournalStore, Operation, OperationId, Probe,
    Resolution, RetryPolicy, Runner, Step, StepClass, StepContext, StepError, WayOut,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use ulid::Ulid;

/// Where a step is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailAt {
    Intent,
    BeforeEffect,
    AfterEffect,
    Confirm,
    /// The act cannot tell what happened.
    Unclear,
    Undo,
}

#[derive(Debug, Default)]
pub struct Inside {
    things: BTreeSet<String>,
    effects: Vec<String>,
    points: u64,
}

/// The real system, and the plan of what goes wrong in this "process".
#[derive(Clone, Default)]
pub struct World {
    pub inside: Arc<Mutex<Inside>>,
    pub crash_at: Option<u64>,
    pub fail: Option<(usize, FailAt)>,
    pub no_return: Option<usize>,
    pub blind: bool,
    pub transient_once: Option<Arc<Mutex<BTreeSet<usize>>>>,
    pub gate_closed_after_restart: bool,
    pub crashed: Arc<Notify>,
    /// Injected failures are over.
    pub healed: Arc<AtomicBool>,
    /// Acts may be dropped.
    pub cancellable: bool,
    /// What the acts need is not there.
    pub away: bool,
    /// The act of this step ends only if somebody cancels.
    pub endless: Option<usize>,
    /// Told when an endless act has had its effect.
    pub acting: Arc<Notify>,
    /// Once, at a point: what somebody else does then.
    pub meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

/// A point, and what happens there.
pub type Meanwhile = (u64, Box<dyn FnOnce() + Send>);

pub const STEPS: [&str; 4] = ["one", "two", "three", "four"];

impl World {
    /// The same world in a new process.
    pub fn next_process(&self, crash_at: Option<u64>) -> Self {
        self.inside.lock().unwrap().points = 0;
        Self { crash_at, crashed: Arc::default(), ..self.clone() }
    }

    pub fn things(&self) -> Vec<String> {
        self.inside.lock().unwrap().things.iter().cloned().collect()
    }

    pub fn effects(&self) -> Vec<String> {
        self.inside.lock().unwrap().effects.clone()
    }

    /// A point at which the process can die.
    async fn point(&self) {
        let now = {
            let mut inside = self.inside.lock().unwrap();
            inside.points += 1;
            inside.points
        };
        let due = self.meanwhile.lock().unwrap().take_if(|(at, _)| *at == now);
        if let Some((_, act)) = due {
            act();
        }
        if self.crash_at == Some(now) {
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }

    fn fails(&self, n: usize, at: FailAt) -> Result<(), StepError> {
        if self.fail == Some((n, at)) && !self.healed.load(Ordering::SeqCst) {
            if at == FailAt::Unclear {
                return Err(StepError::Unclear("injected".to_owned()));
            }
            return Err(StepError::Failed(format!("injected at {at:?}")));
        }
        Ok(())
    }
}

struct Put {
    n: usize,
    world: World,
}

impl Put {
    fn thing(&self) -> String {
        format!("thing-{}", STEPS[self.n])
    }
}

impl Step for Put {
    fn name(&self) -> &'static str {
        STEPS[self.n]
    }

    fn class(&self) -> StepClass {
        match self.world.no_return {
            Some(n) if n == self.n => StepClass::PointOfNoReturn,
            _ if self.n.is_multiple_of(2) => StepClass::Undoable,
            _ => StepClass::Compensable,
        }
    }

    fn cancellable(&self) -> bool {
        self.world.cancellable
    }

    fn intent<'a>(&'a self, _: &'a StepContext) -> BoxFuture<'a, Result<Intent, StepError>> {
        Box::pin(async {
            self.world.point().await;
            self.world.fails(self.n, FailAt::Intent)?;
            Ok(Intent::of(&json!({"thing": self.thing()}))?.owning(self.thing()))
        })
    }

    fn probe<'a>(&'a self, _: &'a StepContext) -> BoxFuture<'a, Result<Probe, StepError>> {
        Box::pin(async {
            self.world.point().await;
            let there = self.world.inside.lock().unwrap().things.contains(&self.thing());
            Ok(if there && !self.world.blind { Probe::Done } else { Probe::NotDone })
        })
    }

    fn act<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async {
            let intent: Value = cx.intent()?;
            assert_eq!(intent["thing"], self.thing());
            assert!(cx.owns(&self.thing())?, "the act comes after its resources are journaled");
            if let Some(once) = &self.world.transient_once
                && once.lock().unwrap().insert(self.n)
            {
                return Err(StepError::Transient("not there just now".to_owned()));
            }
            if self.world.away {
                return Err(StepError::Transient("away".to_owned()));
            }
            self.world.fails(self.n, FailAt::BeforeEffect)?;
            self.world.fails(self.n, FailAt::Unclear)?;
            self.world.point().await;
            {
                let mut inside = self.world.inside.lock().unwrap();
                inside.things.insert(self.thing());
                inside.effects.push(format!("put {}", self.thing()));
            }
            self.world.point().await;
            self.world.fails(self.n, FailAt::AfterEffect)?;
            if self.world.endless == Some(self.n) {
                self.world.acting.notify_one();
                if self.world.cancellable {
                    std::future::pending::<()>().await;
                }
                cx.cancel_requested().await;
                assert!(cx.cancelled()?);
                return Err(StepError::failed("saw the wish to cancel"));
            }
            cx.save_handle(&format!("handle-{}", self.n))?;
            cx.note("put", json!({"n": self.n}))?;
            cx.progress(1, Some(1), "things")?;
            self.world.point().await;
            Ok(())
        })
    }

    fn confirm<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Value, StepError>> {
        Box::pin(async {
            self.world.point().await;
            self.world.fails(self.n, FailAt::Confirm)?;
            if self.n > 0 {
                let before: usize = cx.outcome(STEPS[self.n - 1])?;
                assert_eq!(before, self.n - 1);
            }
            Ok(json!(self.n))
        })
    }

    fn undo<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async {
            self.world.point().await;
            assert!(cx.owns(&self.thing())?);
            self.world.fails(self.n, FailAt::Undo)?;
            {
                let mut inside = self.world.inside.lock().unwrap();
                inside.things.remove(&self.thing());
                inside.effects.push(format!("take {}", self.thing()));
            }
            self.world.point().await;
            Ok(())
        })
    }
}

/// The toy's proof of approval: for a request, or for one way out.
pub struct Approved {
    body: Body,
    way: Option<(OperationId, WayOut)>,
}

/// Each operation has the world that its parameters number.
pub struct Toy {
    worlds: Vec<World>,
}

impl Toy {
    fn world(&self, op: &Operation) -> Option<&World> {
        let n = op.new.body.params["world"].as_u64().unwrap_or_default();
        self.worlds.get(usize::try_from(n).unwrap())
    }
}

impl Driver for Toy {
    type Approved = Approved;

    fn body(&self, approved: &Approved) -> Body {
        approved.body.clone()
    }

    fn steps(&self, op: &Operation) -> Result<Vec<Box<dyn Step>>, String> {
        let Body { kind, kind_version, .. } = &op.new.body;
        let world = self.world(op).filter(|_| kind == "put" && *kind_version == 1);
        let world = world.ok_or_else(|| format!("kind {kind} version {kind_version} is not known here"))?;
        Ok((0..STEPS.len()).map(|n| Box::new(Put { n, world: world.clone() }) as Box<dyn Step>).collect())
    }

    fn approves_way_out(&self, approved: &Approved, op: &Operation, way: WayOut) -> bool {
        approved.way == Some((op.id(), way))
    }

    fn reapprove<'a>(
        &'a self,
        op: &'a Operation,
        before: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Approved, StepError>> {
        Box::pin(async move {
            if before.is_none() && self.world(op).is_some_and(|w| w.gate_closed_after_restart) {
                return Err(StepError::Failed("facts changed".to_owned()));
            }
            Ok(approved())
        })
    }
}

pub fn id() -> OperationId {
    OperationId(Ulid::from_parts(1, 1))
}

pub fn envelope() -> Envelope {
    Envelope {
        id: id(),
        request_key: "request-1".to_owned(),
        requested_by: "test".to_owned(),
        boot: "boot-1".to_owned(),
    }
}

/// What is asked of world `n`.
pub fn body(n: usize, claims: &[&str]) -> Body {
    let claims = claims.iter().map(|&claim| claim.to_owned()).collect();
    Body { kind: "put".to_owned(), kind_version: 1, params: json!({ "world": n }), claims }
}

pub fn runner(store: Arc<dyn JournalStore>, world: &World) -> Arc<Runner<Toy>> {
    runner_of(store, vec![world.clone()])
}

pub fn runner_of(store: Arc<dyn JournalStore>, worlds: Vec<World>) -> Arc<Runner<Toy>> {
    let retry = RetryPolicy { first: std::time::Duration::from_millis(1), ..RetryPolicy::default() };
    runner_with(store, worlds, retry)
}

pub fn runner_with(store: Arc<dyn JournalStore>, worlds: Vec<World>, retry: RetryPolicy) -> Arc<Runner<Toy>> {
    let journal = Arc::new(Journal::open(store, || Timestamp::UNIX_EPOCH).unwrap());
    Runner::new(journal, Arc::new(Toy { worlds }), retry)
}

pub fn approved() -> Approved {
    approved_for(body(0, &["world"]))
}

pub fn approved_for(body: Body) -> Approved {
    Approved { body, way: None }
}

pub fn approved_way(id: OperationId, way: WayOut) -> Approved {
    Approved { way: Some((id, way)), ..approved() }
}

pub fn decision(way: WayOut) -> Resolution {
    Resolution { way, by: json!("operator"), reason: "looked at it".to_owned() }
}

/// How one "process" ended.
#[derive(Debug)]
pub enum Ended {
    Finished(Box<Operation>),
    Crashed,
    JournalBroke,
}

/// One life of a process: begin (or find) the operation and run it until its end or this process's death.
pub async fn life(store: Arc<dyn JournalStore>, world: &World) -> Ended {
    let runner = runner(store, world);
    let known = runner.journal().get(id()).unwrap();
    let fresh = known.is_none();
    if fresh && runner.journal_start(envelope(), &approved()).is_err() {
        return Ended::JournalBroke;
    }
    tokio::select! {
        ended = runner.run(id(), fresh.then(approved)) => match ended {
            Ok(op) => Ended::Finished(Box::new(op)),
            Err(_) => Ended::JournalBroke,
        },
        () = world.crashed.notified() => Ended::Crashed,
    }
}
