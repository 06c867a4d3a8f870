//! `configure_guest`: reversible, so allowed for a tenant down to the box's minima; a disk only grows.

use super::{Judged, Passed, about, present, tenant, unlocked};
use crate::facts::Facts;
use crate::verdict::Reason;
use felhom_model::operation::Configure;

pub(crate) fn judge(ask: &Configure, facts: &Facts) -> Judged {
    let guest = tenant(ask.guest, "is configured", facts)?;
    present(guest)?;
    unlocked(guest)?;
    above_minima(ask, facts).map_err(|(code, text)| Reason::new(code, text, about(guest)))?;
    if let Some(wanted) = ask.disk_gib {
        let Some(current) = guest.disk_gib else { return Err(super::not_observed("disk_gib")) };
        if wanted < current {
            let evidence = about(guest).with("disk_gib", current).with("wanted_gib", wanted);
            return Err(Reason::new("disk_would_shrink", "a disk only ever grows", evidence));
        }
    }
    let limits = guest.limits;
    let evidence = about(guest)
        .with("old_cores", limits.cores)
        .with("old_memory_mib", limits.memory_mib)
        .with("old_swap_mib", limits.swap_mib);
    Ok(Passed::Allow(Reason::new("reversible", "old values are kept in the journal", evidence)))
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
