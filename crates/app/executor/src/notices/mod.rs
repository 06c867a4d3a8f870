//! Notices: what customers are told of operations that people sign for. The executor carries them itself, so neither hub
//! nor agent can silence them.
//!
//! ```text
//!   journal: waits, authorized, begun, vetoed ─▶ record ─▶ ledger (`notice`)
//!                                                             │ what was not acknowledged, signed
//!                                                carry ──pct push──▶ guest's controller: on every page
//!   ledger (`acknowledged`), veto ◀── answers ◀──pct exec── acknowledged, vetoed, signed by the guest key
//! ```
//! A tombstone's customer is told in the guest that took over from it, a copy's in the guest that it was restored from. What
//! was told counts from when it lay in a running guest, in seconds that this box ran.

mod answers;
mod carry;
mod record;

pub use answers::read_answers;
pub(crate) use carry::running;
pub use carry::{Delivery, deliver};
use carry::{Run, push};
pub use record::{receivers, record, record_begins};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use felhom_journal::{StepError, StoreError};
use felhom_model::{Digest, GuestUuid, OperationKind};
use felhom_protocol::notices::Notice;
use felhom_signing::consent::Armored;
use tokio::time::Instant;

use crate::authorization::AnswerError;
use crate::ledger::NoticeRow;
use crate::services::Services;
use crate::submit::Executor;

/// How often it is looked whether there is something to tell.
const EVERY: Duration = Duration::from_secs(1);
/// A guest whose customer can stop nothing any more is looked at so much less often.
const SELDOM: u32 = 3;
/// Of operations that cannot be vetoed any more, a guest is told the newest. What waits is bounded where it is asked for.
const ENDED_AT_MOST: usize = 40;
/// A day of the box's running time.
const DAY_S: u64 = 24 * 3600;

/// What this process did for one guest.
#[derive(Debug)]
struct Done {
    said: Vec<Notice>,
    /// The run of the guest in which it lies there; another one has an empty `/run`.
    run: Option<Run>,
    /// Vetoes that do not count, so that each is judged and written down once.
    refused: Vec<Digest>,
    at: Instant,
}

impl Done {
    /// Whether it need not be looked at yet: was it started again, what was answered?
    fn is_fresh(&self, notices: &[Notice], ask_every: Duration) -> bool {
        let waits = notices.iter().any(|notice| notice.stage.can_be_vetoed());
        let every = if waits || self.run.is_none() { ask_every } else { ask_every * SELDOM };
        self.said == notices && self.at.elapsed() < every
    }
}

/// Tells customers until the process ends.
pub async fn tend(executor: Arc<Executor>) {
    let mut done = BTreeMap::new();
    loop {
        if let Err(e) = pass(&executor, &mut done).await {
            tracing::debug!(error = %e, "telling is tried again");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn pass(executor: &Executor, done: &mut BTreeMap<GuestUuid, Done>) -> Result<(), StepError> {
    let s = &executor.services;
    let ask_every = Duration::from_secs(u64::from(s.config.timeouts.ask_guest_s));
    record(s)?;
    let mut open = to_tell(s).map_err(StepError::failed)?;
    // What was acknowledged or is no more is taken away again.
    for guest in done.keys() {
        open.entry(*guest).or_default();
    }
    for (guest, notices) in open {
        let known = done.get(&guest);
        // An operation that runs has the guest: nobody else touches it.
        if known.is_some_and(|done| done.is_fresh(&notices, ask_every)) || held(s, guest) {
            continue;
        }
        let there = known.filter(|done| done.said == notices).and_then(|done| done.run);
        let refused = known.map(|done| done.refused.clone()).unwrap_or_default();
        let mut now = Done { said: notices, run: None, refused, at: Instant::now() };
        // One guest that cannot be told, or answers nonsense, delays no other.
        if let Err(e) = look_after(executor, guest, &mut now, there).await {
            tracing::debug!(%guest, error = %e, "telling is tried again");
        }
        if now.run.is_some() && now.said.is_empty() {
            done.remove(&guest);
        } else {
            done.insert(guest, now);
        }
    }
    Ok(())
}

/// One guest: what it is to be told lies there, and what it answered is read.
async fn look_after(
    executor: &Executor,
    guest: GuestUuid,
    now: &mut Done,
    there: Option<Run>,
) -> Result<(), StepError> {
    let s = &executor.services;
    let Some(run) = running(s, guest).await? else { return Ok(()) };
    if there != Some(run) {
        push(s, run, (guest, &now.said)).await?;
    }
    now.run = Some(run);
    if now.said.is_empty() {
        return Ok(());
    }
    let vetoes = read_answers(s, guest).await?;
    let digest = |veto: &Armored| Digest::of(&[&veto.bytes, veto.signature.as_bytes()].concat());
    now.refused.retain(|refused| vetoes.iter().any(|(_, veto)| digest(veto) == *refused));
    for (operation, veto) in vetoes {
        if now.refused.contains(&digest(&veto)) {
            continue;
        }
        match executor.veto(operation, &veto) {
            Ok(op) => tracing::info!(%operation, state = ?op.state, "vetoed in the guest"),
            Err(e) => {
                tracing::debug!(%operation, error = %e, "a veto in the guest has no effect");
                if let AnswerError::Consent(_) = e {
                    now.refused.push(digest(&veto));
                }
            }
        }
    }
    Ok(())
}

fn held(s: &Services, guest: GuestUuid) -> bool {
    let claim = format!("guest:{guest}");
    s.journal.active_operations().iter().any(|op| op.claims().any(|held| *held == claim))
}

/// What each guest's customer has not acknowledged yet, or can still veto.
///
/// # Errors
/// [`StoreError`] if the ledger cannot be read.
pub fn to_tell(s: &Services) -> Result<BTreeMap<GuestUuid, Vec<Notice>>, StoreError> {
    let mut open: BTreeMap<GuestUuid, Vec<Notice>> = BTreeMap::new();
    for row in s.ledger.newest_notices()? {
        if row.acknowledged_s.is_none() || row.notice.stage.can_be_vetoed() {
            open.entry(row.guest).or_default().push(row.notice);
        }
    }
    for notices in open.values_mut() {
        let mut spare =
            notices.iter().filter(|n| !n.stage.can_be_vetoed()).count().saturating_sub(ENDED_AT_MOST);
        notices.retain(|notice| {
            let drop = spare > 0 && !notice.stage.can_be_vetoed();
            spare -= usize::from(drop);
            !drop
        });
    }
    Ok(open)
}

/// Days of this box's running time since the customer was first told that a tombstone is to be reclaimed, and has
/// acknowledged no such notice since.
///
/// # Errors
/// [`StoreError`] if the ledger cannot be read.
pub fn unanswered_days(s: &Services, tombstone: GuestUuid) -> Result<u32, StoreError> {
    let rows = s.ledger.notices_about(OperationKind::ReclaimGuest, tombstone)?;
    Ok(days_unanswered(&rows, s.running.ran_s()))
}

fn days_unanswered(rows: &[NoticeRow], ran_s: u64) -> u32 {
    let answered = rows.iter().filter_map(|row| row.acknowledged_s).max();
    let open = rows.iter().filter(|row| row.acknowledged_s.is_none()).filter_map(|row| row.told_s);
    let first = open.filter(|told| answered.is_none_or(|answered| *told > answered)).min();
    let days = first.map_or(0, |first| ran_s.saturating_sub(first) / DAY_S);
    u32::try_from(days).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use felhom_model::OperationId;
    use felhom_protocol::notices::NoticeStage;

    fn row(told_s: Option<u64>, acknowledged_s: Option<u64>) -> NoticeRow {
        let guest = GuestUuid::from_random([1; 16]);
        let notice = Notice {
            operation: OperationId::from_parts(1, 1),
            kind: OperationKind::ReclaimGuest,
            stage: NoticeStage::Consent,
            about: guest,
            label: "family".to_owned(),
            asked_by: "local".to_owned(),
            reason: String::new(),
            grace_s: 0,
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        NoticeRow { guest, notice, told_s, acknowledged_s }
    }

    #[test]
    fn days_count_from_the_first_notice_that_nobody_answered() {
        let now = 100 * DAY_S;
        let days = |rows: &[NoticeRow]| days_unanswered(rows, now);
        assert_eq!(days(&[]), 0);
        assert_eq!(days(&[row(None, None)]), 0, "kept and never told");
        assert_eq!(days(&[row(Some(9 * DAY_S), None), row(Some(50 * DAY_S), None)]), 91);
        assert_eq!(days(&[row(Some(9 * DAY_S), Some(10 * DAY_S))]), 0);
        let later = [
            row(Some(9 * DAY_S), None),
            row(Some(20 * DAY_S), Some(30 * DAY_S)),
            row(Some(95 * DAY_S), None),
        ];
        assert_eq!(days(&later), 5, "an answer begins the count anew");
        assert_eq!(days_unanswered(&[row(Some(now), None)], now - 1), 0);
    }
}
