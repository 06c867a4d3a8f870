//! `prune`: backups that retention no longer keeps go, one after the other, each looked at right before.
//!
//! 1. what is gone already is noted (a crash, or an answer that was lost);
//! 2. the gate, with what is left to remove;
//! 3. for each archive: still listed, not protected, its notes name this guest;
//! 4. DELETE, its task followed, seen to be gone, written down;
//! 5. the ledger says so. After a crash what is still there is judged anew.

use std::sync::Arc;

use felhom_gate::{Approved, Stage};
use felhom_journal::{StepClass, StepContext, StepError};
use felhom_model::operation::Prune;
use felhom_model::{Operation, OperationId, Volid};
use serde_json::{Value, json};

use super::act::Act;
use super::deletion::{delete, look};
use super::judge::{domain, judge_as, refused};
use crate::marks::{from_journal, read_archive_mark};
use crate::services::Services;

/// The step.
pub(super) struct RemoveBackups {
    /// Services.
    pub s: Arc<Services>,
    /// Whose, where, which.
    pub ask: Prune,
}

impl RemoveBackups {
    /// What the ledger still has.
    fn known(&self) -> Result<Vec<Volid>, StepError> {
        let rows = self.s.ledger.archives().map_err(StepError::failed)?;
        let known = |volid: &&Volid| rows.iter().any(|row| row.volid == **volid);
        Ok(self.ask.remove.iter().filter(known).cloned().collect())
    }

    /// What Proxmox still has; what it has no more is noted as removed.
    async fn left(&self) -> Result<Vec<Volid>, StepError> {
        let mut left = Vec::new();
        for volid in self.known()? {
            match look(&self.s, &self.ask.target, &volid).await? {
                Some(_) => left.push(volid),
                None => self.s.ledger.archive_removed(&volid)?,
            }
        }
        Ok(left)
    }

    async fn remove(
        &self,
        approved: &Approved<Operation>,
        of: OperationId,
        volid: &Volid,
    ) -> Result<(), StepError> {
        if let Some(attributes) = look(&self.s, &self.ask.target, volid).await? {
            let mark = attributes.notes.as_deref().and_then(read_archive_mark);
            if mark.is_none_or(|mark| mark.guest != self.ask.guest) {
                let text = format!("the notes of {volid} do not name this guest; it stays");
                return Err(StepError::Failed(text));
            }
            if attributes.protected != Some(false) {
                return Err(StepError::Failed(format!("{volid} is protected by now; it stays")));
            }
            let exit = delete(&self.s, approved, volid, (of, self.ask.guest)).await?;
            if !exit.is_success() {
                return Err(StepError::Transient(format!("{volid} could not be removed: {exit}")));
            }
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
        let left = self.left().await?;
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
            self.remove(&approved, from_journal(op.id()), volid).await?;
            let done = total - (left.len() - n - 1) as u64;
            cx.progress(done, Some(total), "backups")?;
        }
        Ok(())
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        match self.known()?.first() {
            None => Ok(json!({ "removed": self.ask.remove })),
            Some(volid) => Err(StepError::Failed(format!("{volid} is still in the ledger"))),
        }
    }
}
