//! Undo inside one operation: what it made itself may be destroyed again, and nothing else.

use crate::approved::Approved;
use crate::facts::{DestroyFacts, VmidRanges};
use crate::rows::destroy::only_own_volumes;
use crate::verdict::{Evidence, Reason};
use felhom_model::observed::Purpose;
use felhom_model::{GuestUuid, OperationId, Vmid};

/// Destroy the guest that `operation` made, with its volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoGuest {
    /// The operation that is being taken back.
    pub operation: OperationId,
    /// The guest's identity in the ledger.
    pub guest: GuestUuid,
    /// Where it stands.
    pub vmid: Vmid,
}

/// What stands at the end of the real guest's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Our line, naming this guest and this operation.
    Names(GuestUuid, OperationId),
    /// No line of ours: a restore writes the description at its end.
    None,
    /// A line that could not be read, or two of them.
    Unreadable,
}

/// What the executor observed right before the undo.
#[derive(Debug, Clone)]
pub struct UndoFacts {
    /// Guests in `owned(operation)`.
    pub owned: Vec<GuestUuid>,
    /// The step that is a point of no return and has been begun, if any.
    pub past_point_of_no_return: Option<String>,
    /// What it was made for.
    pub purpose: Purpose,
    /// VMIDs by purpose, box-local.
    pub vmids: VmidRanges,
    /// The VMID was observed absent when the intent was written.
    pub vmid_absent_at_intent: bool,
    /// The mark that the real guest carries now.
    pub mark: Mark,
    /// Its lock in Proxmox, e.g. `create` while a restore runs or has died.
    pub lock: Option<String>,
    /// The journal says that this operation itself took a `create` lock off there, in order to clear up.
    pub create_lock_removed_by_us: bool,
    /// Its volumes; `made` are those that were absent at intent.
    pub volumes: DestroyFacts,
}

/// Judges an undo. A tenant can be destroyed by nothing but the undo of the very operation that was just making it.
///
/// # Errors
/// The refusal; no signature changes it.
pub fn decide_undo(undo: &UndoGuest, facts: &UndoFacts) -> Result<Approved<UndoGuest>, Reason> {
    judge(undo, facts).map(|reason| Approved::mint(undo.clone(), reason))
}

fn judge(undo: &UndoGuest, facts: &UndoFacts) -> Result<Reason, Reason> {
    let evidence = Evidence::new()
        .with("operation", undo.operation)
        .with("guest", undo.guest)
        .with("vmid", undo.vmid)
        .with("purpose", facts.purpose.name());
    let refuse = |code, text: &str| Err(Reason::new(code, text, evidence.clone()));
    if !facts.owned.contains(&undo.guest) {
        return refuse("not_owned", "the journal does not say that this operation made the guest");
    }
    if let Some(step) = &facts.past_point_of_no_return {
        let text = format!("step `{step}` cannot be taken back, so neither can what it relies on");
        return Err(Reason::new("past_point_of_no_return", text, evidence));
    }
    let range = match facts.purpose {
        Purpose::Tenant => facts.vmids.tenants,
        Purpose::Copy => facts.vmids.copies,
        Purpose::Scratch => facts.vmids.scratch,
        Purpose::Tombstone => {
            return refuse("tombstone", "no operation makes a tombstone, so none undoes one");
        }
        Purpose::Foreign => return refuse("foreign", "the ledger has no row for this guest"),
    };
    if !range.contains(undo.vmid) {
        return refuse("vmid_out_of_range", "the VMID lies outside the range of the guest's purpose");
    }
    if !facts.vmid_absent_at_intent {
        return refuse("vmid_was_taken", "a guest stood at this VMID before the operation began");
    }
    match facts.mark {
        Mark::Names(guest, operation) if guest == undo.guest && operation == undo.operation => {}
        Mark::Names(..) => {
            return refuse("other_mark", "the guest's description names another guest or operation");
        }
        Mark::Unreadable => {
            return refuse("other_mark", "the guest's description has a mark that cannot be read");
        }
        Mark::None if facts.lock.as_deref() == Some("create") || facts.create_lock_removed_by_us => {}
        Mark::None => return refuse("no_mark", "the guest carries no mark and is not being restored"),
    }
    only_own_volumes(&facts.volumes, &evidence)?;
    let text = "made by this operation, nothing irreversible behind it, references only its own volumes";
    Ok(Reason::new("undo_of_own", text, evidence))
}
