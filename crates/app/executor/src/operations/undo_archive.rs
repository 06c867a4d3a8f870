//! Taking back a backup: the archive that this very operation made is deleted, judged by the gate.
//!
//! 1. the file's name comes from the log of the task that this operation journaled, never from a listing: an archive
//!    that somebody else made meanwhile is not looked at, and a listing that missing rights emptied hides nothing;
//! 2. the gate, with notes, protection and the ledger's row as they are now;
//! 3. DELETE, its task followed, and the archive seen to be gone;
//! 4. the ledger says so.

use felhom_gate::{
    Approved, ArchiveIntent, ArchiveNotes, UndoArchive, UndoArchiveFacts, decide_undo_archive,
};
use felhom_journal::{StepContext, StepError};
use felhom_model::Volid;
use felhom_pve::Attributes;

use super::deletion::{delete, look};
use super::judge::past;
use crate::marks::{from_journal, read_archive_notes};
use crate::services::Services;

/// Deletes the archive of this backup, if there is one. Twice is once.
///
/// # Errors
/// [`StepError::Unclear`] if what lies there is not certainly ours; it stays then.
pub(super) async fn delete_made(
    s: &Services,
    cx: &StepContext,
    file: Option<&str>,
    before: &[String],
) -> Result<(), StepError> {
    let operation = from_journal(cx.operation_id());
    let Some(intent) = s.ledger.archive_intent(operation).map_err(StepError::failed)? else {
        // The row comes before the POST, so nothing was ever asked for.
        return Ok(());
    };
    if let Some(file) = file {
        let volid: Volid = format!("{}:backup/{file}", intent.target).parse().map_err(StepError::failed)?;
        if let Some(attributes) = look(s, &intent.target, &volid).await? {
            let approved = judge_undo_archive(s, cx, (intent, volid), (attributes, file, before))?;
            let UndoArchive { operation, guest, archive } = approved.get();
            let exit = delete(s, &approved, archive, (*operation, *guest)).await?;
            if !exit.is_success() {
                return Err(StepError::Unclear(format!("{archive} could not be deleted: {exit}")));
            }
        }
    }
    Ok(s.ledger.archive_undone(operation)?)
}

fn judge_undo_archive(
    s: &Services,
    cx: &StepContext,
    (intent, archive): (ArchiveIntent, Volid),
    (attributes, file, before): (Attributes, &str, &[String]),
) -> Result<Approved<UndoArchive>, StepError> {
    let rows = s.ledger.archives().map_err(StepError::failed)?;
    let row = rows.into_iter().find(|row| row.volid == archive);
    let before = before.iter().map(|v| v.parse()).collect::<Result<_, _>>().map_err(StepError::failed)?;
    let undo = UndoArchive { operation: from_journal(cx.operation_id()), guest: intent.guest, archive };
    let facts = UndoArchiveFacts {
        intent: Some(intent),
        past_point_of_no_return: past(&cx.operation()?),
        before,
        task_made: Some(file.to_owned()),
        notes: attributes.notes.as_deref().map_or(ArchiveNotes::None, read_archive_notes),
        // Where Proxmox does not say it, it may be.
        protected: attributes.protected.unwrap_or(true),
        recorded_by: row.as_ref().map(|row| row.detail.operation),
        proven: row.is_some_and(|row| row.detail.proven.is_some()),
    };
    decide_undo_archive(&undo, &facts).map_err(|reason| StepError::Unclear(format!("undo refused, {reason}")))
}
