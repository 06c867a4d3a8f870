//! Backup keys and the recovery code: a new key changes nothing for old backups, a forgotten one loses them.

use super::{Judged, Passed, about, not_observed, of_a_customer, seen, tenant};
use crate::facts::{Concerning, Facts, KeyFacts};
use crate::verdict::{Reason, Requirement};
use felhom_model::GuestUuid;
use felhom_model::observed::Purpose;
use felhom_model::operation::ForgetKey;
use jiff::SignedDuration;

const IS_DONE: &str = "has keys of its own";

pub(crate) fn judge_rotate(guest: GuestUuid, facts: &Facts) -> Judged {
    let key = observed(facts)?;
    let guest = tenant(guest, IS_DONE, facts)?;
    if let Some(last) = key.rotated_at.filter(|_| !key.failed_since) {
        let elapsed = facts.now.duration_since(last);
        // A clock that went back does not stop rotations.
        if elapsed >= SignedDuration::ZERO && elapsed < facts.limits.rotation_interval {
            let text = "the key was rotated a short while ago, and no restore has failed since";
            return Err(Reason::new("too_soon", text, about(guest).with("rotated_at", last)));
        }
    }
    if seen(&key.envelope_read_back, "envelope", facts.stage)? == Some(&false) {
        let text =
            "the new key's envelope was not read back equal; a key that nobody could recover is not used";
        return Err(Reason::new("envelope_not_read_back", text, about(guest)));
    }
    let text = "old keys stay in the ring, so every backup stays readable";
    Ok(Passed::Allow(Reason::new("keeps_old_keys", text, about(guest))))
}

pub(crate) fn judge_forget(ask: &ForgetKey, facts: &Facts) -> Judged {
    let key = observed(facts)?;
    let guest = of_a_customer(ask.guest, &[Purpose::Tenant, Purpose::Tombstone], IS_DONE, facts)?;
    let evidence = about(guest).with("key", ask.key);
    if key.backups_under_it > 0 {
        let text = "backups exist under this key; without it they are lost";
        return Err(Reason::new("backups_under_key", text, evidence.with("backups", key.backups_under_it)));
    }
    let why = "a key that is forgotten cannot be had back";
    let requirement = Requirement::of([(2, vec![ask.guest])], why).after(facts.limits.grace_s);
    Ok(Passed::Needs(requirement, evidence))
}

pub(crate) fn judge_recovery_code(guest: GuestUuid, facts: &Facts) -> Judged {
    let tenant = tenant(guest, IS_DONE, facts)?;
    let why = "the recovery code opens the backups; the old one stays valid until the new one was typed back";
    Ok(Passed::Needs(Requirement::of([(0, vec![guest])], why), about(tenant)))
}

fn observed(facts: &Facts) -> Result<&KeyFacts, Reason> {
    let Concerning::Key(key) = &facts.concerning else { return Err(not_observed("key")) };
    Ok(key)
}
