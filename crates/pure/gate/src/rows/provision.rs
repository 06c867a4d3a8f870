//! `provision_guest`: a golden archive of a signed release into a free VMID, within the box's capacity.

use super::{Judged, Passed, allowed_config, free_vmid, not_observed, room, seen};
use crate::facts::{Concerning, Facts, ProvisionFacts};
use crate::verdict::{Evidence, Reason, Requirement};
use felhom_model::OperationKind;
use felhom_model::observed::Purpose;
use felhom_model::operation::Provision;

pub(crate) fn judge(ask: &Provision, facts: &Facts) -> Judged {
    let Concerning::Provision(about) = &facts.concerning else { return Err(not_observed("provision")) };
    name_is_new(ask, about, facts)?;
    above_minima(ask, facts)?;
    let evidence = signed_golden(ask, about, facts)?;
    allowed_config(&about.forbidden_config, facts.stage)?;
    free_vmid(&about.vmid, facts.limits.vmids.tenants, facts.stage)?;
    let space = room(&about.storage, about.projected_bytes, facts)?;
    let evidence = space.iter().fold(evidence, |all, (key, value)| all.with(key, value));
    capacity(facts, evidence)
}

/// A name is used once on a box, also when its guest is long gone.
fn name_is_new(ask: &Provision, about: &ProvisionFacts, facts: &Facts) -> Result<(), Reason> {
    let observed = &facts.observed;
    let first_use = about.name_first_used_by;
    let used = first_use.is_some() || observed.used_names.contains(&ask.name);
    let another_makes_it = observed.active.iter().any(|active| {
        active.kind == OperationKind::ProvisionGuest
            && active.id < facts.within
            && active.name.as_ref() == Some(&ask.name)
    });
    let stands = observed
        .guests
        .iter()
        .any(|guest| guest.name.as_ref() == Some(&ask.name) && guest.made_by != Some(facts.within));
    if another_makes_it || stands || (used && first_use != Some(facts.within)) {
        let text = "this name was used on this box before; a name is never used twice, choose another one";
        return Err(Reason::new("name_used_before", text, Evidence::new().with("name", &ask.name)));
    }
    Ok(())
}

fn above_minima(ask: &Provision, facts: &Facts) -> Result<(), Reason> {
    let limits = &facts.limits;
    let short = [
        ("cores", u64::from(ask.limits.cores), u64::from(limits.min_cores)),
        ("memory_mib", u64::from(ask.limits.memory_mib), u64::from(limits.min_memory_mib)),
        ("disk_gib", u64::from(ask.disk_gib), u64::from(limits.min_disk_gib)),
    ];
    match short.into_iter().find(|(_, wanted, least)| wanted < least) {
        None => Ok(()),
        Some((what, wanted, least)) => {
            let evidence = Evidence::new().with("what", what).with("wanted", wanted).with("minimum", least);
            Err(Reason::new("below_minimum", "the guest would be smaller than this box's minimum", evidence))
        }
    }
}

/// Only what a signed release names and local root imported; else a hub could "provision" from another's backup.
fn signed_golden(ask: &Provision, about: &ProvisionFacts, facts: &Facts) -> Result<Evidence, Reason> {
    let evidence = Evidence::new().with("golden", about.golden);
    if let Some(wanted) = ask.golden.filter(|wanted| *wanted != about.golden) {
        let text = "the archive at hand is not the one that was asked for";
        return Err(Reason::new("other_golden", text, evidence.with("wanted", wanted)));
    }
    let Some(golden) = facts.observed.golden.iter().find(|golden| golden.digest == about.golden) else {
        let text = "no signed release that was imported on this box names this archive; \
                    `felhom-executor golden import FILE` brings one in";
        return Err(Reason::new("golden_not_signed", text, evidence));
    };
    if let Some(app) = ask.apps.iter().find(|app| !golden.apps.contains(app)) {
        let text = "the golden archive does not hold this app; desired state may only name what it holds";
        return Err(Reason::new("app_not_in_golden", text, evidence.with("app", app)));
    }
    if let Some(seen) = seen(&about.digest, "digest", facts.stage)?.filter(|seen| **seen != golden.digest) {
        let text = "the archive's bytes are not those that the release names";
        return Err(Reason::new("digest_differs", text, evidence.with("observed", seen)));
    }
    Ok(evidence.with("release", golden.release))
}

/// Up to the box-local number of tenants nobody is asked.
fn capacity(facts: &Facts, evidence: Evidence) -> Judged {
    let standing = facts
        .observed
        .guests
        .iter()
        .filter(|guest| guest.purpose == Purpose::Tenant && guest.made_by != Some(facts.within));
    let being_made = facts.observed.active.iter().filter(|active| {
        active.kind == OperationKind::ProvisionGuest
            && active.id < facts.within
            && !facts.observed.guests.iter().any(|guest| guest.made_by == Some(active.id))
    });
    let tenants = standing.count() + being_made.count();
    let evidence = evidence.with("tenants", tenants).with("max_guests", facts.limits.max_guests);
    if tenants < facts.limits.max_guests as usize {
        let text = "a golden archive of a signed release, a free VMID, within the box's capacity";
        return Ok(Passed::Allow(Reason::new("signed_golden_within_capacity", text, evidence)));
    }
    let why = format!("more than {} guests on this box need one operator", facts.limits.max_guests);
    Ok(Passed::Needs(Requirement::operator(why), evidence))
}
