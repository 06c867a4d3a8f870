//! A database that is older than what this box did with it: a copy was put back, or a disk forgot writes.
//!
//! At each start, before anything is resumed: 1. database against watermark; 2. if it is behind, the enrolment epoch rises, so
//! that no signature of before fits; 3. all challenges are closed and no consent counts; 4. what waited with an authorization
//! goes back to the people; 5. the audit log says so; 6. the watermark is put where the database is.
//!
//! A crash in between leaves the watermark ahead, so the next start does it all again. The file is gone after a reboot, and
//! with the host's disk: [`guests`] keeps the watermark in each tenant as well, and reads it once it runs.

mod guests;

pub use guests::InGuests;

use std::sync::Arc;
use std::time::Duration;

use felhom_journal::{JournalError, NoticeBody, State};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::audit::{Kind, Record};
use crate::ledger::{EPOCH, Watermark};
use crate::marks::from_journal;
use crate::services::Services;
use crate::submit::Executor;

/// Events that come together are kept together.
const PAUSE: Duration = Duration::from_millis(100);

/// Compares the database with the watermark, and deals with one that is behind; whether it was.
///
/// # Errors
/// [`JournalError`] if the database cannot be read or written.
pub fn check(executor: &Executor) -> Result<bool, JournalError> {
    let ledger = &executor.services.ledger;
    let found = match ledger.kept_watermark() {
        None => None,
        Some(Ok(mark)) => ledger.behind(&mark)?.map(|why| (Some(mark), why)),
        // What it said is not known, so it may have been ahead.
        Some(Err(why)) => Some((None, format!("the watermark cannot be read: {why}"))),
    };
    let behind = found.is_some();
    if let Some((mark, why)) = found {
        ask_anew(executor, mark.as_ref(), &why)?;
    }
    ledger.replace_watermark();
    Ok(behind)
}

fn ask_anew(executor: &Executor, mark: Option<&Watermark>, why: &str) -> Result<(), JournalError> {
    let s = &executor.services;
    let epoch = s.epoch()?.max(mark.map_or(0, |mark| mark.epoch)) + 1;
    tracing::error!(why, epoch, "the database is older than what this box did: people are asked anew");
    s.ledger.set_setting(EPOCH, &epoch)?;
    s.ledger.close_all_challenges()?;
    let active = s.journal.active_operations();
    for op in &active {
        s.ledger.forget_consents(from_journal(op.id()))?;
    }
    let data = json!({ "why": why, "epoch": epoch, "watermark": mark });
    s.audit(&Record::new(Kind::DatabaseBehind, data))?;
    for op in active {
        let waits = matches!(op.state, State::PendingAuthorization | State::Waiting);
        if waits && op.authorization.is_some() {
            let text = format!("the box's database is older than what the box did ({why}); sign again");
            executor.runner.back_to_authorization(op.id(), text, Value::Null)?;
        }
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
