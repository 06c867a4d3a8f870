//! `destroy_scratch` and `discard_restored_copy`, and what an undo has in common with them: only what the maker made goes.

use super::{Judged, Passed, about, find, not_observed, present, proven};
use crate::facts::{Concerning, DestroyFacts, Facts};
use crate::verdict::{Evidence, Reason};
use felhom_model::GuestUuid;
use felhom_model::observed::Purpose;

pub(crate) fn judge_scratch(guest: GuestUuid, facts: &Facts) -> Judged {
    let Concerning::Destroy(volumes) = &facts.concerning else { return Err(not_observed("destroy")) };
    let text = "only a guest that a restore test made is destroyed like this";
    made_to_be_destroyed(guest, (Purpose::Scratch, "not_scratch", text), volumes, facts)?;
    let text = "made by a restore test, with its own volumes only";
    Ok(Passed::Allow(Reason::new("scratch", text, about(find(guest, facts)?))))
}

pub(crate) fn judge_copy(guest: GuestUuid, facts: &Facts) -> Judged {
    let Concerning::Discard { volumes, served } = &facts.concerning else {
        return Err(not_observed("discard"));
    };
    let text = "only a restored copy is discarded like this; one that took over is a customer's guest";
    made_to_be_destroyed(guest, (Purpose::Copy, "not_a_copy", text), volumes, facts)?;
    let guest = find(guest, facts)?;
    if *served {
        let text = "its link was up or it had a token, so it may hold what exists nowhere else";
        return Err(Reason::new("copy_served", text, about(guest)));
    }
    let text = "made by a restore, never served anybody, with its own volumes only";
    Ok(Passed::Allow(Reason::new("unused_copy", text, about(guest))))
}

fn made_to_be_destroyed(
    guest: GuestUuid,
    (purpose, code, text): (Purpose, &'static str, &str),
    volumes: &DestroyFacts,
    facts: &Facts,
) -> Result<(), Reason> {
    let guest = find(guest, facts)?;
    let refuse = |code, text| Err(Reason::new(code, text, about(guest)));
    if guest.purpose != purpose {
        return refuse(code, text);
    }
    proven(guest)?;
    present(guest)?;
    let range = match purpose {
        Purpose::Scratch => facts.limits.vmids.scratch,
        Purpose::Copy => facts.limits.vmids.copies,
        Purpose::Tenant | Purpose::Tombstone | Purpose::Foreign => return refuse(code, text),
    };
    if !range.contains(guest.vmid) {
        return refuse("vmid_out_of_range", "the VMID lies outside the range of its purpose");
    }
    if guest.protection {
        let text = "somebody set Proxmox's `protection` on it; that is never taken off for a destroy";
        return refuse("protected", text);
    }
    only_own_volumes(volumes, &about(guest))
}

/// A destroy takes every volume that the configuration references, so each must be one that the maker made.
pub(crate) fn only_own_volumes(volumes: &DestroyFacts, evidence: &Evidence) -> Result<(), Reason> {
    match volumes.referenced.iter().find(|volid| !volumes.made.contains(volid)) {
        None => Ok(()),
        Some(other) => {
            let text = "it references a volume that the operation which made it did not make";
            Err(Reason::new("foreign_volume", text, evidence.clone().with("volume", other)))
        }
    }
}
