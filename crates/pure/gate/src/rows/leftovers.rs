//! `clear_stale_lock` and `clear_leftovers`: what a dead worker of ours left goes, and nothing that anybody may still hold.

use super::{Judged, Passed, about, find, not_observed, proven};
use crate::facts::{Concerning, Facts, LeftoverFacts, Unmarked};
use crate::verdict::{Evidence, Reason};
use felhom_model::GuestUuid;
use felhom_model::observed::{Provenance, Purpose};

/// The lock that Proxmox leaves of a guest when its volumes are gone.
const DESTROYED: &str = "destroyed";

pub(crate) fn judge_lock(guest: GuestUuid, facts: &Facts) -> Judged {
    let (left, evidence) = left_behind(guest, facts)?;
    if find(guest, facts)?.lock.is_none() {
        return Err(Reason::new("not_locked", "Proxmox holds no lock on this guest", evidence));
    }
    own_parts(left, &evidence)?;
    Ok(Passed::Allow(Reason::new("own_stale_lock", "the task that set it was ours and is over", evidence)))
}

pub(crate) fn judge_leftovers(guest: GuestUuid, facts: &Facts) -> Judged {
    let (left, evidence) = left_behind(guest, facts)?;
    own_parts(left, &evidence)?;
    let evidence = evidence.with("parts", left.parts.len());
    Ok(Passed::Allow(Reason::new("own_leftovers", "made by a task of ours that is over", evidence)))
}

fn left_behind(guest: GuestUuid, facts: &Facts) -> Result<(&LeftoverFacts, Evidence), Reason> {
    let Concerning::Leftovers(left) = &facts.concerning else { return Err(not_observed("leftovers")) };
    let guest = find(guest, facts)?;
    let evidence = about(guest).with("lock", guest.lock.as_deref().unwrap_or("none"));
    match guest.purpose {
        Purpose::Tenant | Purpose::Copy | Purpose::Scratch | Purpose::Tombstone => {}
        Purpose::Foreign => return Err(Reason::new("foreign_guest", "this guest is not ours", evidence)),
    }
    let Some(maker) = left.maker else {
        let text = "the journal names no operation whose task left this; a person has to look";
        return Err(Reason::new("unknown_maker", text, evidence));
    };
    let evidence = evidence.with("left_by", maker);
    // Proxmox writes the mark at the end of a restore, and takes it with everything else in a destroy; in between the row and the
    // maker's journal stand for it.
    let known = match left.unmarked {
        Unmarked::NoReason => false,
        Unmarked::WhileMade => guest.made_by == Some(maker),
        Unmarked::WhileDestroyed => guest.lock.as_deref().is_none_or(|lock| lock == DESTROYED),
    };
    if !(known && guest.provenance == Provenance::RowOnly) {
        proven(guest)?;
    }
    if !left.task_over {
        return Err(Reason::new("task_not_over", "the task that made it is not over", evidence));
    }
    if let Some(task) = left.running_tasks.first() {
        let text = "a task holds the guest now; wait until it is over";
        return Err(Reason::new("task_running", text, evidence.with("task", task)));
    }
    Ok((left, evidence))
}

fn own_parts(left: &LeftoverFacts, evidence: &Evidence) -> Result<(), Reason> {
    match left.parts.iter().find(|part| !part.own) {
        None => Ok(()),
        Some(other) => {
            let text = "something lies there that the operation did not make; a person has to look";
            Err(Reason::new("foreign_part", text, evidence.clone().with("part", &other.what)))
        }
    }
}
