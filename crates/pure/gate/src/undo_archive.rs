//! Undo of a backup: the archive that this very operation made may be deleted again, and no other one.
//!
//! Two things must agree before an archive counts as made by an operation: it was absent when the operation's intent
//! was written, and either its notes name the operation, or nobody's notes do and the log of the task that the operation
//! journaled names its file. A file name, a VMID or a time alone proves nothing.

use crate::approved::Approved;
use crate::verdict::{Evidence, Reason};
use felhom_model::{GuestUuid, OperationId, StorageId, Vmid, Volid};

/// Delete the archive that `operation` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoArchive {
    /// The operation that is being taken back.
    pub operation: OperationId,
    /// Whose backup it is.
    pub guest: GuestUuid,
    /// The archive.
    pub archive: Volid,
}

/// What the ledger wrote down before the archive was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveIntent {
    /// The operation that was about to make it.
    pub operation: OperationId,
    /// Whose backup.
    pub guest: GuestUuid,
    /// Where the guest stood.
    pub vmid: Vmid,
    /// The storage.
    pub target: StorageId,
}

/// What the real archive's notes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveNotes {
    /// Our line, naming this guest and this operation.
    Names(GuestUuid, OperationId),
    /// No line of ours: notes are written after the archive was made and checked.
    None,
    /// A line that begins like ours and cannot be read.
    Unreadable,
}

/// What the executor observed right before the undo.
#[derive(Debug, Clone)]
pub struct UndoArchiveFacts {
    /// The ledger's row that was written before the archive was made.
    pub intent: Option<ArchiveIntent>,
    /// The step that is a point of no return and has been begun, if any.
    pub past_point_of_no_return: Option<String>,
    /// Archives of that VMID on the target when the intent was written.
    pub before: Vec<Volid>,
    /// File name that the log of the task names; the task is the one that this operation journaled.
    pub task_made: Option<String>,
    /// The notes that the real archive carries now.
    pub notes: ArchiveNotes,
    /// Somebody set Proxmox's `protected` on it.
    pub protected: bool,
    /// The operation that the ledger's row of this archive names, if it has one already.
    pub recorded_by: Option<OperationId>,
    /// A signed receipt proves it.
    pub proven: bool,
}

/// Judges the undo of a backup.
///
/// # Errors
/// The refusal; no signature changes it.
pub fn decide_undo_archive(
    undo: &UndoArchive,
    facts: &UndoArchiveFacts,
) -> Result<Approved<UndoArchive>, Reason> {
    judge(undo, facts).map(|reason| Approved::mint(undo.clone(), reason))
}

fn judge(undo: &UndoArchive, facts: &UndoArchiveFacts) -> Result<Reason, Reason> {
    let evidence = Evidence::new()
        .with("operation", undo.operation)
        .with("guest", undo.guest)
        .with("archive", &undo.archive);
    let refuse = |code, text: &str| Err(Reason::new(code, text, evidence.clone()));
    let Some(intent) = &facts.intent else {
        return refuse("not_owned", "the ledger does not say that this operation was making an archive");
    };
    if intent.operation != undo.operation || intent.guest != undo.guest {
        return refuse("not_owned", "the ledger's row is of another operation or guest");
    }
    if let Some(step) = &facts.past_point_of_no_return {
        let text = format!("step `{step}` cannot be taken back, so neither can what it relies on");
        return Err(Reason::new("past_point_of_no_return", text, evidence));
    }
    let of_guest = format!("backup/vzdump-lxc-{}-", intent.vmid);
    if undo.archive.storage() != intent.target.as_str() || !undo.archive.path().starts_with(&of_guest) {
        return refuse("other_archive", "it lies on another storage, or its name is of another VMID");
    }
    if facts.before.contains(&undo.archive) {
        return refuse("archive_was_there", "the archive was there before the operation began");
    }
    let file = undo.archive.path().strip_prefix("backup/");
    match facts.notes {
        ArchiveNotes::Names(guest, operation) if guest == undo.guest && operation == undo.operation => {}
        ArchiveNotes::Names(..) => {
            return refuse("other_mark", "the archive's notes name another guest or operation");
        }
        ArchiveNotes::Unreadable => {
            return refuse("other_mark", "the archive's notes have a mark that cannot be read");
        }
        ArchiveNotes::None if file.is_some() && facts.task_made.as_deref() == file => {}
        ArchiveNotes::None => {
            return refuse("no_mark", "no notes name the operation, and its task did not make this file");
        }
    }
    if facts.protected {
        return refuse("protected", "somebody protected the archive; that is never taken off for an undo");
    }
    if facts.recorded_by.is_some_and(|operation| operation != undo.operation) {
        return refuse("recorded_by_another", "the ledger has the archive as another operation's");
    }
    if facts.proven {
        return refuse("proven", "a signed receipt proves this archive; it is worth keeping");
    }
    let text = "made by this operation, nothing irreversible behind it, nobody else's record";
    Ok(Reason::new("undo_of_own", text, evidence))
}
