//! Steps whose errors say which privilege is missing and who grants it, wherever Proxmox refused for want of one.

use std::sync::Arc;

use felhom_journal::{BoxFuture, Intent, Probe, Step, StepClass, StepContext, StepError};
use serde_json::Value;

use crate::rights::Rights;
use crate::services::Services;

/// A step of any kind.
struct Explained {
    s: Arc<Services>,
    step: Box<dyn Step>,
}

/// The same steps, with errors that explain missing rights.
pub(super) fn explained(s: &Arc<Services>, steps: Vec<Box<dyn Step>>) -> Vec<Box<dyn Step>> {
    let wrap = |step| -> Box<dyn Step> { Box::new(Explained { s: s.clone(), step }) };
    steps.into_iter().map(wrap).collect()
}

/// The error, with the sentence about rights if it speaks of them.
pub(super) fn explain(rights: &Rights, error: StepError) -> StepError {
    match error {
        StepError::Failed(why) => StepError::Failed(rights.explained(why)),
        StepError::Transient(why) => StepError::Transient(rights.explained(why)),
        StepError::Unclear(why) => StepError::Unclear(rights.explained(why)),
        StepError::Journal(error) => StepError::Journal(error),
    }
}

impl Explained {
    async fn of<T>(&self, result: BoxFuture<'_, Result<T, StepError>>) -> Result<T, StepError> {
        result.await.map_err(|error| explain(&self.s.rights, error))
    }
}

impl Step for Explained {
    fn name(&self) -> &'static str {
        self.step.name()
    }
    fn class(&self) -> StepClass {
        self.step.class()
    }
    fn intent<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Intent, StepError>> {
        Box::pin(self.of(self.step.intent(cx)))
    }
    fn probe<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Probe, StepError>> {
        Box::pin(self.of(self.step.probe(cx)))
    }
    fn act<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(self.of(self.step.act(cx)))
    }
    fn confirm<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<Value, StepError>> {
        Box::pin(self.of(self.step.confirm(cx)))
    }
    fn undo<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(self.of(self.step.undo(cx)))
    }
}
