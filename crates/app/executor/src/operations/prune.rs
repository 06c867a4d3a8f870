//! `prune`: backups that retention no longer keeps go, one after the other, each looked at right before.
//!
//! 1. the gate, with what is left to remove; 2. for each archive: still listed, not protected, its notes name this guest;
//! 3. DELETE, its task followed, seen to be gone; 4. the ledger says so. After a crash what is still there is judged anew.

use std::sync::Arc;

use felhom_gate::Stage;
use felhom_journal::{StepClass, StepContext, StepError};
use felhom_model::operation::Prune;
use felhom_model::{Operation, Volid};
use felhom_pve::Error as PveError;
use serde_json::{Value, json};

use super::act::Act;
use super::judge::{domain, judge_as, refused};
use super::task;
use crate::marks::read_archive_mark;
use crate::services::{Services, step_error};

/// The step.
pub(super) struct RemoveBackups {
    /// Services.
    pub s: Arc<Services>,
    /// Whose, where, which.
    pub ask: Prune,
}

impl RemoveBackups {
    fn left(&self) -> Result<Vec<Volid>, StepError> {
        let rows = self.s.ledger.archives().map_err(StepError::failed)?;
        let known = |volid: &&Volid| rows.iter().any(|row| row.volid == **volid);
        Ok(self.ask.remove.iter().filter(known).cloned().collect())
    }

    async fn remove(&self, volid: &Volid) -> Result<(), StepError> {
        let storage = self.s.node.storage(&self.ask.target);
        match storage.attributes(volid).await {
            Ok(attributes) => {
                let mark = attributes.notes.as_deref().and_then(read_archive_mark);
                if mark.is_none_or(|mark| mark.guest != self.ask.guest) {
                    return Err(StepError::Failed(format!(
                        "the notes of {volid} do not name this guest; it stays"
                    )));
                }
                if attributes.protected != Some(false) {
                    return Err(StepError::Failed(format!("{volid} is protected by now; it stays")));
                }
                tracing::warn!(%volid, guest = %self.ask.guest, "removing a backup");
                if let Some(upid) = storage.delete(volid).await.map_err(|e| step_error(&e))? {
                    let exit = task::end_of(&self.s, &upid).await?;
                    if !exit.is_success() {
                        return Err(StepError::Transient(format!("{volid} could not be removed: {exit}")));
                    }
                }
            }
            Err(PveError::NotFound(_)) => {}
            Err(e) => return Err(step_error(&e)),
        }
        Ok(self.s.ledger.archive_removed(volid)?)
    }
}

impl Act for RemoveBackups {
    fn name(&self) -> &'static str {
        "prune"
    }

    fn class(&self) -> StepClass {
        StepClass::PointOfNoReturn
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let left = self.left()?;
        if left.is_empty() {
            return Ok(());
        }
        let op = cx.operation()?;
        let (_, chosen) = domain(&op)?;
        let operation = Operation::PruneBackups(Prune { remove: left.clone(), ..self.ask.clone() });
        let verdict = judge_as(&self.s, &op, &operation, (&chosen, Stage::BeforeAct, None)).await?;
        let approved = verdict.map_err(|reason| refused(&reason))?;
        tracing::info!(operation = %op.id(), reason = %approved.reason(), "pruning");
        let total = self.ask.remove.len() as u64;
        for (n, volid) in left.iter().enumerate() {
            self.remove(volid).await?;
            let done = total - (left.len() - n - 1) as u64;
            cx.progress(done, Some(total), "backups")?;
        }
        Ok(())
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        match self.left()?.first() {
            None => Ok(json!({ "removed": self.ask.remove })),
            Some(volid) => Err(StepError::Failed(format!("{volid} is still in the ledger"))),
        }
    }
}
