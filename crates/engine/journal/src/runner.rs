//! Carries operations out. Here: the domain's side, and how an operation begins. `run` goes forward and backward, `people`
//! is what happens before an operation may start, `stop` is cancelling and the ways out of `needs_operator`.

mod people;
mod run;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::event::{Event, StepSpec, WayOut};
use crate::journal::{Created, Journal, JournalError, NoticeBody};
use crate::state::{Operation, State};
use crate::step::{BoxFuture, Step, StepError};
use crate::store::{Body, Envelope, NewOperation, OperationId};

pub use people::{GraceAsked, StartError};
pub use stop::{CancelError, Resolution, ResolveError};

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

    /// Was the approval given for this operation as it was proposed? By default: for the same kind, version and claims. A
    /// domain that can compare more does.
    fn approves(&self, approved: &Self::Approved, op: &Operation) -> bool {
        let body = self.body(approved);
        let asked = &op.new.body;
        (&body.kind, body.kind_version, &body.claims) == (&asked.kind, asked.kind_version, &asked.claims)
    }

    /// Was the approval given for ending another operation's stand in this way? By default: no.
    fn approves_way_out(&self, approved: &Self::Approved, op: &Operation, way: WayOut) -> bool {
        let _ = (approved, op, way);
        false
    }

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
    Journal(JournalError),
}

impl From<JournalError> for BeginError {
    fn from(e: JournalError) -> Self {
        match e {
            JournalError::Busy { by, claim } => Self::Busy { by, claim },
            e @ (JournalError::Store(_)
            | JournalError::Broken(_)
            | JournalError::Illegal(_)
            | JournalError::Unknown(_)
            | JournalError::AlreadyConsumed { .. }) => Self::Journal(e),
        }
    }
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

    /// The domain.
    #[must_use]
    pub fn driver(&self) -> &D {
        &self.driver
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
        let steps = self.planned(&envelope, &body).map_err(BeginError::NoSteps)?;
        self.create(envelope, body, Event::Started { steps: specs(&steps) })
    }

    fn create(&self, envelope: Envelope, body: Body, first: Event) -> Result<Begun, BeginError> {
        match self.journal.create(envelope, body, vec![first])? {
            Created::New(op) => Ok(Begun::New(op)),
            Created::Existing(op) => Ok(Begun::Existing(op)),
        }
    }

    /// The steps that a request would have.
    fn planned(&self, envelope: &Envelope, body: &Body) -> Result<Vec<Box<dyn Step>>, String> {
        self.driver.steps(&Operation::pending(NewOperation {
            envelope: envelope.clone(),
            body: body.clone(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
        }))
    }

    /// Takes up every unfinished operation. Call once at the start of the process, inside the runtime. What waits for people
    /// is left standing: the domain decides when it goes on.
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

    /// Waits until an operation has ended or needs an operator (also through the days in which it waits for people).
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

    /// Starts [`Runner::run`] in the background. Never for an operation that runs already.
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
}

fn specs(steps: &[Box<dyn Step>]) -> Vec<StepSpec> {
    steps.iter().map(|s| StepSpec { name: s.name().to_owned(), class: s.class() }).collect()
}
