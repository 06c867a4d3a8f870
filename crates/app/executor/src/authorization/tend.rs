//! What waits for people is looked after: expired, counted, started when due.
//!
//! For each operation that waits: 1. a challenge that nobody answered in time ends it; one of another boot is replaced;
//! 2. grace is counted in seconds that this program ran; 3. what is due is weighed again and begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use felhom_journal::{OperationId, State};
use serde_json::json;

use crate::audit::{Kind, Record};
use crate::marks::from_journal;
use crate::submit::{Executor, SubmitError};

/// How often what waits is looked at.
pub const EVERY: Duration = Duration::from_secs(1);
/// Grace is written down at least so often, and when it is over.
const KEEP_EVERY_S: u64 = 60;

/// Seconds of grace that were counted when this process first saw an operation wait, and its clock then.
#[derive(Debug, Default)]
pub struct Counting {
    began: HashMap<OperationId, (u64, u64)>,
    kept_s: u64,
}

/// Looks after what waits until the process ends.
pub async fn tend(executor: Arc<Executor>) {
    let mut counting = Counting::default();
    loop {
        if let Err(e) = pass(&executor, &mut counting).await {
            tracing::debug!(error = %e, "what waits is looked at again");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// One look at everything that waits.
///
/// # Errors
/// The last of the [`SubmitError`]s; the others are looked at nevertheless.
pub async fn pass(executor: &Executor, counting: &mut Counting) -> Result<(), SubmitError> {
    let s = &executor.services;
    let ran = s.running.ran_s();
    if ran.saturating_sub(counting.kept_s) >= KEEP_EVERY_S {
        s.running.keep(&s.ledger)?;
        counting.kept_s = ran;
    }
    let mut outcome = Ok(());
    for op in s.journal.active_operations() {
        let looked = match op.state {
            State::PendingAuthorization if op.authorization.is_none() => asked(executor, &op).await,
            State::PendingAuthorization => executor.advance(from_journal(op.id())).await.map(drop),
            State::Waiting => count(executor, &op, counting).await,
            State::Pending
            | State::Refused
            | State::Expired
            | State::Vetoed
            | State::Running
            | State::Done
            | State::RollingBack
            | State::RolledBack
            | State::NeedsOperator => Ok(()),
        };
        if let Err(e) = looked {
            tracing::debug!(operation = %op.id(), error = %e, "waits on");
            outcome = Err(e);
        }
    }
    outcome
}

/// Its challenge is open and young enough, or it ends; one of an earlier boot or none at all is issued anew.
async fn asked(executor: &Executor, op: &felhom_journal::Operation) -> Result<(), SubmitError> {
    let s = &executor.services;
    let id = from_journal(op.id());
    let open = s.ledger.open_challenges()?;
    let now = s.running.boottime_ms();
    match open.iter().find(|row| row.operation == id) {
        Some(row) if row.boot == s.boot => {
            let age = now.saturating_sub(row.issued_boottime_ms);
            if age > row.lifetime_ms {
                s.audit(&Record::new(Kind::Expired, json!({ "challenge": row.digest })).of(id, row.guest))?;
                s.ledger.close_challenges(id)?;
                let text =
                    format!("nobody signed enough within {} minutes; ask again", row.lifetime_ms / 60_000);
                executor.runner.expire(op.id(), text)?;
            }
            Ok(())
        }
        Some(_) => {
            // A challenge is void after a reboot, and so is what was said to it.
            s.ledger.close_challenges(id)?;
            s.ledger.forget_consents(id)?;
            executor.advance(id).await.map(drop)
        }
        None => executor.advance(id).await.map(drop),
    }
}

async fn count(
    executor: &Executor,
    op: &felhom_journal::Operation,
    counting: &mut Counting,
) -> Result<(), SubmitError> {
    let Some(grace) = op.grace else { return Ok(()) };
    let ran = executor.services.running.ran_s();
    let (counted, since) = *counting.began.entry(op.id()).or_insert((grace.counted, ran));
    let total = counted + ran.saturating_sub(since);
    let over = total >= grace.seconds;
    if total > grace.counted && (over || total - grace.counted >= KEEP_EVERY_S) {
        executor.runner.count_grace(op.id(), total.min(grace.seconds))?;
    }
    if over {
        executor.advance(from_journal(op.id())).await?;
    }
    Ok(())
}
