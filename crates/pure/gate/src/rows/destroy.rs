//! `destroy_scratch`, and what an undo has in common with it: only what the maker made goes.

use super::{Judged, Passed, about, find, not_observed, present, proven};
use crate::facts::{Concerning, DestroyFacts, Facts};
use crate::verdict::{Evidence, Reason};
use felhom_model::GuestUuid;
use felhom_model::observed::Purpose;

pub(crate) fn judge(guest: GuestUuid, facts: &Facts) -> Judged {
    let Concerning::Destroy(volumes) = &facts.concerning else { return Err(not_observed("destroy")) };
    let guest = find(guest, facts)?;
    let refuse = |code, text| Err(Reason::new(code, text, about(guest)));
    match guest.purpose {
        Purpose::Scratch => {}
        Purpose::Tenant | Purpose::Copy | Purpose::Tombstone | Purpose::Foreign => {
            return refuse("not_scratch", "only a guest that a restore test made is destroyed like this");
        }
    }
    proven(guest)?;
    present(guest)?;
    if !facts.limits.vmids.scratch.contains(guest.vmid) {
        return refuse("vmid_out_of_range", "the VMID lies outside the range of scratch guests");
    }
    if guest.protection {
        return refuse(
            "protected",
            "somebody set Proxmox's `protection` on it; that is never taken off for a destroy",
        );
    }
    only_own_volumes(volumes, &about(guest))?;
    Ok(Passed::Allow(Reason::new(
        "scratch",
        "made by a restore test, with its own volumes only",
        about(guest),
    )))
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
