//! A customer's confirmation: whose, of what, typed how, and how old.

use crate::sample::{
    ADA, ISSUED_MS, armor, challenge, confirmation, customer, flipped, guest, guest_key, guest_public, kept,
    key, now, op_signature, unarmor,
};
use felhom_model::{Digest, GuestUuid};
use felhom_signing::challenge::{Challenge, Consent, Consenter, Signers};
use felhom_signing::consent::{
    Armored, CONFIRMATION_MS, Confirmation, ConsentError, Customer, LIFETIME_MS, Now, OpenChallenge,
    accept_customer, confirm, recheck_customer,
};
use jiff::{Span, Timestamp};
use proptest::prelude::*;

fn accept(open: &OpenChallenge, signed: &Armored, now: &Now) -> Result<Consent, ConsentError> {
    let public = guest_public();
    accept_customer(std::slice::from_ref(open), signed, customer(&public), now).map(|c| c.into_inner())
}

fn code(outcome: Result<Consent, ConsentError>) -> &'static str {
    outcome.map_or_else(|error| error.code(), |_| "accepted")
}

/// What becomes of a confirmation of `challenge`, now and when it is asked again.
fn outcome(challenge: &Challenge, confirmation: Confirmation, now: &Now) -> (&'static str, &'static str) {
    let open = kept(challenge);
    let signed = confirm(&guest_key(), &Confirmation { challenge: open.digest(), ..confirmation }).unwrap();
    let public = guest_public();
    let again = recheck_customer(open.bytes(), &signed, customer(&public)).map(|c| c.into_inner());
    (code(accept(&open, &signed, now)), code(again))
}

#[test]
fn a_confirmation_says_who_and_what() {
    let open = kept(&challenge());
    let consent = accept(&open, &confirm(&guest_key(), &confirmation()).unwrap(), &now()).unwrap();
    assert_eq!(consent.by, Consenter::Customer { guest: guest() });
    assert_eq!((consent.challenge, consent.operation), (open.digest(), challenge().operation.id));
    assert_eq!(consent.targets, challenge().targets);
}

#[test]
fn only_the_guests_own_objects_and_only_where_the_customer_is_asked() {
    let stranger = GuestUuid::from_random([3; 16]);
    let both = |word| (word, word);
    let of_stranger = Confirmation { object: stranger, ..confirmation() };
    assert_eq!(outcome(&challenge(), of_stranger, &now()), both("other_object"));
    let mut elsewhere = challenge();
    elsewhere.targets[0].uuid = Some(stranger);
    assert_eq!(outcome(&elsewhere, confirmation(), &now()), both("other_object"));
    let operators_only =
        Challenge { requires: vec![Signers { operators: 1, customers: vec![stranger] }], ..challenge() };
    assert_eq!(outcome(&operators_only, confirmation(), &now()), both("customer_not_asked"));
    let either =
        vec![Signers { operators: 1, customers: vec![] }, Signers { operators: 0, customers: vec![guest()] }];
    assert_eq!(
        outcome(&Challenge { requires: either, ..challenge() }, confirmation(), &now()),
        both("accepted")
    );
}

#[test]
fn what_was_typed_is_the_label_exactly() {
    let typed = |typed: &str, label: &str| {
        let mut challenge = challenge();
        challenge.targets[0].label = label.to_owned();
        outcome(&challenge, Confirmation { typed: typed.to_owned(), ..confirmation() }, &now())
    };
    assert_eq!(typed("family", "family"), ("accepted", "accepted"));
    assert_eq!(typed("\tKovács család ", "Kovács család"), ("accepted", "accepted"));
    for (word, label) in
        [("Family", "family"), ("famil", "family"), ("fam ily", "family"), ("", ""), (" ", " ")]
    {
        assert_eq!(typed(word, label), ("typed_other", "typed_other"), "{word:?}");
    }
}

#[test]
fn it_lives_ten_minutes_of_this_boot_and_no_longer_than_its_challenge() {
    let at = |made: u64, now_ms: u64| {
        let confirmation = Confirmation { boottime_ms: ISSUED_MS + made, ..confirmation() };
        outcome(&challenge(), confirmation, &Now { boottime_ms: ISSUED_MS + now_ms, ..now() })
    };
    assert_eq!(CONFIRMATION_MS, 600_000);
    assert_eq!(at(0, CONFIRMATION_MS), ("accepted", "accepted"));
    assert_eq!(at(0, CONFIRMATION_MS + 1), ("confirmation_expired", "accepted"));
    assert_eq!(at(2, 1), ("confirmation_expired", "accepted"));
    assert_eq!(at(LIFETIME_MS, LIFETIME_MS), ("accepted", "accepted"));
    assert_eq!(at(LIFETIME_MS, LIFETIME_MS + 1), ("challenge_expired", "accepted"));
    let other = Confirmation { boot_id: "c".repeat(36), ..confirmation() };
    assert_eq!(outcome(&challenge(), other, &now()), ("other_boot", "accepted"));
    let rebooted = Now { boot_id: "c".repeat(36), ..now() };
    assert_eq!(outcome(&challenge(), confirmation(), &rebooted), ("other_boot", "accepted"));
    let moved = Confirmation { boot_id: "c".repeat(36), ..confirmation() };
    assert_eq!(outcome(&challenge(), moved, &rebooted), ("other_boot", "accepted"));
}

#[test]
fn only_the_guests_own_key_in_its_own_namespace() {
    let open = kept(&challenge());
    let signed = confirm(&guest_key(), &confirmation()).unwrap();
    let stranger = key(77).public();
    let foreign = Customer { guest: guest(), key: &stranger };
    let refused = accept_customer(std::slice::from_ref(&open), &signed, foreign, &now());
    assert_eq!(refused.unwrap_err().code(), "unknown_key");
    let operators = Armored { signature: op_signature(ADA, &signed.bytes), ..signed.clone() };
    assert_eq!(code(accept(&open, &operators, &now())), "other_namespace");
    let closed = accept_customer(&[], &signed, customer(&guest_public()), &now());
    assert_eq!(closed.unwrap_err().code(), "challenge_not_open");
    let beside = recheck_customer(b"other", &signed, customer(&guest_public()));
    assert_eq!(beside.unwrap_err().code(), "other_challenge");
    let newer = confirm(&guest_key(), &Confirmation { v: 2, ..confirmation() }).unwrap();
    assert_eq!(code(accept(&open, &newer, &now())), "confirmation_malformed");
}

proptest! {
    #[test]
    fn invariant_5_a_flipped_bit_in_a_confirmation_is_refused(at: usize) {
        let open = kept(&challenge());
        let good = confirm(&guest_key(), &confirmation()).unwrap();
        let bytes = Armored { bytes: flipped(&good.bytes, at), ..good.clone() };
        prop_assert!(accept(&open, &bytes, &now()).is_err());
        let blob = unarmor(&good.signature);
        let signature = Armored { signature: armor(&flipped(&blob, at)), ..good.clone() };
        prop_assert!(accept(&open, &signature, &now()).is_err());
        let other = OpenChallenge::new(flipped(open.bytes(), at), ISSUED_MS, LIFETIME_MS);
        prop_assert!(accept(&other, &good, &now()).is_err());
        let renamed = Confirmation { challenge: Digest::of(other.bytes()), ..confirmation() };
        let renamed = confirm(&guest_key(), &renamed).unwrap();
        prop_assert_eq!(code(accept(&open, &renamed, &now())), "challenge_not_open");
    }

    #[test]
    fn invariant_13_a_guests_wall_clock_does_not_matter(days in -3653_i64..=3653, age in 0..2 * CONFIRMATION_MS) {
        let at = Timestamp::UNIX_EPOCH.checked_add(Span::new().hours(450_000 + days * 24)).unwrap();
        let confirmation = Confirmation { at, boottime_ms: ISSUED_MS, ..confirmation() };
        let now = Now { boottime_ms: ISSUED_MS + age, ..now() };
        let expected = if age <= CONFIRMATION_MS { "accepted" } else { "confirmation_expired" };
        prop_assert_eq!(outcome(&challenge(), confirmation, &now).0, expected);
    }
}
