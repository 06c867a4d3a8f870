//! A database that is older than what this box did with it: a copy was put back, or a disk forgot writes.
//!
//! At each start, before anything is resumed: 1. database against watermark; 2. if it is behind, the enrolment epoch rises, so
//! that no signature of before fits; 3. all challenges are closed and no consent counts; 4. what waited with an authorization
//! goes back to the people, and the audit log says so; 5. the watermark is put where the database is.
//!
//! A crash in between leaves the watermark ahead, so the next start does it all again. The file is gone after a reboot, and
//! with the host's disk: each tenant keeps the watermark as well ([`InGuests`]). Where this host has none and something that
//! was signed waits or runs, running tenants are read before it goes on.

mod guests;

pub use guests::{InGuests, first_look};

use std::sync::Arc;
use std::time::Duration;

use felhom_journal::{Journal, JournalError, NoticeBody, Operation, State};
use felhom_protocol::executor::BoxIdentity;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::audit::{Kind, Record};
use crate::ledger::{DEALT_WITH, EPOCH, Ledger, Watermark};
use crate::marks::from_journal;
use crate::services::Services;
use crate::submit::Executor;

/// The setting that local root left behind when the box was made to forget which one it is.
pub(crate) const FORGOTTEN: &str = "forgotten";
/// Events that come together are kept together.
const PAUSE: Duration = Duration::from_millis(100);

/// Compares the database with the watermark, and deals with one that is behind; whether this host had one to compare with.
///
/// # Errors
/// [`JournalError`] if the database cannot be read or written.
pub fn check(executor: &Executor) -> Result<bool, JournalError> {
    let ledger = &executor.services.ledger;
    let kept = ledger.kept_watermark();
    let compared = kept.is_some();
    let found = match kept {
        None => None,
        Some(Ok(mark)) => ledger.behind(&mark)?.map(|why| (Some(mark), why)),
        // What it said is not known, so it may have been ahead.
        Some(Err(why)) => Some((None, format!("the watermark cannot be read: {why}"))),
    };
    if let Some((mark, why)) = found {
        ask_anew(executor, mark.as_ref(), &why)?;
    }
    if ledger.setting::<bool>(FORGOTTEN)?.is_some() {
        back_to_people(executor, "this box was made to forget which one it is")?;
        ledger.forget_setting(FORGOTTEN)?;
    }
    ledger.replace_watermark();
    Ok(compared)
}

/// Nothing that was signed before counts any more: the epoch rises, and people are asked anew.
fn ask_anew(executor: &Executor, mark: Option<&Watermark>, why: &str) -> Result<(), JournalError> {
    let s = &executor.services;
    let at_least = mark.map_or(0, |mark| mark.epoch);
    let epoch = raise_epoch(&s.ledger, at_least, &s.journal.active_operations())?;
    tracing::error!(why, epoch, "the database is older than what this box did: people are asked anew");
    let data = json!({ "why": why, "epoch": epoch, "watermark": mark });
    s.audit(&Record::new(Kind::DatabaseBehind, data))?;
    back_to_people(executor, &format!("the box's database is older than what the box did ({why})"))?;
    // Last: until then a guest's watermark shows it again.
    s.ledger.set_setting(DEALT_WITH, &epoch)
}

/// The box was enrolled again: what waits for people was asked in the name of an enrolment that is over. What was signed and has
/// begun goes on.
///
/// # Errors
/// [`JournalError`] if the database cannot be written.
pub fn enrolled_again(executor: &Executor, identity: &BoxIdentity) -> Result<(), JournalError> {
    let s = &executor.services;
    let epoch = raise_epoch(&s.ledger, 0, &waiting(&s.journal))?;
    tracing::info!(box_id = %identity.box_id, epoch, "enrolled again: people are asked anew");
    let data = json!({ "box": identity.box_id, "enrolled": identity.epoch, "epoch": epoch });
    s.audit(&Record::new(Kind::BoxEnrolled, data))?;
    back_to_people(executor, "this box was enrolled again")
}

/// Operations that wait for people or for their grace.
pub(crate) fn waiting(journal: &Journal) -> Vec<Operation> {
    let waits = |op: &Operation| matches!(op.state, State::PendingAuthorization | State::Waiting);
    journal.active_operations().into_iter().filter(waits).collect()
}

/// Raises the epoch, above `at_least` too; closes all challenges, and no consent to these operations counts any more.
pub(crate) fn raise_epoch(
    ledger: &Ledger,
    at_least: u64,
    operations: &[Operation],
) -> Result<u64, JournalError> {
    let epoch = ledger.epoch()?.max(at_least) + 1;
    ledger.set_setting(EPOCH, &epoch)?;
    ledger.close_all_challenges()?;
    for op in operations {
        ledger.forget_consents(from_journal(op.id()))?;
    }
    Ok(epoch)
}

/// What waits with an authorization waits for people again.
fn back_to_people(executor: &Executor, why: &str) -> Result<(), JournalError> {
    for op in waiting(&executor.services.journal).iter().filter(|op| op.authorization.is_some()) {
        let text = format!("{why}; what was signed counts no more");
        executor.runner.back_to_authorization(op.id(), text, Value::Null)?;
    }
    Ok(())
}

/// Keeps the watermark while the process runs: after what the journal wrote.
pub async fn keep(services: Arc<Services>) {
    let mut notices = services.journal.subscribe();
    loop {
        match notices.recv().await {
            Ok(notice) if !matches!(notice.body, NoticeBody::Event(_)) => continue,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        tokio::time::sleep(PAUSE).await;
        notices = notices.resubscribe();
        services.ledger.keep_watermark();
    }
}
