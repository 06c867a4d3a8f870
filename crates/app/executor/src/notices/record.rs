//! From the journal to the ledger: which stage an operation is at, and whose customers are told.

use felhom_journal::{Operation as Journaled, State, StepError, StoreError};
use felhom_model::observed::Purpose;
use felhom_model::{GuestUuid, Operation, OperationKind};
use felhom_protocol::notices::{Notice, NoticeStage};

use crate::authorization::label;
use crate::ledger::{GuestRow, RowState};
use crate::marks::{from_journal, to_journal};
use crate::operations::domain;
use crate::request::{Chosen, Request};
use crate::services::Services;

/// Keeps a notice of every operation that waits for people, and of what became of those that did.
///
/// # Errors
/// [`StepError`] if journal or ledger cannot be read or written.
pub fn record(s: &Services) -> Result<(), StepError> {
    for op in s.journal.active_operations() {
        if matches!(op.state, State::PendingAuthorization | State::Waiting) {
            keep(s, &op)?;
        }
    }
    for row in s.ledger.newest_notices().map_err(StepError::failed)? {
        if row.notice.stage.can_be_vetoed()
            && let Some(op) = s.journal.get(to_journal(row.notice.operation))?
        {
            keep(s, &op)?;
        }
    }
    Ok(())
}

fn stage(op: &Journaled) -> NoticeStage {
    match op.state {
        State::PendingAuthorization if op.authorization.is_none() => NoticeStage::Consent,
        // Authorized, and without a grace it only waits until the guest is free.
        State::PendingAuthorization | State::Pending | State::Running | State::Done => NoticeStage::Begins,
        State::RollingBack | State::RolledBack | State::NeedsOperator => NoticeStage::Begins,
        State::Waiting => NoticeStage::Grace,
        State::Vetoed => NoticeStage::Vetoed,
        State::Expired | State::Refused => NoticeStage::Dropped,
    }
}

fn keep(s: &Services, op: &Journaled) -> Result<(), StepError> {
    at_stage(s, op, stage(op)).map(drop)
}

/// Keeps the notice that an operation is about to begin; the guests that are told.
///
/// # Errors
/// [`StepError`] if journal or ledger cannot be read or written.
pub fn record_begins(s: &Services, op: &Journaled) -> Result<Vec<GuestUuid>, StepError> {
    at_stage(s, op, NoticeStage::Begins)
}

fn at_stage(s: &Services, op: &Journaled, stage: NoticeStage) -> Result<Vec<GuestUuid>, StepError> {
    let (operation, chosen) = domain(op)?;
    let request = Request::of(op).map_err(StepError::Unclear)?;
    let rows = s.ledger.guests().map_err(StepError::failed)?;
    let mut told = Vec::new();
    for (guest, about) in receivers(&rows, &operation, &chosen) {
        let row = rows.iter().find(|row| row.uuid == about);
        let notice = Notice {
            operation: from_journal(op.id()),
            kind: operation.kind(),
            stage,
            about,
            label: row.map(|row| label(row, &rows)).unwrap_or_default(),
            asked_by: request.asked_by.clone(),
            reason: request.reason.clone(),
            grace_s: op.grace.map_or(0, |grace| grace.left()),
            at: s.now(),
        };
        s.ledger.record_notice(guest, &notice)?;
        told.push(guest);
    }
    Ok(told)
}

/// Whose customers an operation concerns, each with the guest of theirs that it is about.
#[must_use]
pub fn receivers(rows: &[GuestRow], operation: &Operation, chosen: &Chosen) -> Vec<(GuestUuid, GuestUuid)> {
    let mut told: Vec<(GuestUuid, GuestUuid)> = Vec::new();
    if operation.kind() == OperationKind::RotateOperators {
        let tenants =
            rows.iter().filter(|row| row.purpose == Purpose::Tenant && row.state == RowState::Present);
        told.extend(tenants.map(|row| (row.uuid, row.uuid)));
    }
    for about in operation.guest().into_iter().chain(chosen.other) {
        if let Some(guest) = bearer(rows, about)
            && !told.iter().any(|(known, _)| *known == guest)
        {
            told.push((guest, about));
        }
    }
    told
}

/// The guest in which the customer of this one is reached.
fn bearer(rows: &[GuestRow], guest: GuestUuid) -> Option<GuestUuid> {
    let row = rows.iter().find(|row| row.uuid == guest)?;
    match row.purpose {
        Purpose::Tenant => Some(guest),
        // One that nobody took over from is still told while it is on its way to be one.
        Purpose::Tombstone => row.detail.succeeded_by.or(Some(guest)),
        Purpose::Copy => row.detail.restored_from,
        Purpose::Scratch | Purpose::Foreign => None,
    }
}

/// The newest state of a guest's row.
///
/// # Errors
/// [`StoreError`] if the ledger cannot be read.
pub(super) fn present(s: &Services, guest: GuestUuid) -> Result<Option<GuestRow>, StoreError> {
    Ok(s.ledger.guest(guest)?.filter(|row| row.state == RowState::Present))
}
