//! What counts as a consent, by example: `retire_guest` wants its customer or one operator, `forget_key` two operators and
//! the customer after a grace.

use crate::build::*;
use crate::sign::*;
use felhom_gate::*;
use felhom_model::*;
use felhom_signing::challenge::{Consent, Consenter};

fn retire() -> Operation {
    Operation::RetireGuest(uuid(1))
}

fn forget() -> (Operation, Facts) {
    let ask = operation::ForgetKey { guest: uuid(1), key: Digest::of(b"key") };
    let mut facts = Facts { concerning: Concerning::Key(key_facts()), ..observed() };
    facts.limits.grace_s = 0;
    (Operation::ForgetKey(ask), facts)
}

/// The healthy box, with what the operation concerns.
fn observed() -> Facts {
    let mut facts = facts();
    facts.authorization.targets = Some(vec![target()]);
    facts
}

fn with(operation: &Operation, facts: &Facts, bend: impl Fn(&mut Consent)) -> &'static str {
    let mut one = consent(operation.kind(), operator("ada"));
    bend(&mut one);
    word(&decide(operation, facts, &[verified(one)]))
}

fn by_key(name: &str, key: &str) -> Consenter {
    Consenter::Operator { name: name.into(), key: key.into() }
}

#[test]
fn a_consent_is_for_one_operation_and_what_stands_there() {
    let facts = observed();
    assert_eq!(with(&retire(), &facts, |_| ()), "consented");
    assert_eq!(with(&retire(), &facts, |one| one.operation = op(1001)), "needs_authorization");
    assert_eq!(with(&retire(), &facts, |one| one.kind = OperationKind::ReclaimGuest), "needs_authorization");
    assert_eq!(with(&retire(), &facts, |one| one.targets[0].bytes += 1), "target_changed");
    assert_eq!(with(&retire(), &facts, |one| one.targets.clear()), "target_changed");
    let mut blind = facts.clone();
    blind.authorization.targets = None;
    assert_eq!(with(&retire(), &blind, |_| ()), "target_changed");
    // A target of a consent that is not meant at all is nobody's business.
    let neither = |one: &mut Consent| (one.operation, one.targets) = (op(1001), vec![]);
    assert_eq!(with(&retire(), &facts, neither), "needs_authorization");
}

#[test]
fn a_changed_target_is_refused_with_the_challenge() {
    let mut one = consent(OperationKind::RetireGuest, operator("ada"));
    one.targets.clear();
    let Verdict::Refuse(reason) = decide(&retire(), &observed(), &[verified(one)]) else { panic!() };
    assert_eq!(reason.evidence.get("challenge"), Some(Digest::of(b"a challenge").to_string().as_str()));
    assert!(reason.evidence.get("guest").is_some());
}

#[test]
fn after_a_resume_its_own_steps_may_have_changed_the_target_but_the_consent_is_still_for_it() {
    let resumed = Facts { stage: Stage::Resume, ..observed() };
    assert_eq!(with(&retire(), &resumed, |one| one.targets.clear()), "consented");
    assert_eq!(with(&retire(), &resumed, |one| one.operation = op(1001)), "needs_authorization");
    assert_eq!(
        with(&retire(), &resumed, |one| one.kind = OperationKind::ReclaimGuest),
        "needs_authorization"
    );
}

#[test]
fn either_of_two_alternatives_suffices_and_nobody_elses_word() {
    let facts = observed();
    for (who, wanted) in [
        (vec![], "needs_authorization"),
        (vec![customer(1)], "consented"),
        (vec![operator("ada")], "consented"),
        (vec![customer(2)], "needs_authorization"),
        (vec![customer(2), customer(3)], "needs_authorization"),
    ] {
        assert_eq!(asked_with(&retire(), &facts, &who), wanted, "{who:?}");
    }
}

#[test]
fn operators_are_counted_once_by_name_and_once_by_key() {
    let (ask, facts) = forget();
    let customer = customer(1);
    for (who, wanted) in [
        (vec![by_key("ada", "a"), by_key("bob", "b")], "consented"),
        (vec![by_key("ada", "a"), by_key("ada", "b")], "needs_authorization"),
        (vec![by_key("ada", "a"), by_key("ada", "a")], "needs_authorization"),
        (vec![by_key("ada", "a"), by_key("bob", "a")], "needs_authorization"),
        (vec![by_key("ada", "a"), by_key("ada", "b"), by_key("bob", "c")], "consented"),
        (vec![by_key("ada", "a")], "needs_authorization"),
        (vec![], "needs_authorization"),
    ] {
        let with_customer: Vec<_> = who.iter().cloned().chain([customer.clone()]).collect();
        assert_eq!(asked_with(&ask, &facts, &with_customer), wanted, "{who:?} and the customer");
        assert_eq!(asked_with(&ask, &facts, &who), "needs_authorization", "{who:?} without the customer");
    }
}

#[test]
fn who_signed_is_in_the_evidence() {
    let (ask, facts) = forget();
    let consents = all_of(&ask, &[operator("ada"), customer(1)]);
    let Verdict::NeedsAuthorization(requirement, evidence) = decide(&ask, &facts, &consents) else {
        panic!()
    };
    assert_eq!(evidence.get("signed_by"), Some("ada"));
    assert_eq!(evidence.get("confirmed_by_customer_of"), Some(uuid(1).to_string().as_str()));
    assert_eq!(
        requirement.to_string(),
        "needs 2 operators and the customer: a key that is forgotten cannot be had back"
    );
}

#[test]
fn a_key_has_a_daily_limit() {
    let used = |uses: &[(&str, u32)]| {
        let mut facts = observed();
        facts.authorization.key_uses = uses.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect();
        facts
    };
    let signed = |facts: &Facts| asked_with(&retire(), facts, &[by_key("ada", "a")]);
    assert_eq!(signed(&used(&[("a", 9)])), "consented");
    assert_eq!(signed(&used(&[("a", 10)])), "needs_authorization");
    assert_eq!(signed(&used(&[("b", 10)])), "consented");
    assert_eq!(signed(&used(&[("a", 9), ("a", 1)])), "needs_authorization", "uses of one key add up");
    assert_eq!(signed(&used(&[("a", u32::MAX), ("a", u32::MAX)])), "needs_authorization");
    let mut none = used(&[]);
    none.limits.signatures_per_day = 0;
    assert_eq!(signed(&none), "needs_authorization");
    // A second key of the same operator has its own, and a customer has none.
    let exhausted = used(&[("a", 10)]);
    assert_eq!(asked_with(&retire(), &exhausted, &[by_key("ada", "a"), by_key("ada", "b")]), "consented");
    assert_eq!(asked_with(&retire(), &none, &[customer(1)]), "consented");
    let consents = all_of(&retire(), &[by_key("ada", "a")]);
    let Verdict::NeedsAuthorization(_, evidence) = decide(&retire(), &exhausted, &consents) else { panic!() };
    assert_eq!(evidence.get("daily_limit_reached"), Some("ada with a"));
    assert_eq!(evidence.get("signed_by"), None);
}

#[test]
fn the_grace_is_the_boxs_own_and_is_only_lengthened() {
    let (ask, facts) = forget();
    let consents = all_of(&ask, &[operator("ada"), operator("bob"), customer(1)]);
    let left = |grace_s, wish, waited_s| {
        let mut facts = facts.clone();
        facts.limits.grace_s = grace_s;
        facts.authorization.grace_at_least_s = wish;
        facts.authorization.waited_s = waited_s;
        match decide(&ask, &facts, &consents) {
            Verdict::Wait { left_s, reason } => {
                assert_eq!((reason.code, reason.evidence.get("signed_by")), ("consented", Some("ada")));
                Some(left_s)
            }
            Verdict::Allow(approved) => {
                assert_eq!(approved.reason().code, "consented");
                None
            }
            other => panic!("{}", word(&other)),
        }
    };
    assert_eq!(left(100, 0, 0), Some(100));
    assert_eq!(left(100, 0, 99), Some(1));
    assert_eq!(left(100, 0, 100), None);
    assert_eq!(left(100, 50, 100), None, "a shorter wish has no effect");
    assert_eq!(left(100, 300, 100), Some(200));
    assert_eq!(left(100, 300, 300), None);
    assert_eq!(left(0, 0, 0), None, "no grace, no wait");
    assert_eq!(left(0, 7, 0), Some(7));
    assert_eq!(left(100, 0, u64::MAX), None);
}

#[test]
fn the_grace_that_is_asked_for_is_the_one_that_will_be_waited_for() {
    let mut facts = observed();
    facts.authorization.grace_at_least_s = 60;
    let Verdict::NeedsAuthorization(requirement, _) = decide(&retire(), &facts, &[]) else { panic!() };
    assert_eq!(requirement.grace_s, 60);
    assert_eq!(asked_with(&retire(), &facts, &[customer(1)]), "in_grace");
}

#[test]
fn a_veto_stands_above_all_signatures() {
    let (ask, mut facts) = forget();
    let who = [operator("ada"), operator("bob"), customer(1)];
    assert_eq!(asked_with(&ask, &facts, &who), "consented");
    facts.authorization.vetoed_by = Some("the customer".into());
    assert_eq!(asked_with(&ask, &facts, &who), "vetoed");
    let Verdict::Refuse(reason) = decide(&ask, &facts, &[]) else { panic!() };
    assert_eq!(reason.evidence.get("vetoed_by"), Some("the customer"));
}

/// A consent never lowers what a row asks for: where the row refuses or allows, nobody looks at it.
#[test]
fn consents_change_no_verdict_of_a_row() {
    let start = Operation::StartGuest(uuid(1));
    assert_eq!(asked_with(&start, &observed(), &[operator("ada"), customer(1)]), "reversible");
    let mut tombstone = observed();
    tombstone.observed.guests[0].purpose = observed::Purpose::Tombstone;
    assert_eq!(asked_with(&start, &tombstone, &[operator("ada"), customer(1)]), "start_of_tombstone");
}
