//! Before an operation may start: it is proposed, people consent, a grace period runs, and then it starts or never does.
//!
//! The runner keeps order and remembers; the domain verifies consent, measures the grace period and asks its gate for the
//! approval that a start needs.

use std::sync::Arc;

use serde_json::Value;

use super::{BeginError, Begun, Driver, Runner, specs};
use crate::event::Event;
use crate::journal::JournalError;
use crate::state::{Operation, State};
use crate::store::{Body, Envelope, OperationId};

/// A grace period that an authorization begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraceAsked {
    /// One line for people.
    pub reason: String,
    /// How long, in seconds of a running host.
    pub seconds: u64,
}

/// Why an operation that waits was not started. Nothing was recorded: it waits on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It does not wait for people.
    #[error("operation {id} is {}, nothing waits to be started", .state.as_str())]
    NotWaiting {
        /// The operation.
        id: OperationId,
        /// Its state.
        state: State,
    },
    /// Nobody consented, or the consent was forgotten.
    #[error("operation {0} has no authorization")]
    NotAuthorized(OperationId),
    /// The grace period runs.
    #[error("operation {id} waits for {left} seconds more of its grace period")]
    GraceRuns {
        /// The operation.
        id: OperationId,
        /// What is left of it.
        left: u64,
    },
    /// The approval was given for something else.
    #[error("the approval is not for operation {0} as it was proposed")]
    NotForThis(OperationId),
    /// Another operation holds a claim; ask again later.
    #[error("operation {by} is active on {claim}: this one waits on")]
    Busy {
        /// The active operation.
        by: OperationId,
        /// The claim that both have.
        claim: String,
    },
    /// The kind has no steps in this program (any more).
    #[error("{0}")]
    NoSteps(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(JournalError),
}

impl From<JournalError> for StartError {
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

impl<D: Driver> Runner<D> {
    /// Journals an operation that must wait for people. It claims nothing until it starts; a second proposal for the same
    /// object is kept out by its idempotency key, which the caller chooses.
    ///
    /// # Errors
    /// [`BeginError`], never `Busy`; nothing was recorded.
    pub fn propose(
        &self,
        envelope: Envelope,
        body: Body,
        reason: String,
        evidence: Value,
    ) -> Result<Begun, BeginError> {
        self.planned(&envelope, &body).map_err(BeginError::NoSteps)?;
        self.create(envelope, body, Event::AuthorizationNeeded { reason, evidence })
    }

    /// Records consent that the domain verified, consumes its tokens, and begins the grace period if there is one: all of it,
    /// or nothing. Without a grace period the operation can be started at once.
    ///
    /// # Errors
    /// [`JournalError::AlreadyConsumed`] if a token was used before (the journal goes on), [`JournalError::Illegal`] if the
    /// operation does not wait for consent, else as every write.
    pub fn authorize(
        &self,
        id: OperationId,
        authorization: Value,
        consumes: Vec<String>,
        grace: Option<GraceAsked>,
    ) -> Result<Operation, JournalError> {
        let grace = grace.map(|g| Event::Grace { reason: g.reason, seconds: g.seconds });
        let consent = Event::Authorized { authorization, consumes };
        self.journal.append(id, [consent].into_iter().chain(grace).collect())
    }

    /// Records how much of the grace period is over, in seconds of a running host. Less than was recorded changes nothing: a
    /// clock that fell back takes nothing away.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] if no grace period runs, else as every write.
    pub fn count_grace(&self, id: OperationId, seconds: u64) -> Result<Operation, JournalError> {
        self.journal.decide(id, |op| {
            let known = op.state == State::Waiting && op.grace.is_some_and(|g| seconds <= g.counted);
            Ok(if known { vec![] } else { vec![Event::GraceCounted { seconds }] })
        })
    }

    /// Makes the grace period longer.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] if no grace period runs or it would get shorter, else as every write.
    pub fn lengthen_grace(&self, id: OperationId, seconds: u64) -> Result<Operation, JournalError> {
        self.journal.decide(id, |op| {
            let same = op.state == State::Waiting && op.grace.is_some_and(|g| seconds == g.seconds);
            Ok(if same { vec![] } else { vec![Event::GraceLengthened { seconds }] })
        })
    }

    /// Starts an operation that people consented to, in the background.
    ///
    /// # Errors
    /// [`StartError`]; the operation waits on.
    pub fn start_authorized(
        self: &Arc<Self>,
        id: OperationId,
        approved: D::Approved,
    ) -> Result<Operation, StartError> {
        let op = self.journal_start_authorized(id, &approved)?;
        self.spawn(id, Some(approved));
        Ok(op)
    }

    /// As [`Runner::start_authorized`], without running it; [`Runner::run`] does.
    ///
    /// # Errors
    /// [`StartError`]; the operation waits on.
    pub fn journal_start_authorized(
        &self,
        id: OperationId,
        approved: &D::Approved,
    ) -> Result<Operation, StartError> {
        let op = self.journal.get(id)?.ok_or(JournalError::Unknown(id))?;
        may_start(&op)?;
        // The request never changes, so the domain is asked outside of the journal's lock.
        if !self.driver.approves(approved, &op) {
            return Err(StartError::NotForThis(id));
        }
        let steps = specs(&self.driver.steps(&op).map_err(StartError::NoSteps)?);
        self.journal.decide(id, |op| may_start(op).map(|()| vec![Event::Started { steps }]))
    }

    /// Ends an operation that nobody consented to in time.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] if it does not wait for consent, else as every write.
    pub fn expire(&self, id: OperationId, reason: String) -> Result<Operation, JournalError> {
        self.journal.append(id, vec![Event::Expired { reason }])
    }

    /// Ends an operation that has not started, because a person said no.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] if it does not wait, else as every write.
    pub fn veto(&self, id: OperationId, reason: String) -> Result<Operation, JournalError> {
        self.journal.append(id, vec![Event::Vetoed { reason }])
    }

    /// Ends an operation that has not started, because the gate says no by now.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] if it does not wait, else as every write.
    pub fn refuse_waiting(
        &self,
        id: OperationId,
        reason: String,
        evidence: Value,
    ) -> Result<Operation, JournalError> {
        self.journal.append(id, vec![Event::Refused { reason, evidence }])
    }

    /// Forgets consent and grace period: people must be asked again. Tokens that were consumed stay consumed.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] if it has started or ended, else as every write.
    pub fn back_to_authorization(
        &self,
        id: OperationId,
        reason: String,
        evidence: Value,
    ) -> Result<Operation, JournalError> {
        self.journal.append(id, vec![Event::AuthorizationNeeded { reason, evidence }])
    }
}

/// Do people and grace period let it start now?
fn may_start(op: &Operation) -> Result<(), StartError> {
    let id = op.id();
    if !matches!(op.state, State::PendingAuthorization | State::Waiting) {
        return Err(StartError::NotWaiting { id, state: op.state });
    }
    if op.authorization.is_none() {
        return Err(StartError::NotAuthorized(id));
    }
    match op.grace.map(|grace| grace.left()) {
        None | Some(0) => Ok(()),
        Some(left) => Err(StartError::GraceRuns { id, left }),
    }
}
