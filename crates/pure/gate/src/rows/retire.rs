//! `retire_guest`: a tenant becomes a tombstone; it stops and everything of it is kept.

use super::{Judged, Passed, about, find, present, proven, unlocked};
use crate::facts::{Facts, Stage};
use crate::verdict::{Reason, Requirement};
use felhom_model::GuestUuid;
use felhom_model::observed::Purpose;

pub(crate) fn judge(guest: GuestUuid, facts: &Facts) -> Judged {
    let guest = find(guest, facts)?;
    match (guest.purpose, facts.stage) {
        (Purpose::Tenant, Stage::Begin | Stage::Resume | Stage::BeforeAct)
        | (Purpose::Tombstone, Stage::Resume) => {}
        (Purpose::Copy | Purpose::Scratch | Purpose::Tombstone | Purpose::Foreign, _) => {
            return Err(Reason::new("not_a_tenant", "only a customer's own guest is retired", about(guest)));
        }
    }
    proven(guest)?;
    present(guest)?;
    unlocked(guest)?;
    let customer = guest.uuid.into_iter().collect();
    let why = "stops a customer's guest for good; everything of it is kept";
    Ok(Passed::Needs(Requirement::of([(0, customer), (1, vec![])], why), about(guest)))
}
