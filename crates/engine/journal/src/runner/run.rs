//! Forward through the steps, backward through the undos, and on again after a crash.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Driver, Runner, specs};
use crate::event::{Event, StepClass, StepSpec};
use crate::journal::JournalError;
use crate::state::{Operation, State, StepState, StepView};
use crate::step::{Probe, Step, StepContext, StepError};
use crate::store::OperationId;

impl<D: Driver> Runner<D> {
    /// Runs a started operation to its end in the caller's task. Without `approved` (after a restart) the gate is asked
    /// before the next step begins; a step that was intended was approved, may have acted, and goes on with its probe. Its
    /// act asks the gate itself where it cannot be taken back. Past a point of no return only forward is left, so nobody is
    /// asked but before a further such point. A wish to cancel is heeded between steps, between tries, and
    /// within a [`Step::cancellable`] act. Dropping the future is like a crash: [`Runner::recover`] in a new process goes on.
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
            if to_ask && op.state == State::Running && begins_a_step(&op) && !op.past_no_return() {
                to_ask = false;
                op = self.approve_again(op).await?;
            }
            let cx = |n| StepContext { journal: Arc::clone(&self.journal), id, n, resumed };
            op = match op.state {
                State::Running => match op.steps.iter().position(|s| s.state != StepState::Confirmed) {
                    None => self.finish(&op)?,
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

    /// Turns a cancelled operation back; others stay as they are.
    fn heed_cancel(&self, id: OperationId) -> Result<Operation, JournalError> {
        self.journal.decide(id, |op| Ok(turned_by_cancel(op).into_iter().collect()))
    }

    fn finish(&self, op: &Operation) -> Result<Operation, JournalError> {
        let done = Event::Done { result: self.driver.result(op) };
        self.journal.decide(op.id(), |op| Ok(vec![turned_by_cancel(op).unwrap_or(done)]))
    }

    async fn approve_again(&self, op: Operation) -> Result<Operation, JournalError> {
        let mut pause = self.retry.first;
        loop {
            match self.driver.reapprove(&op, None).await {
                Ok(_) => return Ok(op),
                Err(StepError::Journal(e)) => return Err(e),
                Err(StepError::Transient(reason)) => {
                    let next = op.steps.iter().position(|s| s.state != StepState::Confirmed);
                    pause = self.stall(&op, next.unwrap_or_default(), reason, pause).await;
                    let now = self.heed_cancel(op.id())?;
                    if now.state != State::Running {
                        return Ok(now);
                    }
                }
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
            let now = self.heed_cancel(op.id())?;
            if now.state != State::Running {
                return Ok(now);
            }
            match self.attempt(step, &now, cx).await {
                Ok(None) => return self.heed_cancel(op.id()),
                Ok(Some(outcome)) => {
                    return self.journal.append(op.id(), vec![Event::StepConfirmed { n: cx.n, outcome }]);
                }
                Err(StepError::Journal(e)) => return Err(e),
                Err(StepError::Transient(reason)) if since.elapsed() < self.retry.give_up => {
                    pause = self.stall(op, cx.n, reason, pause).await;
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

    /// One try. Nothing: somebody cancelled, and the step is to be undone as far as it went.
    async fn attempt(
        &self,
        step: &dyn Step,
        op: &Operation,
        cx: &StepContext,
    ) -> Result<Option<Value>, StepError> {
        if op.steps[cx.n].state == StepState::Planned {
            if step.class() == StepClass::PointOfNoReturn {
                self.driver.reapprove(op, Some(step.name())).await?;
            }
            let intent = step.intent(cx).await?;
            let event = Event::StepIntended { n: cx.n, intent: intent.data, owns: intent.owns };
            // Look and write at once: no point of no return is intended after a wish to cancel, and none is cancelled after.
            let choose = |op: &Operation| Ok(if op.cancel.is_some() { vec![] } else { vec![event] });
            let now = self.journal.decide::<JournalError>(op.id(), choose)?;
            if now.cancel.is_some() {
                return Ok(None);
            }
        }
        match step.probe(cx).await? {
            Probe::NotDone if cx.cancelled()? => return Ok(None),
            Probe::NotDone if step.cancellable() => tokio::select! {
                biased;
                acted = step.act(cx) => acted?,
                () = cx.cancel_requested() => return Ok(None),
            },
            Probe::NotDone => step.act(cx).await?,
            Probe::Done => {}
        }
        step.confirm(cx).await.map(Some)
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
                Err(StepError::Transient(reason)) => pause = self.stall(op, cx.n, reason, pause).await,
                Err(StepError::Failed(reason) | StepError::Unclear(reason)) => {
                    let first = op.reason.clone().unwrap_or_default();
                    return self.stop(op.id(), format!("{first}; undo of {}: {reason}", step.name()));
                }
            }
        }
    }

    /// Says what it waits for, and waits; going forward, not longer than until somebody cancels.
    async fn stall(&self, op: &Operation, step: usize, reason: String, pause: Duration) -> Duration {
        self.journal.stalled(op.id(), step, reason);
        let forward = op.state == State::Running;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.journal.cancel_requested(op.id()), if forward => {}
        }
        (pause * 2).min(self.retry.longest)
    }

    fn turn_back(
        &self,
        op: &Operation,
        failed: Option<usize>,
        reason: String,
    ) -> Result<Operation, JournalError> {
        let op = self.journal.get(op.id())?.ok_or(JournalError::Unknown(op.id()))?;
        let failed = failed.map(|n| Event::StepFailed { n, reason: reason.clone() });
        let stands =
            op.past_no_return().then(|| Event::NeedsOperator { reason: self.advised(&op, reason.clone()) });
        self.journal.decide(op.id(), |op| {
            let turned = stands.or_else(|| turned_by_cancel(op)).unwrap_or(Event::RollingBack { reason });
            Ok(failed.into_iter().chain([turned]).collect())
        })
    }

    pub(super) fn stop(&self, id: OperationId, reason: String) -> Result<Operation, JournalError> {
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

/// What a wish to cancel makes of a running operation.
fn turned_by_cancel(op: &Operation) -> Option<Event> {
    let cancel = op.cancel.as_ref().filter(|_| op.state == State::Running)?;
    Some(Event::RollingBack { reason: format!("cancelled: {}", cancel.reason) })
}

fn begins_a_step(op: &Operation) -> bool {
    let next = op.steps.iter().find(|s| s.state != StepState::Confirmed);
    next.is_some_and(|s| s.state == StepState::Planned)
}

fn needs_undo(step: &StepView) -> bool {
    match step.state {
        StepState::Intended | StepState::Confirmed | StepState::Failed | StepState::Undoing => true,
        StepState::Planned | StepState::Undone => false,
    }
}

fn journaled(op: &Operation) -> Vec<StepSpec> {
    op.steps.iter().map(|s| StepSpec { name: s.name.clone(), class: s.class }).collect()
}
