//! `reclaim_guest`: destroys a tombstone after its grace. It destroys what outlives the guest's reach, so it wants
//! operators, and the customer as well where no proven copy is left.

use super::destroy::only_own_volumes;
use super::{Judged, Passed, about, find, not_observed, present, proven, unlocked};
use crate::facts::{Concerning, Facts, ReclaimFacts};
use crate::verdict::{Evidence, Reason, Requirement};
use felhom_model::GuestUuid;
use felhom_model::backup::Archive;
use felhom_model::observed::{ObservedGuest, Power, Purpose};

pub(crate) fn judge(guest: GuestUuid, facts: &Facts) -> Judged {
    let guest = find(guest, facts)?;
    match guest.purpose {
        Purpose::Tombstone => {}
        Purpose::Tenant | Purpose::Copy | Purpose::Scratch | Purpose::Foreign => {
            let text = "only a tombstone can be reclaimed; this guest is none, and nothing was done to it";
            return Err(Reason::new("not_a_tombstone", text, about(guest)));
        }
    }
    let Concerning::Reclaim(tombstone) = &facts.concerning else { return Err(not_observed("reclaim")) };
    proven(guest)?;
    present(guest)?;
    unlocked(guest)?;
    at_rest(guest, tombstone)?;
    only_own_volumes(&tombstone.volumes, &about(guest))?;
    let (requirement, evidence) = requirement(guest, tombstone, facts);
    Ok(Passed::Needs(requirement.after(facts.limits.grace_s), evidence))
}

fn at_rest(guest: &ObservedGuest, tombstone: &ReclaimFacts) -> Result<(), Reason> {
    match guest.power {
        Power::Stopped => {}
        Power::Running | Power::Missing | Power::Unknown => {
            let text = "the tombstone runs, so somebody uses it; nothing was done to it";
            return Err(Reason::new("tombstone_runs", text, about(guest)));
        }
    }
    match tombstone.bulk.first() {
        None => Ok(()),
        Some(key) => {
            let text = "it still holds a bulk volume, of which no backup is made; move that to a guest first";
            Err(Reason::new("bulk_volume", text, about(guest).with("mount_point", key)))
        }
    }
}

fn requirement(guest: &ObservedGuest, tombstone: &ReclaimFacts, facts: &Facts) -> (Requirement, Evidence) {
    let last = |archive: &&Archive| {
        let after = tombstone.stopped_at.is_some_and(|stopped| archive.taken_at > stopped);
        Some(archive.guest) == guest.uuid && after && archive.is_proven()
    };
    let customer: Vec<GuestUuid> = guest.succeeded_by.or(guest.uuid).into_iter().collect();
    let evidence = about(guest).with("unanswered_days", tombstone.unanswered_days);
    match facts.observed.archives.iter().find(last) {
        Some(proof) => {
            let why = "destroys a tombstone whose last state is in a proven backup";
            (Requirement::operator(why), evidence.with("proven_backup", &proof.volid))
        }
        None if tombstone.unanswered_days >= facts.limits.unanswered_days => {
            let why = "destroys the only copy of a tombstone's last state; its customer did not answer";
            let two = Requirement::of([(2, customer), (2, vec![])], why);
            (two, evidence.with("proven_backup", "none"))
        }
        None => {
            let why = "destroys the only copy of a tombstone's last state: no backup taken after it stopped is proven";
            (Requirement::of([(2, customer)], why), evidence.with("proven_backup", "none"))
        }
    }
}
