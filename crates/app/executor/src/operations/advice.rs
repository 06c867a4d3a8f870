//! What a person can do about an operation that goes no further: what may be left over, where to look, what to remove.
//!
//! Only the journal is read, so that the text is the same when Proxmox is away. It names commands of the host; each one
//! that removes something comes after the one that shows whether it is this operation's.

use felhom_journal::{Operation as Journaled, State, StepState};
use felhom_model::{OperationKind, Vmid};
use serde_json::Value;

use super::judge::domain;
use crate::config::Storages;
use crate::request::Request;

/// The advice, as sentences.
pub fn advice(op: &Journaled, storages: &Storages) -> String {
    let id = op.id();
    let mut text = String::from("What to do, as root on the host:");
    let made = vmid(op, "restore_archive");
    let dumped = vmid(op, "vzdump");
    if let Some(vmid) = made {
        let store = &storages.guest;
        text += &format!(
            " guest {vmid} and volumes of it may be left over; look with `pct config {vmid}`, `pct status {vmid}`, `pvesm \
             list {store} --vmid {vmid}`; only if its description names {id}, or it has none and is locked `create`, \
             remove it with `pct unlock {vmid}`, `pct stop {vmid}`, `pct destroy {vmid}`."
        );
    }
    if let Some(vmid) = dumped {
        let request: Option<Value> = Request::of(op).ok().map(|r| r.params);
        let named = request.as_ref().and_then(|p| p["target"].as_str());
        let target = named.or(storages.backup.first().map(|s| s.as_str())).unwrap_or("STORAGE");
        text += &format!(
            " an archive, a lock or a snapshot of guest {vmid} may be left over; see the task's log with `pvenode task \
             list --vmid {vmid} --typefilter vzdump` and `pvenode task log UPID`; the archive that it names is in `pvesm \
             list {target} --content backup --vmid {vmid}`, and `pvesm free VOLID` removes it; `pct config {vmid}` shows a \
             lock, `pct unlock {vmid}` takes one off that no task holds; `pct listsnapshot {vmid}` shows a snapshot \
             `vzdump`, `pct delsnapshot {vmid} vzdump` removes it."
        );
    }
    if made.is_none() && dumped.is_none() {
        text += &halfway(op);
    }
    // The text is written before the operation stands; these are its ways once it does.
    let standing = Journaled { state: State::NeedsOperator, ..op.clone() };
    let ways: Vec<&str> = standing.ways_out().iter().map(|way| way.as_str()).collect();
    text += &format!(
        " Other guests and all reading calls go on; this guest takes no other operation until an operator leads {id} on \
         with `felhom ops resolve BOX {id} WAY` (ways: {}).",
        ways.join(", ")
    );
    text
}

/// What an operation that makes no guest and no archive may have done by half.
fn halfway(op: &Journaled) -> String {
    let begun = op.steps.iter().any(|step| step.intent.is_some() && step.state != StepState::Planned);
    let look = op.steps.iter().find_map(|step| vmid(op, &step.name)).map_or_else(
        || "look at its guest with `pct config` and `pct status`".to_owned(),
        |vmid| format!("look at the guest with `pct config {vmid}` and `pct status {vmid}`"),
    );
    if !begun {
        return format!(" nothing was done; {look}.");
    }
    use OperationKind as K;
    let kind = domain(op).map(|(operation, _)| operation.kind());
    let done = match kind {
        Ok(K::CutoverGuest | K::ReverseCutoverGuest) => {
            "the two guests may have changed places by half, and volumes lie with either of them; none is copied and none \
             destroyed, so do not destroy anything by hand"
        }
        Ok(K::ReclaimGuest | K::DiscardRestoredCopy | K::DestroyScratch) => {
            "the guest may be destroyed already, or some of its volumes"
        }
        Ok(K::PruneBackups) => {
            "some of the backups that were named may be gone already; `pvesm list STORAGE --content backup` shows which are there"
        }
        _ => "it may have been done by half",
    };
    format!(" {done}; {look}.")
}

/// The VMID that a step's intent named.
fn vmid(op: &Journaled, step: &str) -> Option<Vmid> {
    let intent = op.step(step)?.intent.as_ref()?;
    serde_json::from_value(intent.get("vmid")?.clone()).ok()
}
