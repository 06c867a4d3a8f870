//! `rotate_operators` and `resolve_operation`.

use super::{Judged, Passed, not_observed};
use crate::facts::{Concerning, Facts};
use crate::verdict::{Evidence, Reason, Requirement};
use felhom_model::operation::{Resolve, RotateOperators};

/// Both versions' thresholds stand in the signatures over the file itself, so nobody signs a challenge; the grace with its
/// notice and veto is what protects against stolen keys.
pub(crate) fn judge_rotation(ask: &RotateOperators, facts: &Facts) -> Judged {
    let Concerning::Rotation(seen) = &facts.concerning else { return Err(not_observed("operators")) };
    let evidence = Evidence::new().with("current", seen.current).with("next", seen.version);
    if seen.document != ask.document || seen.version != ask.version {
        let text = "the operators' file at hand is not the one that was asked for";
        return Err(Reason::new("other_document", text, evidence));
    }
    if Some(seen.version) != seen.current.checked_add(1) {
        let text = "versions of the operators' file follow each other one by one, and never go back";
        return Err(Reason::new("not_the_next_version", text, evidence));
    }
    if !seen.signed {
        let text = "the thresholds of the version in force and of the new one have not both signed it";
        return Err(Reason::new("not_signed_by_both", text, evidence));
    }
    let why =
        "the thresholds of both versions signed it; the keys of the old one and customers can veto meanwhile";
    let requirement = Requirement { any_of: Vec::new(), grace_s: facts.limits.grace_s, why: why.to_owned() };
    Ok(Passed::Needs(requirement, evidence))
}

pub(crate) fn judge_resolve(ask: &Resolve, facts: &Facts) -> Judged {
    let Concerning::Resolve(seen) = &facts.concerning else { return Err(not_observed("resolve")) };
    let evidence = Evidence::new().with("operation", ask.operation).with("way", ask.way.name());
    let evidence = seen.what.iter().fold(evidence, |all, what| all.with("what", what));
    let evidence = seen.reason.iter().fold(evidence, |all, reason| all.with("stands_because", reason));
    if !seen.offered.contains(&ask.way) {
        let offered: Vec<&str> = seen.offered.iter().map(|way| way.name()).collect();
        let text = match (&seen.what, offered.is_empty()) {
            (None, _) => "this box knows no operation of this id",
            (Some(_), true) => "the operation does not stand: only one that needs an operator is led on",
            (Some(_), false) => "the operation does not offer this way out",
        };
        return Err(Reason::new("not_offered", text, evidence.with("offered", offered.join(" "))));
    }
    let evidence = seen.guest.into_iter().fold(evidence, |all, guest| all.with("guest", guest));
    Ok(Passed::Needs(Requirement::operator("leads an operation out of `needs_operator`"), evidence))
}
