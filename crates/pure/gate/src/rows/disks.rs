//! Disks: attaching and detaching keep the data; assigning and formatting want those whose data lies there.

use super::{Judged, Passed, not_observed, tenant};
use crate::facts::{Concerning, DiskFacts, Facts};
use crate::verdict::{Evidence, Reason, Requirement};
use felhom_model::observed::{ObservedGuest, Purpose};
use felhom_model::operation::{DiskRole, DiskUse};
use felhom_model::{DurableId, GuestUuid};

/// `attach_disk`, `detach_disk`, `decommission_disk`.
pub(crate) fn judge_keeping(disk: &DurableId, facts: &Facts) -> Judged {
    let (seen, evidence) = observed(disk, facts)?;
    not_of_the_host(seen, &evidence)?;
    unused(seen, &evidence)?;
    Ok(Passed::Allow(Reason::new("keeps_the_data", "nothing on the disk is changed", evidence)))
}

pub(crate) fn judge_assign(ask: &DiskUse, facts: &Facts) -> Judged {
    let (seen, evidence) = observed(&ask.disk, facts)?;
    not_of_the_host(seen, &evidence)?;
    role(ask.role, &evidence)?;
    unused(seen, &evidence)?;
    let Some(guest) = receiver(ask, facts)? else {
        let why = "gives a disk a role without a guest";
        return Ok(Passed::Needs(Requirement::of([(1, owners(seen, None))], why), evidence));
    };
    let others = owners(seen, Some(guest));
    let backups_given_away = holds_backups(seen) && ask.role != DiskRole::Backup;
    let named = seen.formatted_for == Some(guest) || seen.marker_names == Some(guest);
    let meant = named && !backups_given_away;
    if meant && others.is_empty() {
        let text = "formatted by this box for that guest, or its marker names it";
        return Ok(Passed::Allow(Reason::new("meant_for_this_guest", text, evidence)));
    }
    let operator = backups_given_away || facts.observed.guests.iter().any(|other| !comes_of(other, guest));
    let customers = others.into_iter().chain([guest]).collect();
    let why = "gives a guest a disk that nothing shows to be meant for it";
    Ok(Passed::Needs(Requirement::of([(u8::from(operator), customers)], why), evidence))
}

pub(crate) fn judge_format(ask: &DiskUse, facts: &Facts) -> Judged {
    let (seen, evidence) = observed(&ask.disk, facts)?;
    not_of_the_host(seen, &evidence)?;
    role(ask.role, &evidence)?;
    unused(seen, &evidence)?;
    let receiver = receiver(ask, facts)?;
    let why = "destroys what is on the disk; that it looks blank implies nothing, encrypted disks do";
    let owners = owners(seen, None);
    if let ([owner], Some(guest)) = (owners.as_slice(), receiver)
        && *owner == guest
        && seen.assigned_to == Some(guest)
        && !holds_backups(seen)
    {
        return Ok(Passed::Needs(Requirement::of([(0, vec![guest])], why), evidence));
    }
    let mut customers: Vec<GuestUuid> = receiver.into_iter().chain(owners).collect();
    // Nothing names anybody: it can be any customer's, also of one that is a tombstone by now.
    for purpose in [Purpose::Tenant, Purpose::Tombstone] {
        if customers.is_empty() {
            let of_purpose = facts.observed.guests.iter().filter(|guest| guest.purpose == purpose);
            customers = of_purpose.filter_map(|guest| guest.uuid).collect();
        }
    }
    customers.sort_unstable();
    customers.dedup();
    Ok(Passed::Needs(Requirement::of([(1, customers)], why), evidence))
}

/// Backups outlive a guest's reach, so no guest's word alone is enough for the disk that they lie on.
fn holds_backups(seen: &DiskFacts) -> bool {
    seen.role == Some(DiskRole::Backup)
}

/// It is the guest itself, or holds nothing but this guest's data.
fn comes_of(other: &ObservedGuest, guest: GuestUuid) -> bool {
    [other.uuid, other.restored_from, other.succeeded_by].contains(&Some(guest))
}

fn observed<'a>(disk: &DurableId, facts: &'a Facts) -> Result<(&'a DiskFacts, Evidence), Reason> {
    let Concerning::Disk(seen) = &facts.concerning else { return Err(not_observed("disk")) };
    Ok((seen, Evidence::new().with("disk", disk)))
}

fn not_of_the_host(seen: &DiskFacts, evidence: &Evidence) -> Result<(), Reason> {
    if !seen.of_the_host && seen.role != Some(DiskRole::System) {
        return Ok(());
    }
    let text = "the host itself, or a storage that is not ours, lies on this disk";
    Err(Reason::new("disk_of_the_host", text, evidence.clone()))
}

fn role(role: DiskRole, evidence: &Evidence) -> Result<(), Reason> {
    match role {
        DiskRole::Backup | DiskRole::UserData => Ok(()),
        DiskRole::System => {
            Err(Reason::new("role_system", "a disk is not made the host's own", evidence.clone()))
        }
    }
}

fn unused(seen: &DiskFacts, evidence: &Evidence) -> Result<(), Reason> {
    match seen.consumers.first() {
        None => Ok(()),
        Some(consumer) => {
            let text = "it is in use; what uses it has to stop first";
            Err(Reason::new("disk_in_use", text, evidence.clone().with("used_by", consumer)))
        }
    }
}

fn receiver(ask: &DiskUse, facts: &Facts) -> Result<Option<GuestUuid>, Reason> {
    let Some(guest) = ask.guest else { return Ok(None) };
    tenant(guest, "gets a disk", facts)?;
    Ok(Some(guest))
}

/// Those whose data may lie on it, but for `receiver`.
fn owners(seen: &DiskFacts, receiver: Option<GuestUuid>) -> Vec<GuestUuid> {
    let mut owners: Vec<GuestUuid> =
        [seen.assigned_to, seen.marker_names, seen.formatted_for].into_iter().flatten().collect();
    owners.sort_unstable();
    owners.dedup();
    owners.retain(|owner| Some(*owner) != receiver);
    owners
}
