//! What can happen to an operation. Events are the journal's only truth; they are stored as JSON with a version.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far a step can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepClass {
    /// The undo restores the state before the step exactly.
    Undoable,
    /// The undo leaves an acceptable state, not the same one.
    Compensable,
    /// Nothing before or at this step can be undone once it was intended.
    PointOfNoReturn,
}

/// Name and class of a step as journaled when the operation starts. Names are unique within an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Stable name, snake case; other steps read outcomes by it.
    pub name: String,
    /// How far it can be taken back.
    pub class: StepClass,
}

/// How an operation that stands at `needs_operator` can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayOut {
    /// Forward again: the step that stopped it begins with its probe.
    Retry,
    /// Undo, or go on undoing.
    RollBack,
    /// A person has cleared everything by hand; nothing of it stands.
    Accept,
}

impl WayOut {
    /// The word used in the journal and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RollBack => "roll_back",
            Self::Accept => "accept",
        }
    }
}

/// One fact about an operation. The order of legal events is defined by [`crate::Operation::apply`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The gate said no.
    Refused {
        /// One line for people.
        reason: String,
        /// The facts that the verdict rests on.
        evidence: Value,
    },
    /// Stops until somebody signs.
    AuthorizationNeeded {
        /// One line for people.
        reason: String,
        /// Requirement and facts.
        evidence: Value,
    },
    /// Somebody consented. What has not started yet needs it to start, and waits no less for it.
    Authorized {
        /// Who consented to what, in the domain's words; the last one counts.
        authorization: Value,
        /// Tokens that are good once in the journal's life (for example `challenge:HEX`).
        consumes: Vec<String>,
    },
    /// Nobody signed in time.
    Expired {
        /// One line for people.
        reason: String,
    },
    /// Authorized, and a grace period runs.
    Grace {
        /// One line for people.
        reason: String,
        /// How long it must have run, in seconds of a running host.
        seconds: u64,
    },
    /// How much of the grace period is over; never less than was said before.
    GraceCounted {
        /// In all, in seconds of a running host.
        seconds: u64,
    },
    /// The grace period is longer from now on; it never gets shorter.
    GraceLengthened {
        /// In all, in seconds of a running host.
        seconds: u64,
    },
    /// Stopped by a person before it started.
    Vetoed {
        /// Who and why.
        reason: String,
    },
    /// Approved; these are the steps.
    Started {
        /// In order.
        steps: Vec<StepSpec>,
    },
    /// A step is about to act.
    StepIntended {
        /// Index of the step.
        n: usize,
        /// What it observed and chose.
        intent: Value,
        /// Resources that the operation owns from now on.
        owns: Vec<String>,
    },
    /// The step (or its undo) holds this handle of the outside world; the last one counts.
    StepHandle {
        /// Index of the step.
        n: usize,
        /// For example a task id.
        handle: Value,
    },
    /// The effect was read back.
    StepConfirmed {
        /// Index of the step.
        n: usize,
        /// What later steps may read.
        outcome: Value,
    },
    /// The step failed; what follows is a roll-back or an operator.
    StepFailed {
        /// Index of the step.
        n: usize,
        /// What was tried, and why it failed.
        reason: String,
    },
    /// A named fact of the domain (for example `snapshotted`).
    Noted {
        /// Index of the step that says it.
        n: usize,
        /// Name of the fact.
        name: String,
        /// Details.
        data: Value,
    },
    /// Somebody wants it stopped and undone: no new step begins.
    CancelRequested {
        /// Who, in the domain's words.
        by: Value,
        /// One line for people.
        reason: String,
    },
    /// Undo begins.
    RollingBack {
        /// Why.
        reason: String,
    },
    /// The undo of a step is about to act.
    UndoIntended {
        /// Index of the step.
        n: usize,
    },
    /// The step's effects are gone.
    Undone {
        /// Index of the step.
        n: usize,
    },
    /// Everything was undone.
    RolledBack,
    /// All steps are confirmed.
    Done {
        /// Result for the requester.
        result: Value,
    },
    /// Neither forward nor back without a person.
    NeedsOperator {
        /// What is the matter.
        reason: String,
    },
    /// A person decided how it goes on.
    Resolved {
        /// One of [`crate::Operation::ways_out`].
        way: WayOut,
        /// Who, in the domain's words.
        by: Value,
        /// Why this way; one line for people.
        reason: String,
    },
}

/// An event with its place in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Grows over the whole journal; acknowledged numbers are durable.
    pub seq: u64,
    /// Wall clock when it was written; for people only, nothing is decided by it.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}
