//! What a domain implements: a step, and what a step is told and may say.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::event::{Event, StepClass};
use crate::journal::{Journal, JournalError};
use crate::state::{Operation, StepState};
use crate::store::{OperationId, Progress};

/// A boxed future, so that steps can be a list of trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a step (or its undo, or a new approval) did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It will not succeed: undo, or an operator.
    #[error("{0}")]
    Failed(String),
    /// Something outside is not there just now: the same step is tried again, from its probe.
    #[error("{0}")]
    Transient(String),
    /// What happened cannot be told: a person must look.
    #[error("{0}")]
    Unclear(String),
    /// The journal failed: nothing more may happen.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl StepError {
    /// [`StepError::Failed`] from anything that prints.
    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }
}

/// What a step observed and chose, and which resources it will own. Journaled before the act.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intent {
    /// Read back by [`StepContext::intent`].
    pub data: Value,
    /// Names of resources; undo may touch only these.
    pub owns: Vec<String>,
}

impl Intent {
    /// An intent with data and no resources.
    ///
    /// # Errors
    /// [`StepError::Failed`] if the data cannot be JSON.
    pub fn of(data: &impl Serialize) -> Result<Self, StepError> {
        let data = serde_json::to_value(data).map_err(|e| StepError::Failed(format!("intent: {e}")))?;
        Ok(Self { data, owns: Vec::new() })
    }

    /// Adds a resource.
    #[must_use]
    pub fn owning(mut self, resource: impl Into<String>) -> Self {
        self.owns.push(resource.into());
        self
    }
}

/// What the real system says about an intended act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Not done, or under way: call [`Step::act`], which goes on from the handle if there is one.
    NotDone,
    /// Done: go on with [`Step::confirm`].
    Done,
}

/// One step of an operation. All methods may be called again after a crash; each must have the effect of once.
pub trait Step: Send + Sync {
    /// Unique within the operation; never changes for a kind version.
    fn name(&self) -> &'static str;

    /// How far it can be taken back.
    fn class(&self) -> StepClass;

    /// Observes and chooses. No side effect.
    fn intent<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Intent, StepError>> {
        let _ = cx;
        Box::pin(async { Ok(Intent::default()) })
    }

    /// May its act be left where it stands when somebody cancels the operation? The future is dropped then, as by a crash,
    /// and the undo meets an act that may be under way in the outside world. What takes long and says no looks at
    /// [`StepContext::cancelled`] itself.
    fn cancellable(&self) -> bool {
        false
    }

    /// Asks the real system whether the act happened. A handle found again is journaled by [`StepContext::save_handle`].
    fn probe<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Probe, StepError>>;

    /// Acts, or goes on with what the handle names.
    fn act<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<(), StepError>>;

    /// Reads the effect back and returns the outcome.
    fn confirm<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Value, StepError>>;

    /// Takes the effect back. It may never have happened, or only half, or be under way still.
    fn undo<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<(), StepError>> {
        let _ = cx;
        Box::pin(async { Ok(()) })
    }
}

/// What a step is told.
#[derive(Debug, Clone)]
pub struct StepContext {
    pub(crate) journal: Arc<Journal>,
    pub(crate) id: OperationId,
    pub(crate) n: usize,
    pub(crate) resumed: bool,
}

impl StepContext {
    /// The operation's identity.
    #[must_use]
    pub fn operation_id(&self) -> OperationId {
        self.id
    }

    /// The operation as folded now.
    ///
    /// # Errors
    /// [`StepError::Journal`].
    pub fn operation(&self) -> Result<Operation, StepError> {
        Ok(self.journal.get(self.id)?.ok_or(JournalError::Unknown(self.id))?)
    }

    /// Did this process find the operation in the journal (and not begin it)?
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Does somebody want the operation stopped and undone? A step that sees it returns an error at its next safe moment.
    ///
    /// # Errors
    /// [`StepError::Journal`].
    pub fn cancelled(&self) -> Result<bool, StepError> {
        Ok(self.operation()?.cancel.is_some())
    }

    /// Resolves when somebody wants the operation stopped and undone.
    pub async fn cancel_requested(&self) {
        self.journal.cancel_requested(self.id).await;
    }

    /// The operation's parameters.
    ///
    /// # Errors
    /// [`StepError::Unclear`] if they do not have the expected shape.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        parse("parameters", &self.operation()?.new.body.params)
    }

    /// This step's journaled intent.
    ///
    /// # Errors
    /// [`StepError::Unclear`] if there is none of the expected shape.
    pub fn intent<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        let op = self.operation()?;
        let step = op.steps.get(self.n).and_then(|s| s.intent.clone()).unwrap_or_default();
        parse("own intent", &step)
    }

    /// Outcome of an earlier step.
    ///
    /// # Errors
    /// [`StepError::Unclear`] if there is none of the expected shape.
    pub fn outcome<T: DeserializeOwned>(&self, step: &str) -> Result<T, StepError> {
        self.outcome_if_any(step)?.ok_or_else(|| StepError::Unclear(format!("step {step} has no outcome")))
    }

    /// Outcome of a step, or nothing where it has none (for undo).
    ///
    /// # Errors
    /// [`StepError::Unclear`] if it has another shape.
    pub fn outcome_if_any<T: DeserializeOwned>(&self, step: &str) -> Result<Option<T>, StepError> {
        let op = self.operation()?;
        op.step(step).and_then(|s| s.outcome.as_ref()).map(|v| parse(step, v)).transpose()
    }

    /// Intent of any step, if it was journaled.
    ///
    /// # Errors
    /// [`StepError::Unclear`] if it has another shape.
    pub fn intent_of<T: DeserializeOwned>(&self, step: &str) -> Result<Option<T>, StepError> {
        let op = self.operation()?;
        op.step(step).and_then(|s| s.intent.as_ref()).map(|v| parse(step, v)).transpose()
    }

    /// The last handle that this step (while it undoes: its undo) journaled.
    ///
    /// # Errors
    /// [`StepError::Unclear`] if it has another shape.
    pub fn handle<T: DeserializeOwned>(&self) -> Result<Option<T>, StepError> {
        let op = self.operation()?;
        let step = op.steps.get(self.n);
        let undoing = step.is_some_and(|s| s.state == StepState::Undoing);
        let handle = step.and_then(|s| if undoing { s.undo_handle.as_ref() } else { s.handle.as_ref() });
        handle.map(|v| parse("handle", v)).transpose()
    }

    /// The handle of this step's act, also while it undoes.
    ///
    /// # Errors
    /// [`StepError::Unclear`] if it has another shape.
    pub fn act_handle<T: DeserializeOwned>(&self) -> Result<Option<T>, StepError> {
        let op = self.operation()?;
        let handle = op.steps.get(self.n).and_then(|s| s.handle.as_ref());
        handle.map(|v| parse("handle", v)).transpose()
    }

    /// Journals a handle; durable when it returns.
    ///
    /// # Errors
    /// [`StepError::Journal`].
    pub fn save_handle(&self, handle: &impl Serialize) -> Result<(), StepError> {
        let handle = serde_json::to_value(handle).map_err(|e| StepError::Failed(format!("handle: {e}")))?;
        self.journal.append(self.id, vec![Event::StepHandle { n: self.n, handle }])?;
        Ok(())
    }

    /// Journals a fact of the domain.
    ///
    /// # Errors
    /// [`StepError::Journal`].
    pub fn note(&self, name: &str, data: Value) -> Result<(), StepError> {
        self.journal.append(self.id, vec![Event::Noted { n: self.n, name: name.to_owned(), data }])?;
        Ok(())
    }

    /// Says how far the step is. Callers limit their own rate (about once a second).
    ///
    /// # Errors
    /// [`StepError::Journal`].
    pub fn progress(&self, done: u64, total: Option<u64>, unit: &str) -> Result<(), StepError> {
        Ok(self.journal.progress(self.id, self.n, Progress { done, total, unit: unit.to_owned() })?)
    }

    /// Did this operation announce the resource as its own?
    ///
    /// # Errors
    /// [`StepError::Journal`].
    pub fn owns(&self, resource: &str) -> Result<bool, StepError> {
        Ok(self.journal.owns(self.id, resource)?)
    }
}

fn parse<T: DeserializeOwned>(what: &str, value: &Value) -> Result<T, StepError> {
    serde_json::from_value(value.clone()).map_err(|e| StepError::Unclear(format!("journaled {what}: {e}")))
}
