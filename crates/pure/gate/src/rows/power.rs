//! `start_guest`, `stop_guest`, `reboot_guest`: reversible, so allowed where the guest is ours and no twin comes alive.

use super::{Judged, Passed, about, find, present, proven, tenant, unlocked};
use crate::facts::Facts;
use crate::verdict::Reason;
use felhom_model::GuestUuid;
use felhom_model::observed::{ObservedGuest, Purpose};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Start,
    Stop,
    Reboot,
}

pub(crate) fn judge(act: Act, guest: GuestUuid, facts: &Facts) -> Judged {
    let guest = find(guest, facts)?;
    match (act, guest.purpose) {
        (Act::Start | Act::Stop | Act::Reboot, Purpose::Foreign) => {
            return Err(Reason::new("foreign_guest", "this guest is not ours", about(guest)));
        }
        // A reboot starts what it stopped, so it meets the rule of both.
        (Act::Start | Act::Reboot, purpose) => may_come_alive(purpose, guest, facts)?,
        (Act::Stop, Purpose::Tenant | Purpose::Copy | Purpose::Scratch | Purpose::Tombstone) => {}
    }
    proven(guest)?;
    present(guest)?;
    // Proxmox's reboot ignores a `backup` lock for its stop half, and the guest then stays down (F44).
    unlocked(guest)?;
    Ok(Passed::Allow(Reason::new("reversible", "can be taken back at any time", about(guest))))
}

/// `heal_guest`: restarts what is there, never destroys or makes anew.
pub(crate) fn judge_heal(guest: GuestUuid, facts: &Facts) -> Judged {
    let guest = tenant(guest, "is healed", facts)?;
    present(guest)?;
    unlocked(guest)?;
    Ok(Passed::Allow(Reason::new("restart_in_place", "restarts inside the existing guest", about(guest))))
}

/// No live twins: a tombstone, a foreign guest, a copy or scratch guest outside its own operation does not start.
fn may_come_alive(purpose: Purpose, guest: &ObservedGuest, facts: &Facts) -> Result<(), Reason> {
    let refuse = |code, text| Err(Reason::new(code, text, about(guest)));
    match purpose {
        Purpose::Tenant => Ok(()),
        Purpose::Tombstone => refuse("start_of_tombstone", "a tombstone never runs: it would be a live twin"),
        Purpose::Foreign => refuse("foreign_guest", "this guest is not ours"),
        Purpose::Copy | Purpose::Scratch if guest.made_by == Some(facts.within) => Ok(()),
        Purpose::Copy | Purpose::Scratch => refuse(
            "start_outside_own_operation",
            "a restored copy or scratch guest runs only within the operation that made it: it would be a live twin",
        ),
    }
}
