//! `configure_guest`: reversible, so allowed for a tenant down to the box's minima; a disk only grows.

use super::{Judged, Passed, about, active, not_observed, present, room, tenant, unlocked};
use crate::facts::{Concerning, Facts};
use crate::verdict::Reason;
use felhom_model::observed::ObservedGuest;
use felhom_model::operation::Configure;

pub(crate) fn judge(ask: &Configure, facts: &Facts) -> Judged {
    let guest = tenant(ask.guest, "is configured", facts)?;
    present(guest)?;
    unlocked(guest)?;
    above_minima(ask, facts).map_err(|(code, text)| Reason::new(code, text, about(guest)))?;
    if let Some(wanted) = ask.disk_gib {
        grows(guest, wanted, facts)?;
    }
    let limits = guest.limits;
    let evidence = about(guest)
        .with("old_cores", limits.cores)
        .with("old_memory_mib", limits.memory_mib)
        .with("old_swap_mib", limits.swap_mib);
    Ok(Passed::Allow(Reason::new("reversible", "old values are kept in the journal", evidence)))
}

/// A disk never shrinks again, so it grows only by what is free now, and never to more than its storage holds: a backup of a disk
/// that is larger could not be restored here.
fn grows(guest: &ObservedGuest, wanted: u32, facts: &Facts) -> Result<(), Reason> {
    let Some(current) = guest.disk_gib else { return Err(not_observed("disk_gib")) };
    let evidence = about(guest).with("disk_gib", current).with("wanted_gib", wanted);
    if wanted < current {
        return Err(Reason::new("disk_would_shrink", "a disk only ever grows", evidence));
    }
    if wanted == current {
        return Ok(());
    }
    let Concerning::Grow { storage } = &facts.concerning else { return Err(not_observed("grow")) };
    room(storage, u64::from(wanted - current) << 30, facts)?;
    let most = active(storage, facts)?.total.saturating_sub(facts.limits.reserve_bytes);
    if u64::from(wanted) << 30 > most {
        let evidence = evidence.with("storage", storage).with("most_bytes", most);
        let text = "the disk would be larger than what its storage holds beside the box's reserve";
        return Err(Reason::new("disk_beyond_storage", text, evidence));
    }
    Ok(())
}

fn above_minima(ask: &Configure, facts: &Facts) -> Result<(), (&'static str, String)> {
    let limits = &facts.limits;
    if let Some(cores) = ask.cores.filter(|cores| *cores < limits.min_cores) {
        let text = format!("{cores} cores are less than this box's minimum of {}", limits.min_cores);
        return Err(("below_minimum_cores", text));
    }
    if let Some(memory) = ask.memory_mib.filter(|memory| *memory < limits.min_memory_mib) {
        let text = format!("{memory} MiB are less than this box's minimum of {} MiB", limits.min_memory_mib);
        return Err(("below_minimum_memory", text));
    }
    Ok(())
}
