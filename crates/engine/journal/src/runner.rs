//! Carries operations out: forward through the steps, backward through the undos, and on again after a crash.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::event::{Event, StepClass, StepSpec};
use crate::journal::{Created, Journal, JournalError, NoticeBody};
use crate::state::{Operation, State, StepState};
use crate::step::{BoxFuture, Probe, Step, StepContext, StepError};
use crate::store::{Body, Envelope, OperationId};

/// The domain: which steps a kind has, and the gate.
pub trait Driver: Send + Sync + 'static {
    /// Proof that the gate allowed an operation. Only the gate can make one; it is never stored.
    type Approved: Send + 'static;

    /// What is journaled for an approved operation.
    fn body(&self, approved: &Self::Approved) -> Body;

    /// The steps of an operation, the same for the same kind and version.
    ///
    /// # Errors
    /// Text for people, if this program does not know the kind or version.
    fn steps(&self, op: &Operation) -> Result<Vec<Box<dyn Step>>, String>;

    /// Asks the gate again with fresh facts: before a point of no return (`before` names the step), or after a restart.
    fn reapprove<'a>(
        &'a self,
        op: &'a Operation,
        before: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Self::Approved, StepError>>;

    /// What a person can do about an operation that goes no further: appended to its reason. By default nothing.
    fn advice(&self, op: &Operation) -> Option<String> {
        let _ = op;
        None
    }

    /// Result of a finished operation; by default the outcome of its last step.
    fn result(&self, op: &Operation) -> Value {
        op.steps.last().and_then(|s| s.outcome.clone()).unwrap_or_default()
    }
}

/// How transient errors are tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// First pause; doubled each time.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// A step whose act stays impossible for so long fails. Undo and approval after a restart never give up.
    pub give_up: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(15),
            give_up: Duration::from_secs(600),
        }
    }
}

/// An operation that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Journaled and running.
    New(Operation),
    /// The idempotency key names this one.
    Existing(Operation),
}

/// Why an approved operation was not begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Another operation holds a claim; nothing was recorded, ask again later.
    #[error(
        "operation {by} is active on {claim}: wait for it to end; its reason says what to do if it needs an operator"
    )]
    Busy {
        /// The active operation.
        by: OperationId,
        /// The claim that both have.
        claim: String,
    },
    /// The kind has no steps in this program.
    #[error("{0}")]
    NoSteps(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What [`Runner::recover`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Operations that go on.
    pub resumed: Vec<OperationId>,
    /// Operations that stand at `needs_operator`, or wait for a signature.
    pub standing: Vec<OperationId>,
}

/// Runs operations of one domain.
pub struct Runner<D: Driver> {
    journal: Arc<Journal>,
    driver: Arc<D>,
    retry: RetryPolicy,
}

impl<D: Driver> std::fmt::Debug for Runner<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

impl<D: Driver> Runner<D> {
    /// A runner over a journal.
    #[must_use]
    pub fn new(journal: Arc<Journal>, driver: Arc<D>, retry: RetryPolicy) -> Arc<Self> {
        Arc::new(Self { journal, driver, retry })
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Journals an approved operation and starts it in the background.
    ///
    /// # Errors
    /// [`BeginError`]; nothing was started.
    pub fn begin(self: &Arc<Self>, envelope: Envelope, approved: D::Approved) -> Result<Begun, BeginError> {
        let begun = self.journal_start(envelope, &approved)?;
        if let Begun::New(op) = &begun {
            self.spawn(op.id(), Some(approved));
        }
        Ok(begun)
    }

    /// Journals an approved operation without running it; [`Runner::run`] does.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn journal_start(&self, envelope: Envelope, approved: &D::Approved) -> Result<Begun, BeginError> {
        let body = self.driver.body(approved);
        let draft = Operation::pending(crate::store::NewOperation {
            envelope: envelope.clone(),
            body: body.clone(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
        });
        let steps = self.driver.steps(&draft).map_err(BeginError::NoSteps)?;
        match self.journal.create(envelope, body, vec![Event::Started { steps: specs(&steps) }])? {
            Created::New(op) => Ok(Begun::New(op)),
            Created::Existing(op) => Ok(Begun::Existing(op)),
            Created::Busy(by, claim) => Err(BeginError::Busy { by, claim }),
        }
    }

    /// Takes up every unfinished operation. Call once at the start of the process, inside the runtime.
    pub fn recover(self: &Arc<Self>) -> Recovered {
        let mut out = Recovered::default();
        for op in self.journal.active_operations() {
            match op.state {
                State::Running | State::RollingBack => {
                    out.resumed.push(op.id());
                    self.spawn(op.id(), None);
                }
                State::Pending | State::PendingAuthorization | State::Waiting | State::NeedsOperator => {
                    out.standing.push(op.id());
                }
                State::Refused | State::Expired | State::Vetoed | State::Done | State::RolledBack => {}
            }
        }
        out
    }

    /// Waits until an operation has ended or needs an operator.
    ///
    /// # Errors
    /// [`JournalError`] if it is not known.
    pub async fn wait(&self, id: OperationId) -> Result<Operation, JournalError> {
        let mut notices = self.journal.subscribe();
        loop {
            let op = self.journal.get(id)?.ok_or(JournalError::Unknown(id))?;
            if !op.state.is_active() || op.state == State::NeedsOperator {
                return Ok(op);
            }
            // Lagging only means that there is something new to look at.
            while let Ok(notice) = notices.recv().await {
                if notice.operation == id && matches!(notice.body, NoticeBody::Event(_)) {
                    break;
                }
            }
        }
    }

    fn spawn(self: &Arc<Self>, id: OperationId, approved: Option<D::Approved>) {
        let runner = Arc::clone(self);
        tokio::spawn(async move {
            let inner = Arc::clone(&runner);
            let ended = tokio::spawn(async move { inner.run(id, approved).await }).await;
            match ended {
                Ok(Ok(op)) => tracing::info!(operation = %id, state = op.state.as_str(), "operation ended"),
                Ok(Err(e)) => tracing::error!(operation = %id, error = %e, "operation stopped"),
                Err(panic) => {
                    let reason = format!("the program failed inside a step: {panic}");
                    if let Err(e) = runner.stop(id, reason) {
                        tracing::error!(operation = %id, error = %e, "could not record a failed step");
                    }
                }
            }
        });
    }

    /// Runs a started operation to its end in the caller's task. Without `approved` (after a restart) the gate is asked
    /// before the next step begins; a step that was intended was approved, may have acted, and goes on with its probe. Its
    /// act asks the gate itself where it cannot be taken back. Dropping the future is like a crash: [`Runner::recover`] in a new process goes on.
    ///
    /// # Errors
    /// [`JournalError`]; no side effect followed it.
    pub async fn run(
        &self,
        id: OperationId,
        approved: Option<D::Approved>,
    ) -> Result<Operation, JournalError> {
        let mut op = self.journal.get(id)?.ok_or(JournalError::Unknown(id))?;
        let steps = match self.driver.steps(&op) {
            Ok(steps) if specs(&steps) == journaled(&op) => steps,
            Ok(_) => {
                return self
                    .stop(id, "this program's steps for it are others than the journaled ones".to_owned());
            }
            Err(reason) => return self.stop(id, reason),
        };
        let resumed = approved.is_none();
        let mut to_ask = resumed;
        loop {
            if to_ask && op.state == State::Running && begins_a_step(&op) {
                to_ask = false;
                op = self.approve_again(op).await?;
            }
            let cx = |n| StepContext { journal: Arc::clone(&self.journal), id, n, resumed };
            op = match op.state {
                State::Running => match op.steps.iter().position(|s| s.state != StepState::Confirmed) {
                    None => {
                        let result = self.driver.result(&op);
                        self.journal.append(id, vec![Event::Done { result }])?
                    }
                    Some(n) => self.forward(&*steps[n], &op, &cx(n)).await?,
                },
                State::RollingBack => match op.steps.iter().rposition(needs_undo) {
                    None => self.journal.append(id, vec![Event::RolledBack])?,
                    Some(n) => self.backward(&*steps[n], &op, &cx(n)).await?,
                },
                State::Pending
                | State::Refused
                | State::PendingAuthorization
                | State::Expired
                | State::Waiting
                | State::Vetoed
                | State::Done
                | State::RolledBack
                | State::NeedsOperator => return Ok(op),
            };
        }
    }

    async fn approve_again(&self, op: Operation) -> Result<Operation, JournalError> {
        let mut pause = self.retry.first;
        loop {
            match self.driver.reapprove(&op, None).await {
                Ok(_) => return Ok(op),
                Err(StepError::Journal(e)) => return Err(e),
                Err(StepError::Transient(reason)) => pause = self.stall(&op, reason, pause).await,
                Err(StepError::Failed(reason) | StepError::Unclear(reason)) => {
                    let reason = format!("after a restart the gate no longer allows it: {reason}");
                    return self.turn_back(&op, None, reason);
                }
            }
        }
    }

    async fn forward(
        &self,
        step: &dyn Step,
        op: &Operation,
        cx: &StepContext,
    ) -> Result<Operation, JournalError> {
        let since = Instant::now();
        let mut pause = self.retry.first;
        loop {
            let now = self.journal.get(op.id())?.ok_or(JournalError::Unknown(op.id()))?;
            match self.attempt(step, &now, cx).await {
                Ok(outcome) => {
                    return self.journal.append(op.id(), vec![Event::StepConfirmed { n: cx.n, outcome }]);
                }
                Err(StepError::Journal(e)) => return Err(e),
                Err(StepError::Transient(reason)) if since.elapsed() < self.retry.give_up => {
                    pause = self.stall(op, reason, pause).await;
                }
                Err(StepError::Transient(reason) | StepError::Failed(reason)) => {
                    return self.turn_back(op, Some(cx.n), format!("{}: {reason}", step.name()));
                }
                Err(StepError::Unclear(reason)) => {
                    return self.stop(op.id(), format!("{}: {reason}", step.name()));
                }
            }
        }
    }

    async fn attempt(&self, step: &dyn Step, op: &Operation, cx: &StepContext) -> Result<Value, StepError> {
        if op.steps[cx.n].state == StepState::Planned {
            if step.class() == StepClass::PointOfNoReturn {
                self.driver.reapprove(op, Some(step.name())).await?;
            }
            let intent = step.intent(cx).await?;
            let event = Event::StepIntended { n: cx.n, intent: intent.data, owns: intent.owns };
            self.journal.append(op.id(), vec![event])?;
        }
        match step.probe(cx).await? {
            Probe::NotDone => step.act(cx).await?,
            Probe::Done => {}
        }
        step.confirm(cx).await
    }

    async fn backward(
        &self,
        step: &dyn Step,
        op: &Operation,
        cx: &StepContext,
    ) -> Result<Operation, JournalError> {
        if op.steps[cx.n].state != StepState::Undoing {
            self.journal.append(op.id(), vec![Event::UndoIntended { n: cx.n }])?;
        }
        let mut pause = self.retry.first;
        loop {
            match step.undo(cx).await {
                Ok(()) => return self.journal.append(op.id(), vec![Event::Undone { n: cx.n }]),
                Err(StepError::Journal(e)) => return Err(e),
                Err(StepError::Transient(reason)) => pause = self.stall(op, reason, pause).await,
                Err(StepError::Failed(reason) | StepError::Unclear(reason)) => {
                    let first = op.reason.clone().unwrap_or_default();
                    return self.stop(op.id(), format!("{first}; undo of {}: {reason}", step.name()));
                }
            }
        }
    }

    async fn stall(&self, op: &Operation, reason: String, pause: Duration) -> Duration {
        let step = op.steps.iter().position(|s| s.state != StepState::Confirmed).unwrap_or_default();
        self.journal.stalled(op.id(), step, reason);
        tokio::time::sleep(pause).await;
        (pause * 2).min(self.retry.longest)
    }

    fn turn_back(
        &self,
        op: &Operation,
        failed: Option<usize>,
        reason: String,
    ) -> Result<Operation, JournalError> {
        let op = self.journal.get(op.id())?.ok_or(JournalError::Unknown(op.id()))?;
        let mut events = Vec::new();
        if let Some(n) = failed {
            events.push(Event::StepFailed { n, reason: reason.clone() });
        }
        events.push(if op.past_no_return() {
            Event::NeedsOperator { reason: self.advised(&op, reason) }
        } else {
            Event::RollingBack { reason }
        });
        self.journal.append(op.id(), events)
    }

    fn stop(&self, id: OperationId, reason: String) -> Result<Operation, JournalError> {
        let op = self.journal.get(id)?.ok_or(JournalError::Unknown(id))?;
        let reason = self.advised(&op, reason);
        self.journal.append(id, vec![Event::NeedsOperator { reason }])
    }

    fn advised(&self, op: &Operation, reason: String) -> String {
        match self.driver.advice(op) {
            Some(advice) => format!("{reason}. {advice}"),
            None => reason,
        }
    }
}

fn begins_a_step(op: &Operation) -> bool {
    let next = op.steps.iter().find(|s| s.state != StepState::Confirmed);
    next.is_some_and(|s| s.state == StepState::Planned)
}

fn needs_undo(step: &crate::state::StepView) -> bool {
    match step.state {
        StepState::Intended | StepState::Confirmed | StepState::Failed | StepState::Undoing => true,
        StepState::Planned | StepState::Undone => false,
    }
}

fn specs(steps: &[Box<dyn Step>]) -> Vec<StepSpec> {
    steps.iter().map(|s| StepSpec { name: s.name().to_owned(), class: s.class() }).collect()
}

fn journaled(op: &Operation) -> Vec<StepSpec> {
    op.steps.iter().map(|s| StepSpec { name: s.name.clone(), class: s.class }).collect()
}
