//! Consents against what a row asks for.
//!
//! 1. nobody vetoed; 2. those that were given for this operation; 3. to exactly what is there now;
//! 4. by keys within their daily limit; 5. distinct operators are counted by name and by key, customers by guest;
//! 6. one alternative must be satisfied; 7. then the grace must have passed.

use crate::approved::Approved;
use crate::facts::{Facts, Stage};
use crate::verdict::{Evidence, Reason, Requirement, Verdict};
use felhom_model::{GuestUuid, Operation};
use felhom_signing::Verified;
use felhom_signing::challenge::{Consent, Consenter, Signers};
use std::collections::BTreeSet;

pub(crate) fn weigh(
    operation: &Operation,
    (requirement, evidence): (Requirement, Evidence),
    facts: &Facts,
    consents: &[Verified<Consent>],
) -> Verdict<Operation> {
    let grace_s = requirement.grace_s.max(facts.authorization.grace_at_least_s);
    let requirement = Requirement { grace_s, ..requirement };
    if let Some(who) = &facts.authorization.vetoed_by {
        let text = "somebody who may do so has vetoed it; nothing was done";
        return Verdict::Refuse(Reason::new("vetoed", text, evidence.with("vetoed_by", who)));
    }
    let given: Vec<&Consent> =
        consents.iter().map(Verified::get).filter(|c| meant(c, operation, facts)).collect();
    if let Err(reason) = unchanged(&given, facts, &evidence) {
        return Verdict::Refuse(reason);
    }
    let (who, evidence) = Who::of(&given, facts, evidence);
    if !requirement.any_of.is_empty() && !requirement.any_of.iter().any(|signers| who.satisfies(signers)) {
        return Verdict::NeedsAuthorization(requirement, evidence);
    }
    let reason = Reason::new("consented", requirement.why, evidence);
    match grace_s.saturating_sub(facts.authorization.waited_s) {
        0 => Verdict::Allow(Approved::mint(operation.clone(), reason)),
        left_s => Verdict::Wait { left_s, reason },
    }
}

fn meant(consent: &Consent, operation: &Operation, facts: &Facts) -> bool {
    consent.operation == facts.within && consent.kind == operation.kind()
}

/// What was signed for must still be there exactly so; between its own steps an operation has changed it itself.
fn unchanged(given: &[&Consent], facts: &Facts, evidence: &Evidence) -> Result<(), Reason> {
    match facts.stage {
        Stage::Resume => return Ok(()),
        Stage::Begin | Stage::BeforeAct => {}
    }
    let now = facts.authorization.targets.as_ref();
    match given.iter().find(|consent| now != Some(&consent.targets)) {
        None => Ok(()),
        Some(consent) => {
            let text =
                "what the operation concerns is no longer what was signed for; a new challenge is needed";
            let evidence = evidence.clone().with("challenge", consent.challenge);
            Err(Reason::new("target_changed", text, evidence))
        }
    }
}

#[derive(Default)]
struct Who<'a> {
    operators: BTreeSet<&'a str>,
    keys: BTreeSet<&'a str>,
    customers: BTreeSet<GuestUuid>,
}

impl<'a> Who<'a> {
    fn of(given: &[&'a Consent], facts: &Facts, mut evidence: Evidence) -> (Self, Evidence) {
        let mut who = Self::default();
        for consent in given {
            match &consent.by {
                Consenter::Operator { name, key } if exhausted(key, facts) => {
                    evidence = evidence.with("daily_limit_reached", format!("{name} with {key}"));
                }
                Consenter::Operator { name, key } => {
                    who.operators.insert(name);
                    who.keys.insert(key);
                }
                Consenter::Customer { guest } => {
                    who.customers.insert(*guest);
                }
            }
        }
        for name in &who.operators {
            evidence = evidence.with("signed_by", name);
        }
        for guest in &who.customers {
            evidence = evidence.with("confirmed_by_customer_of", guest);
        }
        (who, evidence)
    }

    /// Two names with one key are not two operators, and an alternative without any signer is none.
    fn satisfies(&self, signers: &Signers) -> bool {
        (signers.operators > 0 || !signers.customers.is_empty())
            && self.operators.len().min(self.keys.len()) >= usize::from(signers.operators)
            && signers.customers.iter().all(|guest| self.customers.contains(guest))
    }
}

fn exhausted(key: &str, facts: &Facts) -> bool {
    let of_key = facts.authorization.key_uses.iter().filter(|(of, _)| of == key);
    of_key.map(|(_, uses)| u64::from(*uses)).sum::<u64>() >= u64::from(facts.limits.signatures_per_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alternative_without_any_signer_is_none() {
        assert!(!Who::default().satisfies(&Signers { operators: 0, customers: vec![] }));
    }
}
