//! State as a fold over events: which event is legal when, and what it changes.

use jiff::Timestamp;
use serde_json::Value;

use crate::event::{Event, Recorded, StepClass, StepSpec};
use crate::store::{NewOperation, OperationId, Progress, StoredOperation};

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Journaled, not decided.
    Pending,
    /// Ended: the gate said no.
    Refused,
    /// Stands until somebody signs.
    PendingAuthorization,
    /// Ended: nobody signed in time.
    Expired,
    /// Grace period.
    Waiting,
    /// Ended: stopped by the customer.
    Vetoed,
    /// Steps run.
    Running,
    /// Ended well.
    Done,
    /// Undo runs.
    RollingBack,
    /// Ended: everything undone.
    RolledBack,
    /// Stands until a person decides.
    NeedsOperator,
}

impl State {
    /// The word used in tables, on the wire and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::PendingAuthorization => "pending_authorization",
            Self::Expired => "expired",
            Self::Waiting => "waiting",
            Self::Vetoed => "vetoed",
            Self::Running => "running",
            Self::Done => "done",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::NeedsOperator => "needs_operator",
        }
    }

    /// Can anything still happen without a person's decision? `needs_operator` counts as active: it keeps its claims, but
    /// for slots ([`Operation::claims`]).
    #[must_use]
    pub fn is_active(self) -> bool {
        match self {
            Self::Pending
            | Self::PendingAuthorization
            | Self::Waiting
            | Self::Running
            | Self::RollingBack
            | Self::NeedsOperator => true,
            Self::Refused | Self::Expired | Self::Vetoed | Self::Done | Self::RolledBack => false,
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepState {
    /// Not begun.
    Planned,
    /// May have acted.
    Intended,
    /// Read back.
    Confirmed,
    /// Failed; may have acted.
    Failed,
    /// Its undo may have acted.
    Undoing,
    /// Its effects are gone.
    Undone,
}

impl StepState {
    /// The word used in tables and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Intended => "intended",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
        }
    }
}

/// A step as folded from the events.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// Unique name.
    pub name: String,
    /// How far it can be taken back.
    pub class: StepClass,
    /// Where it stands.
    pub state: StepState,
    /// What it observed and chose.
    pub intent: Option<Value>,
    /// Resources that it announced.
    pub owns: Vec<String>,
    /// Last handle of the act.
    pub handle: Option<Value>,
    /// Last handle of the undo.
    pub undo_handle: Option<Value>,
    /// What was read back.
    pub outcome: Option<Value>,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it was intended.
    pub started_at: Option<Timestamp>,
    /// When it was confirmed, failed or undone.
    pub ended_at: Option<Timestamp>,
    /// Last progress.
    pub progress: Option<Progress>,
}

impl StepView {
    fn planned(spec: &StepSpec) -> Self {
        Self {
            name: spec.name.clone(),
            class: spec.class,
            state: StepState::Planned,
            intent: None,
            owns: Vec::new(),
            handle: None,
            undo_handle: None,
            outcome: None,
            failure: None,
            started_at: None,
            ended_at: None,
            progress: None,
        }
    }
}

/// A fact noted by a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Number in the journal (0 until it is stored).
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Index of the step.
    pub step: usize,
    /// Name of the fact.
    pub name: String,
    /// Details.
    pub data: Value,
}

/// An operation as folded from its events.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The request.
    pub new: NewOperation,
    /// Where it stands.
    pub state: State,
    /// The last reason given (refusal, roll-back, needs operator).
    pub reason: Option<String>,
    /// Evidence of a refusal or of a needed authorization.
    pub evidence: Option<Value>,
    /// Result when done.
    pub result: Option<Value>,
    /// Steps, once started.
    pub steps: Vec<StepView>,
    /// Facts noted by the steps.
    pub notes: Vec<Note>,
    /// Time of the last event (creation, if none).
    pub updated_at: Timestamp,
    /// Number of the last event, 0 if none.
    pub last_seq: u64,
}

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
    /// An operation without events: `pending`.
    #[must_use]
    pub fn pending(new: NewOperation) -> Self {
        let updated_at = new.created_at;
        Self {
            new,
            state: State::Pending,
            reason: None,
            evidence: None,
            result: None,
            steps: Vec::new(),
            notes: Vec::new(),
            updated_at,
            last_seq: 0,
        }
    }

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

    /// Identity.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.new.envelope.id
    }

    /// The step that a name belongs to.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepView> {
        self.steps.iter().find(|s| s.name == name)
    }

    /// What it keeps others from now. An operation that waits for a person keeps its guest, and no slot (`slot:…`) that all
    /// guests share: others go on.
    pub fn claims(&self) -> impl Iterator<Item = &String> {
        let stands = self.state == State::NeedsOperator;
        self.new.body.claims.iter().filter(move |claim| !(stands && claim.starts_with("slot:")))
    }

    /// Was a point of no return intended?
    #[must_use]
    pub fn past_no_return(&self) -> bool {
        self.steps.iter().any(|s| s.class == StepClass::PointOfNoReturn && s.state != StepState::Planned)
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
        let states: &[State] = match event {
            Event::Refused { .. } => &[State::Pending, State::PendingAuthorization, State::Waiting],
            Event::AuthorizationNeeded { .. } => &[State::Pending, State::Waiting],
            Event::Expired { .. } => &[State::PendingAuthorization],
            Event::Grace { .. } => &[State::Pending, State::PendingAuthorization],
            Event::Vetoed { .. } => &[State::Waiting],
            Event::Started { .. } => &[State::Pending, State::PendingAuthorization, State::Waiting],
            Event::StepIntended { .. }
            | Event::StepConfirmed { .. }
            | Event::StepFailed { .. }
            | Event::Done { .. } => &[State::Running],
            Event::StepHandle { .. } | Event::Noted { .. } => &[State::Running, State::RollingBack],
            Event::RollingBack { .. } => &[State::Running],
            Event::UndoIntended { .. } | Event::Undone { .. } | Event::RolledBack => &[State::RollingBack],
            Event::NeedsOperator { .. } => &[
                State::Pending,
                State::PendingAuthorization,
                State::Waiting,
                State::Running,
                State::RollingBack,
            ],
        };
        if !states.contains(&self.state) {
            return Err("the operation's state forbids it");
        }
        self.check_steps(event)
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
            | Event::Expired { .. }
            | Event::Grace { .. }
            | Event::Vetoed { .. }
            | Event::RollingBack { .. }
            | Event::NeedsOperator { .. } => Ok(()),
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
            }
            Event::Expired { reason } => self.enter(State::Expired, Some(reason)),
            Event::Grace { reason } => self.enter(State::Waiting, Some(reason)),
            Event::Vetoed { reason } => self.enter(State::Vetoed, Some(reason)),
            Event::Started { steps } => {
                self.enter(State::Running, None);
                self.steps = steps.iter().map(StepView::planned).collect();
            }
            Event::RollingBack { reason } => self.enter(State::RollingBack, Some(reason)),
            Event::RolledBack => self.state = State::RolledBack,
            Event::Done { result } => {
                self.enter(State::Done, None);
                self.result = Some(result.clone());
            }
            Event::NeedsOperator { reason } => self.enter(State::NeedsOperator, Some(reason)),
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

    fn enter(&mut self, state: State, reason: Option<&String>) {
        self.state = state;
        self.reason = reason.cloned();
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
        | Event::Expired { .. }
        | Event::Grace { .. }
        | Event::Vetoed { .. }
        | Event::Started { .. }
        | Event::Noted { .. }
        | Event::RollingBack { .. }
        | Event::RolledBack
        | Event::Done { .. }
        | Event::NeedsOperator { .. } => {}
    }
}
