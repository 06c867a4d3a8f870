//! What an operation is: its state, its steps, and what follows from them. The fold that makes it is in `fold`.

use jiff::Timestamp;
use serde_json::Value;

use crate::event::{StepClass, StepSpec, WayOut};
use crate::store::{NewOperation, OperationId, Progress};

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
    /// Why it waited the last time before it tried again; of this process only.
    pub stalled: Option<String>,
}

impl StepView {
    pub(crate) fn planned(spec: &StepSpec) -> Self {
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
            stalled: None,
        }
    }
}

/// A grace period, in seconds during which the host ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// How long it is.
    pub seconds: u64,
    /// How much of it is over.
    pub counted: u64,
}

impl Grace {
    /// What is left, 0 when it is over.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.seconds.saturating_sub(self.counted)
    }
}

/// A wish to stop and undo.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancel {
    /// Who, in the domain's words.
    pub by: Value,
    /// One line for people.
    pub reason: String,
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
    /// Who consented, in the domain's words.
    pub authorization: Option<Value>,
    /// The grace period, if one was set.
    pub grace: Option<Grace>,
    /// When its steps began; nothing was touched before.
    pub started_at: Option<Timestamp>,
    /// The wish to stop and undo it, if there was one.
    pub cancel: Option<Cancel>,
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
            authorization: None,
            grace: None,
            started_at: None,
            cancel: None,
            result: None,
            steps: Vec::new(),
            notes: Vec::new(),
            updated_at,
            last_seq: 0,
        }
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

    /// What it keeps others from now. What has not started keeps nothing: others go on while people think. One that stands
    /// for a person keeps its guest, and no slot (`slot:…`) that all guests share.
    pub fn claims(&self) -> impl Iterator<Item = &String> {
        let holds = self.started_at.is_some() && self.state.is_active();
        let stands = self.state == State::NeedsOperator;
        self.new.body.claims.iter().filter(move |claim| holds && !(stands && claim.starts_with("slot:")))
    }

    /// Was a point of no return intended?
    #[must_use]
    pub fn past_no_return(&self) -> bool {
        self.point_passed().is_some()
    }

    /// The point of no return that was intended, if one was.
    #[must_use]
    pub fn point_passed(&self) -> Option<&StepView> {
        self.steps.iter().find(|s| s.class == StepClass::PointOfNoReturn && s.state != StepState::Planned)
    }

    /// What a person can choose, if it stands at `needs_operator`; each one is an event that is legal now.
    ///
    /// *Retry* unless an undo began or somebody wanted it stopped; *roll back* before a point of no return; *accept* unless a
    /// point of no return is confirmed, because what that did stands.
    #[must_use]
    pub fn ways_out(&self) -> Vec<WayOut> {
        if self.state != State::NeedsOperator {
            return Vec::new();
        }
        let started = self.started_at.is_some();
        let undone = self.steps.iter().any(|s| matches!(s.state, StepState::Undoing | StepState::Undone));
        let stands = |s: &StepView| s.class == StepClass::PointOfNoReturn && s.state == StepState::Confirmed;
        let ways = [
            (WayOut::Retry, started && !undone && self.cancel.is_none()),
            (WayOut::RollBack, started && !self.past_no_return()),
            (WayOut::Accept, !self.steps.iter().any(stands)),
        ];
        ways.into_iter().filter(|(_, offered)| *offered).map(|(way, _)| way).collect()
    }

    /// Is nothing left of the grace period? Also true where none was set.
    #[must_use]
    pub fn grace_is_over(&self) -> bool {
        self.grace.is_none_or(|grace| grace.left() == 0)
    }
}
