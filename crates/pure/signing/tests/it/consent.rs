//! An operator's consent: what counts, and that each check refuses by itself, in its order.

use crate::keygen::signed_line;
use crate::sample::{
    ADA, BELA, ISSUED_MS, STRANGER, VAULT, armor, challenge, entry, flipped, kept, key, now, op_signature,
    operators, operators_of, unarmor,
};
use crate::security_key::Token;
use felhom_model::{BoxId, Digest};
use felhom_signing::challenge::{Challenge, Consent, Consenter, Signers};
use felhom_signing::consent::{
    ConsentError, EXPORTED_LIFETIME_MS, LIFETIME_MS, Now, OpenChallenge, accept_operator, recheck_operator,
};
use felhom_signing::operators::{OperatorsFile, Role};
use felhom_signing::sshsig::{self, Namespace};
use felhom_signing::{Context, Signed};
use jiff::{Span, Timestamp};
use proptest::prelude::*;

fn accept(open: &OpenChallenge, armored: &str, now: &Now) -> Result<Consent, ConsentError> {
    let accepted = accept_operator(std::slice::from_ref(open), open.digest(), armored, &operators(), now);
    accepted.map(|consent| consent.into_inner())
}

fn code(outcome: Result<Consent, ConsentError>) -> &'static str {
    outcome.map_or_else(|error| error.code(), |_| "accepted")
}

#[test]
fn a_consent_says_who_and_what() {
    let open = kept(&challenge());
    let consent = accept(&open, &op_signature(BELA, open.bytes()), &now()).unwrap();
    let by = Consenter::Operator { name: "bela".to_owned(), key: key(BELA).public().fingerprint() };
    assert_eq!((consent.by, consent.challenge), (by, open.digest()));
    assert_eq!((consent.operation, consent.kind), (challenge().operation.id, challenge().operation.kind));
    assert_eq!(consent.targets, challenge().targets);
}

#[test]
fn keys_of_the_stock_tool_consent() {
    let open = kept(&challenge());
    for kind in [&["-t", "ed25519"][..], &["-t", "ecdsa", "-b", "256"], &["-t", "rsa", "-b", "3072"]] {
        let (armored, line) = signed_line(kind, "felhom-op-v1", open.bytes());
        let file = operators_of(&line);
        let accepted = accept_operator(std::slice::from_ref(&open), open.digest(), &armored, &file, &now());
        assert!(matches!(&accepted.unwrap().get().by, Consenter::Operator { name, .. } if name == "ada"));
        assert!(recheck_operator(open.bytes(), &armored, &file).is_ok());
    }
}

/// Each answer here has the fault of its row and of all rows below it; the first one is named.
#[test]
fn the_first_check_that_fails_is_named() {
    let later = Now { boottime_ms: ISSUED_MS + LIFETIME_MS + 1, ..now() };
    let boot = Now { boot_id: "c".repeat(36), ..later.clone() };
    let epoch = Now { enrolment_epoch: 3, ..boot.clone() };
    let other_box = Now { box_id: BoxId::from_random([1; 16]), ..epoch.clone() };
    let open = kept(&challenge());
    let junk = OpenChallenge::new(b"{}".to_vec(), ISSUED_MS, LIFETIME_MS);
    let ada = |bytes: &[u8]| op_signature(ADA, bytes);
    let not_open =
        accept_operator(&[], open.digest(), "junk", &operators(), &other_box).map(|c| c.into_inner());
    assert_eq!(code(not_open), "challenge_not_open");
    assert_eq!(code(accept(&junk, "junk", &other_box)), "signature_malformed");
    let elsewhere = sshsig::sign(&key(STRANGER), Namespace::Operators, b"?").unwrap();
    assert_eq!(code(accept(&junk, &elsewhere, &other_box)), "other_namespace");
    assert_eq!(code(accept(&junk, &op_signature(STRANGER, b"?"), &other_box)), "unknown_key");
    assert_eq!(code(accept(&junk, &op_signature(VAULT, b"?"), &other_box)), "recovery_key");
    assert_eq!(code(accept(&junk, &ada(b"?"), &other_box)), "signature_mismatch");
    assert_eq!(code(accept(&junk, &ada(junk.bytes()), &other_box)), "challenge_malformed");
    assert_eq!(code(accept(&open, &ada(open.bytes()), &other_box)), "other_box");
    assert_eq!(code(accept(&open, &ada(open.bytes()), &epoch)), "other_epoch");
    assert_eq!(code(accept(&open, &ada(open.bytes()), &boot)), "other_boot");
    assert_eq!(code(accept(&open, &ada(open.bytes()), &later)), "challenge_expired");
    assert_eq!(code(accept(&open, &ada(open.bytes()), &now())), "accepted");
}

#[test]
fn invariant_7_a_security_key_without_presence_and_verification_is_refused() {
    for token in Token::both() {
        let (file, open) = (operators_of(&token.line()), kept(&challenge()));
        for flags in 0..=u8::MAX {
            let armored = token.sign(open.bytes(), flags, 41);
            let outcome =
                accept_operator(std::slice::from_ref(&open), open.digest(), &armored, &file, &now());
            let again = recheck_operator(open.bytes(), &armored, &file);
            if flags & 0x05 == 0x05 {
                assert!(outcome.is_ok() && again.is_ok(), "{flags:#x}");
            } else {
                assert_eq!(outcome.unwrap_err().code(), "nobody_there", "{flags:#x}");
                assert_eq!(again.unwrap_err().code(), "nobody_there", "{flags:#x}");
            }
        }
    }
}

#[test]
fn a_challenge_lives_its_time_of_the_running_box_and_no_longer() {
    let open = kept(&challenge());
    let armored = op_signature(ADA, open.bytes());
    let at = |boottime_ms| code(accept(&open, &armored, &Now { boottime_ms, ..now() }));
    assert_eq!(at(ISSUED_MS), "accepted");
    assert_eq!(at(ISSUED_MS + LIFETIME_MS), "accepted");
    assert_eq!(at(ISSUED_MS + LIFETIME_MS + 1), "challenge_expired");
    assert_eq!(at(ISSUED_MS - 1), "challenge_expired");
    assert_eq!(at(u64::MAX), "challenge_expired");
    assert_eq!((LIFETIME_MS, EXPORTED_LIFETIME_MS), (3_600_000, 86_400_000));
    let long = OpenChallenge::new(open.bytes().to_vec(), ISSUED_MS, u64::MAX);
    let at = |boottime_ms| code(accept(&long, &armored, &Now { boottime_ms, ..now() }));
    assert_eq!(at(ISSUED_MS + EXPORTED_LIFETIME_MS), "accepted");
    assert_eq!(at(ISSUED_MS + EXPORTED_LIFETIME_MS + 1), "challenge_expired");
}

#[test]
fn asked_again_later_only_the_signature_and_the_file_count() {
    let open = kept(&challenge());
    let armored = op_signature(BELA, open.bytes());
    let consent = recheck_operator(open.bytes(), &armored, &operators()).unwrap();
    assert_eq!(consent.get().challenge, open.digest());
    let without = OperatorsFile::new(4, 1, vec![entry("ada", Role::Operator, ADA)]).unwrap();
    assert_eq!(recheck_operator(open.bytes(), &armored, &without).unwrap_err().code(), "unknown_key");
    let demoted = vec![entry("ada", Role::Operator, ADA), entry("bela", Role::Recovery, BELA)];
    let demoted = OperatorsFile::new(4, 1, demoted).unwrap();
    assert_eq!(recheck_operator(open.bytes(), &armored, &demoted).unwrap_err().code(), "recovery_key");
    let other = recheck_operator(&flipped(open.bytes(), 100), &armored, &operators());
    assert_eq!(other.unwrap_err().code(), "signature_mismatch");
}

#[test]
fn only_the_pinned_key_opens_a_challenge() {
    let issued = challenge().issue(&key(9)).unwrap();
    assert_eq!(*Challenge::open(issued.clone(), &key(9).public()).unwrap().get(), challenge());
    let other = Challenge::open(issued.clone(), &key(8).public()).unwrap_err();
    assert_eq!(other.code(), "signature_mismatch");
    let elsewhere = Signed::new(&key(9), Context::Heartbeat, issued.bytes.clone());
    assert_eq!(Challenge::open(elsewhere, &key(9).public()).unwrap_err().code(), "signature_mismatch");
}

#[test]
fn a_challenge_that_nobody_has_to_sign_is_none() {
    let nobody = Signers { operators: 0, customers: vec![] };
    for requires in [vec![], vec![nobody.clone()], vec![Signers { operators: 1, customers: vec![] }, nobody]]
    {
        let refused = Challenge { requires, ..challenge() }.issue(&key(9));
        assert_eq!(refused.unwrap_err().code(), "challenge_malformed");
    }
    let refused = Challenge { v: 2, ..challenge() }.issue(&key(9));
    assert_eq!(refused.unwrap_err().code(), "challenge_malformed");
}

/// Every bit of what is inside the armor, one after the other, or only each `step`th.
fn bits_that_are_accepted(blob: &[u8], step: usize, accepts: impl Fn(&str) -> bool) -> Vec<usize> {
    assert!(accepts(&armor(blob)));
    (0..blob.len() * 8).step_by(step).filter(|at| accepts(&armor(&flipped(blob, *at)))).collect()
}

#[test]
fn invariant_5_a_flipped_bit_in_the_signature_is_refused() {
    let open = kept(&challenge());
    let blob = unarmor(&op_signature(ADA, open.bytes()));
    let accepted = bits_that_are_accepted(&blob, 1, |armored| accept(&open, armored, &now()).is_ok());
    assert_eq!(accepted, Vec::<usize>::new());
}

#[test]
fn invariant_5_a_flipped_bit_in_a_security_keys_signature_is_refused() {
    for token in Token::both() {
        let (file, open) = (operators_of(&token.line()), kept(&challenge()));
        let blob = unarmor(&token.sign(open.bytes(), 0x05, 41));
        let accepts = |armored: &str| recheck_operator(open.bytes(), armored, &file).is_ok();
        assert_eq!(bits_that_are_accepted(&blob, 1, accepts), Vec::<usize>::new());
    }
}

#[test]
fn invariant_5_a_flipped_bit_in_the_stock_tools_signatures_is_refused() {
    let open = kept(&challenge());
    for kind in [&["-t", "ecdsa", "-b", "256"][..], &["-t", "rsa", "-b", "2048"]] {
        let (armored, line) = signed_line(kind, "felhom-op-v1", open.bytes());
        let file = operators_of(&line);
        let accepts = |armored: &str| recheck_operator(open.bytes(), armored, &file).is_ok();
        assert_eq!(bits_that_are_accepted(&unarmor(&armored), 5, accepts), Vec::<usize>::new(), "{kind:?}");
    }
}

/// Fields by which two challenges can differ though they ask for the same.
fn altered(change: u8, bit: u32) -> Challenge {
    let mut challenge = challenge();
    match change {
        0 => challenge.enrolment_epoch ^= 1 << (bit % 64),
        1 => challenge.challenge_id = digest_flipped(challenge.challenge_id, bit),
        2 => challenge.box_id = BoxId::from_random([bit.to_be_bytes(); 4].concat().try_into().unwrap()),
        3 => challenge.seq ^= 1 << (bit % 64),
        _ => challenge.operation.grace_s ^= 1 << (bit % 64),
    }
    challenge
}

fn digest_flipped(digest: Digest, bit: u32) -> Digest {
    Digest::from_bytes(flipped(digest.as_bytes(), bit as usize).try_into().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn invariant_5_a_flipped_bit_in_the_challenge_is_refused(at: usize) {
        let open = kept(&challenge());
        let armored = op_signature(ADA, open.bytes());
        let other = OpenChallenge::new(flipped(open.bytes(), at), ISSUED_MS, LIFETIME_MS);
        // As the answer names what was signed, and as the box might have kept something else.
        let named = accept_operator(std::slice::from_ref(&other), open.digest(), &armored, &operators(), &now());
        prop_assert_eq!(named.unwrap_err().code(), "challenge_not_open");
        prop_assert_eq!(code(accept(&other, &armored, &now())), "signature_mismatch");
        let issued = challenge().issue(&key(9)).unwrap();
        let issued = Signed { bytes: flipped(&issued.bytes, at), ..issued };
        prop_assert_eq!(Challenge::open(issued, &key(9).public()).unwrap_err().code(), "signature_mismatch");
    }

    #[test]
    fn invariant_5_a_flipped_bit_in_the_digest_is_refused(bit in 0_u32..256) {
        let open = kept(&challenge());
        let armored = op_signature(ADA, open.bytes());
        let digest = digest_flipped(open.digest(), bit);
        let outcome = accept_operator(&[open], digest, &armored, &operators(), &now());
        prop_assert_eq!(outcome.unwrap_err(), ConsentError::NotOpen { digest });
    }

    /// A signature of one challenge does not fit another one that differs in box, epoch, nonce, number or grace.
    #[test]
    fn invariant_5_another_challenges_signature_is_refused(change in 0_u8..5, bit: u32) {
        let (signed, other) = (kept(&challenge()), kept(&altered(change, bit)));
        let armored = op_signature(ADA, signed.bytes());
        prop_assert_eq!(code(accept(&other, &armored, &now())), "signature_mismatch");
    }

    /// The right signature on a box that is not the one, or of another enrolment or boot.
    #[test]
    fn invariant_5_another_box_epoch_or_boot_is_refused(bytes: [u8; 16], epoch: u64, boot in "[0-9a-f]{36}") {
        let open = kept(&challenge());
        let armored = op_signature(ADA, open.bytes());
        let other = Now { box_id: BoxId::from_random(bytes), ..now() };
        prop_assert_eq!(code(accept(&open, &armored, &other)), "other_box");
        prop_assume!(epoch != 2);
        let other = Now { enrolment_epoch: epoch, ..now() };
        prop_assert_eq!(code(accept(&open, &armored, &other)), "other_epoch");
        let other = Now { boot_id: boot, ..now() };
        prop_assert_eq!(code(accept(&open, &armored, &other)), "other_boot");
    }

    /// The box's wall clock stands anywhere within ten years when it issues; only the time since boot decides.
    #[test]
    fn invariant_13_clock_jumps_do_not_matter(days in -3653_i64..=3653, lives in -3653_i64..=3653, age in 0..2 * LIFETIME_MS) {
        let shifted = |at: Timestamp, days: i64| at.checked_add(Span::new().hours(days * 24)).unwrap();
        let mut challenge = challenge();
        challenge.issued_at = shifted(challenge.issued_at, days);
        challenge.expires_at = shifted(challenge.issued_at, lives);
        let open = kept(&challenge);
        let outcome = accept(&open, &op_signature(ADA, open.bytes()), &Now { boottime_ms: ISSUED_MS + age, ..now() });
        prop_assert_eq!(code(outcome), if age <= LIFETIME_MS { "accepted" } else { "challenge_expired" });
    }
}
