//! Steps as plain async code: [`Act`] is the journal's `Step` without boxes, [`boxed`] makes the one of the other.

use std::future::Future;

use felhom_journal::{BoxFuture, Intent, Probe, Step, StepClass, StepContext, StepError};
use serde_json::Value;

/// A step; see [`felhom_journal::Step`].
pub(super) trait Act: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &'static str;

    /// How far it can be taken back.
    fn class(&self) -> StepClass {
        StepClass::Undoable
    }

    /// Observes and chooses.
    fn intent(&self, cx: &StepContext) -> impl Future<Output = Result<Intent, StepError>> + Send {
        let _ = cx;
        async { Ok(Intent::default()) }
    }

    /// Asks the real system whether the act happened.
    fn probe(&self, cx: &StepContext) -> impl Future<Output = Result<Probe, StepError>> + Send {
        let _ = cx;
        async { Ok(Probe::NotDone) }
    }

    /// Acts, or goes on.
    fn act(&self, cx: &StepContext) -> impl Future<Output = Result<(), StepError>> + Send;

    /// Reads the effect back.
    fn confirm(&self, cx: &StepContext) -> impl Future<Output = Result<Value, StepError>> + Send {
        let _ = cx;
        async { Ok(Value::Null) }
    }

    /// Takes it back.
    fn undo(&self, cx: &StepContext) -> impl Future<Output = Result<(), StepError>> + Send {
        let _ = cx;
        async { Ok(()) }
    }
}

struct Boxed<T>(T);

impl<T: Act> Step for Boxed<T> {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn class(&self) -> StepClass {
        self.0.class()
    }
    fn intent<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Intent, StepError>> {
        Box::pin(self.0.intent(cx))
    }
    fn probe<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Probe, StepError>> {
        Box::pin(self.0.probe(cx))
    }
    fn act<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(self.0.act(cx))
    }
    fn confirm<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Value, StepError>> {
        Box::pin(self.0.confirm(cx))
    }
    fn undo<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(self.0.undo(cx))
    }
}

/// A step for the runner's list.
pub(super) fn boxed(act: impl Act) -> Box<dyn Step> {
    Box::new(Boxed(act))
}

/// An outcome as the journal keeps it.
///
/// # Errors
/// [`StepError::Failed`] if it cannot be JSON.
pub(super) fn outcome(value: &impl serde::Serialize) -> Result<Value, StepError> {
    serde_json::to_value(value).map_err(|e| StepError::Failed(format!("outcome: {e}")))
}
