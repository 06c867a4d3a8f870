//! A person stops an operation, or decides about one that stands.

use std::sync::Arc;

use serde_json::Value;

use super::{Driver, Runner};
use crate::event::{Event, WayOut};
use crate::journal::JournalError;
use crate::state::{Operation, State};
use crate::store::OperationId;

/// Why an operation was not cancelled. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// It cannot be taken back any more.
    #[error("operation {id} is past its point of no return `{step}`: it goes on to its end")]
    PastNoReturn {
        /// The operation.
        id: OperationId,
        /// The step that cannot be undone.
        step: String,
    },
    /// It is done.
    #[error("operation {0} is done")]
    Done(OperationId),
    /// It stands for a person: choose one of its ways out.
    #[error("operation {id} needs an operator: choose one of {}", words(.offered))]
    Stands {
        /// The operation.
        id: OperationId,
        /// Its ways out.
        offered: Vec<WayOut>,
    },
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A person's decision about an operation that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// How it goes on.
    pub way: WayOut,
    /// Who decides, in the domain's words.
    pub by: Value,
    /// Why this way; one line for people.
    pub reason: String,
}

/// Why a decision was not taken. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It does not stand at `needs_operator` (perhaps because it was resolved before).
    #[error("operation {id} is {}, there is nothing to resolve", .state.as_str())]
    NotStanding {
        /// The operation.
        id: OperationId,
        /// Its state.
        state: State,
    },
    /// The way is not one of those that the operation offers.
    #[error("operation {id} offers {}, not {}", words(.offered), .way.as_str())]
    NotOffered {
        /// The operation.
        id: OperationId,
        /// The way that was chosen.
        way: WayOut,
        /// Those that there are.
        offered: Vec<WayOut>,
    },
    /// The approval was given for something else.
    #[error("the approval is not for resolving operation {0} in this way")]
    NotForThis(OperationId),
    /// Another operation holds a claim that this one needs to go on; ask again later.
    #[error("operation {by} is active on {claim}: wait for it to end")]
    Busy {
        /// The active operation.
        by: OperationId,
        /// The claim that both have.
        claim: String,
    },
    /// The journal failed.
    #[error(transparent)]
    Journal(JournalError),
}

impl From<JournalError> for ResolveError {
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

fn words(ways: &[WayOut]) -> String {
    ways.iter().map(|way| way.as_str()).collect::<Vec<_>>().join(", ")
}

impl<D: Driver> Runner<D> {
    /// Stops an operation: one that has not started is vetoed; a running one begins to undo at its next safe moment (see
    /// [`Runner::run`]), also after a crash. Asking again changes nothing, nor does asking for what rolls back or ended
    /// without effect.
    ///
    /// # Errors
    /// [`CancelError`].
    pub fn cancel(&self, id: OperationId, reason: String, by: Value) -> Result<Operation, CancelError> {
        self.journal.decide(id, |op| match op.state {
            State::Pending | State::PendingAuthorization | State::Waiting => {
                Ok(vec![Event::Vetoed { reason }])
            }
            State::Running => match op.point_passed() {
                Some(step) => Err(CancelError::PastNoReturn { id, step: step.name.clone() }),
                None if op.cancel.is_some() => Ok(vec![]),
                None => Ok(vec![Event::CancelRequested { by, reason }]),
            },
            State::NeedsOperator => Err(CancelError::Stands { id, offered: op.ways_out() }),
            State::Done => Err(CancelError::Done(id)),
            State::RollingBack | State::RolledBack | State::Refused | State::Expired | State::Vetoed => {
                Ok(vec![])
            }
        })
    }

    /// Ends the stand of an operation at `needs_operator`, and goes on with it in the background where there is something to
    /// do. Forward it goes as after a restart: with a probe, and the gate is asked before each new step.
    ///
    /// # Errors
    /// [`ResolveError`]; it stands on.
    pub fn resolve(
        self: &Arc<Self>,
        id: OperationId,
        decision: Resolution,
        approved: &D::Approved,
    ) -> Result<Operation, ResolveError> {
        let op = self.journal_resolve(id, decision, approved)?;
        if matches!(op.state, State::Running | State::RollingBack) {
            self.spawn(id, None);
        }
        Ok(op)
    }

    /// As [`Runner::resolve`], without running it; [`Runner::run`] does.
    ///
    /// # Errors
    /// [`ResolveError`]; it stands on.
    pub fn journal_resolve(
        &self,
        id: OperationId,
        decision: Resolution,
        approved: &D::Approved,
    ) -> Result<Operation, ResolveError> {
        let Resolution { way, by, reason } = decision;
        let op = self.journal.get(id)?.ok_or(JournalError::Unknown(id))?;
        is_offered(&op, way)?;
        // Asked outside of the journal's lock; the way is looked at again within it.
        if !self.driver.approves_way_out(approved, &op, way) {
            return Err(ResolveError::NotForThis(id));
        }
        self.journal.decide(id, |op| is_offered(op, way).map(|()| vec![Event::Resolved { way, by, reason }]))
    }
}

fn is_offered(op: &Operation, way: WayOut) -> Result<(), ResolveError> {
    let id = op.id();
    let offered = op.ways_out();
    if op.state != State::NeedsOperator {
        Err(ResolveError::NotStanding { id, state: op.state })
    } else if offered.contains(&way) {
        Ok(())
    } else {
        Err(ResolveError::NotOffered { id, way, offered })
    }
}
