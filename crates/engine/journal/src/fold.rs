//! State as a fold over events: which event is legal when, and what it changes.

use crate::event::{Event, Recorded, WayOut};
use crate::state::{Cancel, Grace, Note, Operation, State, StepState, StepView};
use crate::store::{OperationId, StoredOperation};

/// The event is not allowed in this state.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("operation {id} in state {state}: event {event:?} is not allowed: {why}")]
pub struct IllegalEvent {
    /// The operation.
    pub id: OperationId,
    /// Its state.
    pub state: &'static str,
    /// The event.
    pub event: Box<Event>,
    /// What forbids it.
    pub why: &'static str,
}

impl Operation {
    /// Folds a stored operation.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the stored events do not follow each other legally.
    pub fn fold(stored: StoredOperation) -> Result<Self, IllegalEvent> {
        let mut op = Self::pending(stored.new);
        for recorded in &stored.events {
            op.apply(recorded)?;
        }
        for (n, progress) in stored.progress {
            if let Some(step) = op.steps.get_mut(n) {
                step.progress = Some(progress);
            }
        }
        Ok(op)
    }

    /// Applies one event.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the state does not allow it; the operation is unchanged then.
    pub fn apply(&mut self, recorded: &Recorded) -> Result<(), IllegalEvent> {
        self.check(&recorded.event).map_err(|why| IllegalEvent {
            id: self.id(),
            state: self.state.as_str(),
            event: Box::new(recorded.event.clone()),
            why,
        })?;
        self.change(recorded);
        self.updated_at = recorded.at;
        self.last_seq = recorded.seq;
        Ok(())
    }

    fn check(&self, event: &Event) -> Result<(), &'static str> {
        if !allowed_in(event).contains(&self.state) {
            return Err("the operation's state forbids it");
        }
        self.check_people(event)?;
        self.check_steps(event)
    }

    /// What consent, grace, cancellation and a person's decision forbid.
    fn check_people(&self, event: &Event) -> Result<(), &'static str> {
        let waits = matches!(self.state, State::PendingAuthorization | State::Waiting);
        let refused = match event {
            Event::Grace { .. } if self.authorization.is_none() => Some("nobody consented"),
            Event::GraceCounted { seconds } if self.grace.is_some_and(|g| *seconds < g.counted) => {
                Some("more of the grace period was over before")
            }
            Event::GraceLengthened { seconds } if self.grace.is_some_and(|g| *seconds <= g.seconds) => {
                Some("a grace period only gets longer")
            }
            Event::Started { .. } if waits && self.authorization.is_none() => Some("nobody consented"),
            Event::Started { .. } if !self.grace_is_over() => Some("the grace period is not over"),
            Event::CancelRequested { .. } if self.past_no_return() => {
                Some("a point of no return was intended")
            }
            Event::CancelRequested { .. } if self.cancel.is_some() => Some("it is cancelled already"),
            Event::StepIntended { .. } | Event::Done { .. } if self.cancel.is_some() => {
                Some("it is cancelled")
            }
            Event::Resolved { way, .. } if !self.ways_out().contains(way) => {
                Some("this way out is not offered")
            }
            Event::Refused { .. }
            | Event::AuthorizationNeeded { .. }
            | Event::Authorized { .. }
            | Event::Expired { .. }
            | Event::Grace { .. }
            | Event::GraceCounted { .. }
            | Event::GraceLengthened { .. }
            | Event::Vetoed { .. }
            | Event::Started { .. }
            | Event::StepIntended { .. }
            | Event::StepHandle { .. }
            | Event::StepConfirmed { .. }
            | Event::StepFailed { .. }
            | Event::Noted { .. }
            | Event::CancelRequested { .. }
            | Event::RollingBack { .. }
            | Event::UndoIntended { .. }
            | Event::Undone { .. }
            | Event::RolledBack
            | Event::Done { .. }
            | Event::NeedsOperator { .. }
            | Event::Resolved { .. } => None,
        };
        refused.map_or(Ok(()), Err)
    }

    fn check_steps(&self, event: &Event) -> Result<(), &'static str> {
        let is = |n: usize, allowed: &[StepState]| match self.steps.get(n) {
            None => Err("there is no such step"),
            Some(step) if allowed.contains(&step.state) => Ok(()),
            Some(_) => Err("the step's state forbids it"),
        };
        match event {
            Event::Started { steps } => {
                let unique =
                    steps.iter().enumerate().all(|(i, s)| steps[..i].iter().all(|t| t.name != s.name));
                if unique { Ok(()) } else { Err("two steps have one name") }
            }
            Event::StepIntended { n, .. } => {
                is(*n, &[StepState::Planned])?;
                let before = self.steps[..*n].iter().all(|s| s.state == StepState::Confirmed);
                if before { Ok(()) } else { Err("an earlier step is not confirmed") }
            }
            Event::StepHandle { n, .. } if self.state == State::Running => is(*n, &[StepState::Intended]),
            Event::StepHandle { n, .. } => is(*n, &[StepState::Undoing]),
            Event::StepConfirmed { n, .. } => is(*n, &[StepState::Intended]),
            Event::StepFailed { n, .. } => is(*n, &[StepState::Planned, StepState::Intended]),
            Event::Noted { n, .. } => is(*n, &[StepState::Intended, StepState::Undoing]),
            Event::RollingBack { .. } if self.past_no_return() => Err("a point of no return was intended"),
            Event::UndoIntended { n } => {
                is(*n, &[StepState::Intended, StepState::Confirmed, StepState::Failed])?;
                let later = self.steps[*n + 1..]
                    .iter()
                    .all(|s| matches!(s.state, StepState::Planned | StepState::Undone));
                if later { Ok(()) } else { Err("a later step is not undone") }
            }
            Event::Undone { n } => is(*n, &[StepState::Undoing]),
            Event::RolledBack => {
                let all =
                    self.steps.iter().all(|s| matches!(s.state, StepState::Planned | StepState::Undone));
                if all { Ok(()) } else { Err("a step is not undone") }
            }
            Event::Done { .. } => {
                let all = self.steps.iter().all(|s| s.state == StepState::Confirmed);
                if all { Ok(()) } else { Err("a step is not confirmed") }
            }
            Event::Refused { .. }
            | Event::AuthorizationNeeded { .. }
            | Event::Authorized { .. }
            | Event::Expired { .. }
            | Event::Grace { .. }
            | Event::GraceCounted { .. }
            | Event::GraceLengthened { .. }
            | Event::Vetoed { .. }
            | Event::CancelRequested { .. }
            | Event::RollingBack { .. }
            | Event::NeedsOperator { .. }
            | Event::Resolved { .. } => Ok(()),
        }
    }

    fn change(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::Refused { reason, evidence } => {
                self.enter(State::Refused, Some(reason));
                self.evidence = Some(evidence.clone());
            }
            Event::AuthorizationNeeded { reason, evidence } => {
                self.enter(State::PendingAuthorization, Some(reason));
                self.evidence = Some(evidence.clone());
                self.authorization = None;
                self.grace = None;
            }
            Event::Authorized { authorization, .. } => self.authorization = Some(authorization.clone()),
            Event::Expired { reason } => self.enter(State::Expired, Some(reason)),
            Event::Grace { reason, seconds } => {
                self.enter(State::Waiting, Some(reason));
                self.grace = Some(Grace { seconds: *seconds, counted: 0 });
            }
            Event::GraceCounted { seconds } => {
                self.grace = self.grace.map(|grace| Grace { counted: *seconds, ..grace });
            }
            Event::GraceLengthened { seconds } => {
                self.grace = self.grace.map(|grace| Grace { seconds: *seconds, ..grace });
            }
            Event::Vetoed { reason } => self.enter(State::Vetoed, Some(reason)),
            Event::Started { steps } => {
                self.enter(State::Running, None);
                self.started_at = Some(recorded.at);
                self.steps = steps.iter().map(StepView::planned).collect();
            }
            Event::CancelRequested { by, reason } => {
                self.cancel = Some(Cancel { by: by.clone(), reason: reason.clone() });
            }
            Event::RollingBack { reason } => self.enter(State::RollingBack, Some(reason)),
            Event::RolledBack => self.state = State::RolledBack,
            Event::Done { result } => {
                self.enter(State::Done, None);
                self.result = Some(result.clone());
            }
            Event::NeedsOperator { reason } => self.enter(State::NeedsOperator, Some(reason)),
            Event::Resolved { way, reason, .. } => self.resolve(*way, reason, recorded),
            Event::Noted { n, name, data } => self.notes.push(Note {
                seq: recorded.seq,
                at: recorded.at,
                step: *n,
                name: name.clone(),
                data: data.clone(),
            }),
            Event::StepIntended { n, .. }
            | Event::StepHandle { n, .. }
            | Event::StepConfirmed { n, .. }
            | Event::StepFailed { n, .. }
            | Event::UndoIntended { n }
            | Event::Undone { n } => {
                if let Some(step) = self.steps.get_mut(*n) {
                    change_step(step, recorded);
                }
            }
        }
    }

    fn resolve(&mut self, way: WayOut, reason: &String, recorded: &Recorded) {
        match way {
            WayOut::Retry => {
                self.enter(State::Running, None);
                for step in self.steps.iter_mut().filter(|s| s.state == StepState::Failed) {
                    step.state = StepState::Intended;
                    // It names what failed; the probe finds what goes on all the same.
                    step.handle = None;
                }
                for step in self.steps.iter_mut().filter(|s| s.failure.is_some()) {
                    step.failure = None;
                    step.ended_at = None;
                }
            }
            WayOut::RollBack => {
                self.enter(State::RollingBack, Some(reason));
                for step in self.steps.iter_mut().filter(|s| s.state == StepState::Undoing) {
                    step.undo_handle = None;
                }
            }
            WayOut::Accept => {
                self.enter(State::RolledBack, Some(&format!("cleared by hand: {reason}")));
                for step in self.steps.iter_mut().filter(|s| s.state != StepState::Planned) {
                    step.state = StepState::Undone;
                    step.ended_at = Some(recorded.at);
                }
            }
        }
    }

    fn enter(&mut self, state: State, reason: Option<&String>) {
        self.state = state;
        self.reason = reason.cloned();
    }
}

/// The states in which an event can be legal at all.
fn allowed_in(event: &Event) -> &'static [State] {
    match event {
        Event::Authorized { .. } | Event::Grace { .. } => &[State::Pending, State::PendingAuthorization],
        Event::Expired { .. } => &[State::PendingAuthorization],
        Event::GraceCounted { .. } | Event::GraceLengthened { .. } => &[State::Waiting],
        Event::Refused { .. }
        | Event::AuthorizationNeeded { .. }
        | Event::Vetoed { .. }
        | Event::Started { .. } => &[State::Pending, State::PendingAuthorization, State::Waiting],
        Event::StepIntended { .. }
        | Event::StepConfirmed { .. }
        | Event::StepFailed { .. }
        | Event::CancelRequested { .. }
        | Event::RollingBack { .. }
        | Event::Done { .. } => &[State::Running],
        Event::StepHandle { .. } | Event::Noted { .. } => &[State::Running, State::RollingBack],
        Event::UndoIntended { .. } | Event::Undone { .. } | Event::RolledBack => &[State::RollingBack],
        Event::NeedsOperator { .. } => {
            &[State::Pending, State::PendingAuthorization, State::Waiting, State::Running, State::RollingBack]
        }
        Event::Resolved { .. } => &[State::NeedsOperator],
    }
}

fn change_step(step: &mut StepView, recorded: &Recorded) {
    let at = recorded.at;
    match &recorded.event {
        Event::StepIntended { intent, owns, .. } => {
            step.state = StepState::Intended;
            step.intent = Some(intent.clone());
            step.owns.clone_from(owns);
            step.started_at = Some(at);
        }
        Event::StepHandle { handle, .. } => {
            let slot =
                if step.state == StepState::Undoing { &mut step.undo_handle } else { &mut step.handle };
            *slot = Some(handle.clone());
        }
        Event::StepConfirmed { outcome, .. } => {
            step.state = StepState::Confirmed;
            step.outcome = Some(outcome.clone());
            step.ended_at = Some(at);
        }
        Event::StepFailed { reason, .. } => {
            // A step that failed while it only observed has nothing to undo.
            if step.state == StepState::Intended {
                step.state = StepState::Failed;
            }
            step.failure = Some(reason.clone());
            step.ended_at = Some(at);
        }
        Event::UndoIntended { .. } => step.state = StepState::Undoing,
        Event::Undone { .. } => {
            step.state = StepState::Undone;
            step.ended_at = Some(at);
        }
        Event::Refused { .. }
        | Event::AuthorizationNeeded { .. }
        | Event::Authorized { .. }
        | Event::Expired { .. }
        | Event::Grace { .. }
        | Event::GraceCounted { .. }
        | Event::GraceLengthened { .. }
        | Event::Vetoed { .. }
        | Event::Started { .. }
        | Event::Noted { .. }
        | Event::CancelRequested { .. }
        | Event::RollingBack { .. }
        | Event::RolledBack
        | Event::Done { .. }
        | Event::NeedsOperator { .. }
        | Event::Resolved { .. } => {}
    }
}
