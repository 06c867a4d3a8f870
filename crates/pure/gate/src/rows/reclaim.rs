//! `reclaim_guest`: destroys a tombstone, so it needs signatures; anything but a tombstone is refused.

use super::{Judged, Passed, about, find, present, proven};
use crate::facts::Facts;
use crate::verdict::{Reason, Requirement};
use felhom_model::GuestUuid;
use felhom_model::observed::Purpose;

pub(crate) fn judge(guest: GuestUuid, facts: &Facts) -> Judged {
    let guest = find(guest, facts)?;
    match guest.purpose {
        Purpose::Tombstone => {}
        Purpose::Tenant | Purpose::Copy | Purpose::Scratch | Purpose::Foreign => {
            let text = "only a tombstone can be reclaimed; this guest is none, and nothing was done to it";
            return Err(Reason::new("not_a_tombstone", text, about(guest)));
        }
    }
    proven(guest)?;
    present(guest)?;
    // Less is asked for once a backup taken after it stopped is proven; that fact is not observed yet, so the most is.
    let why = "destroys what outlives the guest's reach".to_owned();
    Ok(Passed::Needs(Requirement { operators: 2, customer: true, why }, about(guest)))
}
