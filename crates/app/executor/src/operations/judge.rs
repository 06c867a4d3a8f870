//! The gate, asked with facts of just now: when an operation begins, after a restart, and right before each act that
//! unpacks or destroys something.

use felhom_gate::{
    Approved, DestroyFacts, Reason, Stage, UndoFacts, UndoGuest, Verdict, decide, decide_undo,
};
use felhom_journal::{Operation as Journaled, StepClass, StepContext, StepError, StepState};
use felhom_model::{GuestUuid, Operation};

use super::leftovers::was_unlocked;
use crate::facts::{ArchiveSeen, Asking, facts, referenced};
use crate::ledger::GuestRow;
use crate::marks::{from_journal, read_guest_mark};
use crate::observe::{ObserveError, RealGuest, observe};
use crate::request::{Chosen, Request};
use crate::services::{Services, step_error};

/// An error of observation inside a step: mostly that Proxmox is away just now.
#[must_use]
pub fn not_observed(error: &ObserveError) -> StepError {
    match error {
        ObserveError::Pve(e) => step_error(e),
        ObserveError::Rights(_) | ObserveError::Store(_) | ObserveError::Journal(_) => {
            StepError::Failed(error.to_string())
        }
    }
}

/// A refusal inside a step.
#[must_use]
pub(super) fn refused(reason: &Reason) -> StepError {
    StepError::Failed(format!("refused, {reason}"))
}

/// Domain operation and choices of a journaled one.
///
/// # Errors
/// [`StepError::Unclear`] if the journal holds something else.
pub fn domain(op: &Journaled) -> Result<(Operation, Chosen), StepError> {
    let request = Request::of(op).map_err(StepError::Unclear)?;
    let operation = request.operation(&op.new.body.kind).map_err(|e| StepError::Unclear(e.to_string()))?;
    Ok((operation, request.chosen))
}

/// Asks the gate for a journaled operation, with fresh facts.
///
/// # Errors
/// [`StepError::Failed`] with the refusal; [`StepError::Transient`] if Proxmox does not answer.
pub async fn judge(
    s: &Services,
    op: &Journaled,
    stage: Stage,
    archive: Option<&ArchiveSeen>,
) -> Result<Approved<Operation>, StepError> {
    match verdict(s, op, stage, archive).await? {
        Ok(approved) => Ok(approved),
        Err(reason) => Err(refused(&reason)),
    }
}

/// As [`judge`], with the refusal as a value.
///
/// # Errors
/// [`StepError::Transient`] if Proxmox does not answer.
pub(super) async fn verdict(
    s: &Services,
    op: &Journaled,
    stage: Stage,
    archive: Option<&ArchiveSeen>,
) -> Result<Result<Approved<Operation>, Reason>, StepError> {
    let (operation, chosen) = domain(op)?;
    judge_as(s, op, &operation, (&chosen, stage, archive)).await
}

/// Asks the gate for an operation on behalf of a journaled one (a restore test destroys its scratch guest).
///
/// # Errors
/// As [`verdict`].
pub(super) async fn judge_as(
    s: &Services,
    op: &Journaled,
    operation: &Operation,
    (chosen, stage, archive): (&Chosen, Stage, Option<&ArchiveSeen>),
) -> Result<Result<Approved<Operation>, Reason>, StepError> {
    let seen = observe(s).await.map_err(|e| not_observed(&e))?;
    let params = Request::of(op).map(|request| request.params).unwrap_or_default();
    let ask = Asking { operation, chosen, params: &params, within: from_journal(op.id()), archive, stage };
    let facts = facts(s, &seen, &ask).await.map_err(|e| not_observed(&e))?;
    let consents = s.consents(from_journal(op.id())).map_err(StepError::failed)?;
    match decide(operation, &facts, &consents) {
        Verdict::Allow(approved) => Ok(Ok(approved)),
        Verdict::NeedsAuthorization(requirement, evidence) => {
            Ok(Err(Reason::new("needs_authorization", requirement.to_string(), evidence)))
        }
        Verdict::Wait { left_s, reason } => {
            let text = format!("{}; its grace lasts {left_s} s longer", reason.text);
            Ok(Err(Reason::new("in_grace", text, reason.evidence)))
        }
        Verdict::Refuse(reason) => Ok(Err(reason)),
    }
}

/// What the intent of a restore kept, as far as its undo is judged by it.
#[derive(Debug, Clone)]
pub(super) struct AtIntent {
    /// Volumes of that VMID that existed before.
    pub volumes_before: Vec<String>,
    /// The VMID was observed absent.
    pub vmid_absent: bool,
}

/// Asks the gate whether this operation may take back the guest that it made.
///
/// # Errors
/// [`StepError::Unclear`] with the refusal: what was made stays, and a person looks.
pub(super) fn judge_undo(
    s: &Services,
    cx: &StepContext,
    (row, real): (&GuestRow, &RealGuest),
    at_intent: &AtIntent,
) -> Result<Approved<UndoGuest>, StepError> {
    let op = cx.operation()?;
    let undo = UndoGuest { operation: from_journal(op.id()), guest: row.uuid, vmid: row.vmid };
    let all = referenced(real);
    let made = all.iter().filter(|v| !at_intent.volumes_before.contains(&v.to_string())).cloned().collect();
    let mark = read_guest_mark(real.config.description());
    let facts = UndoFacts {
        owned: owned(cx, row.uuid)?,
        past_point_of_no_return: past(&op),
        purpose: row.purpose,
        vmids: s.config.limits().vmids,
        vmid_absent_at_intent: at_intent.vmid_absent,
        mark,
        lock: real.config.lock().map(str::to_owned),
        create_lock_removed_by_us: was_unlocked(&op),
        volumes: DestroyFacts { referenced: all, made },
    };
    decide_undo(&undo, &facts).map_err(|reason| StepError::Unclear(format!("undo refused, {reason}")))
}

fn owned(cx: &StepContext, guest: GuestUuid) -> Result<Vec<GuestUuid>, StepError> {
    Ok(if cx.owns(&resource(guest))? { vec![guest] } else { Vec::new() })
}

/// The name of a guest among the resources that an operation owns.
#[must_use]
pub(super) fn resource(guest: GuestUuid) -> String {
    format!("guest:{guest}")
}

/// The point of no return that the operation has begun, if any.
pub(super) fn past(op: &Journaled) -> Option<String> {
    let begun = |s: &&felhom_journal::StepView| {
        s.class == StepClass::PointOfNoReturn && s.state != StepState::Planned
    };
    op.steps.iter().find(begun).map(|s| s.name.clone())
}
