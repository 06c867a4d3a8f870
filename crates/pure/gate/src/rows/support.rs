//! `open_support_access` and `collect_diagnostics`: looking into a customer's guest wants the customer.

use super::{Judged, Passed, about, not_observed, tenant};
use crate::facts::{Concerning, Facts};
use crate::verdict::{Reason, Requirement};
use felhom_model::GuestUuid;

const IS_DONE: &str = "is looked into";

pub(crate) fn judge_access(guest: GuestUuid, facts: &Facts) -> Judged {
    let tenant = tenant(guest, IS_DONE, facts)?;
    let why = "lets somebody look into the guest; it ends by itself";
    Ok(Passed::Needs(Requirement::of([(1, vec![guest])], why), about(tenant)))
}

pub(crate) fn judge_diagnostics(guest: GuestUuid, facts: &Facts) -> Judged {
    let tenant = tenant(guest, IS_DONE, facts)?;
    let Concerning::Diagnostics { beyond_allow_list } = facts.concerning else {
        return Err(not_observed("diagnostics"));
    };
    if beyond_allow_list {
        let why = "collects more than the allow-list names";
        return Ok(Passed::Needs(Requirement::of([(1, vec![guest])], why), about(tenant)));
    }
    let text = "only what the allow-list names, nothing of the customer's data";
    Ok(Passed::Allow(Reason::new("within_allow_list", text, about(tenant))))
}
