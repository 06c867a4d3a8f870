//! A veto stops one operation, and is never taken for a consent, nor a consent for a veto.

use crate::sample::{
    ADA, STRANGER, VAULT, challenge, confirmation, customer, guest, guest_key, guest_public, kept, key, now,
    op_signature, operators,
};
use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind};
use felhom_signing::challenge::Consenter;
use felhom_signing::consent::{
    Act, Armored, Veto, VetoOn, WAITING_VERSION, Waiting, accept_customer, accept_operator, confirm,
    recheck_operator, veto_by_customer, veto_by_operator,
};
use felhom_signing::{Context, Signed};
use jiff::Timestamp;

fn veto() -> Veto {
    Veto {
        v: 1,
        box_id: challenge().box_id,
        veto: challenge().operation.id,
        object: Some(guest()),
        act: None,
        reason: "not mine to lose".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn on(kind: OperationKind) -> VetoOn {
    let act = Act { enrolment_epoch: 1, kind, what: Digest::of(b"the file") };
    VetoOn { box_id: challenge().box_id, operation: challenge().operation.id, act }
}

fn operators_word(veto: &Veto, n: u8, kind: OperationKind) -> &'static str {
    let bytes = veto.to_bytes().unwrap();
    let signed = Armored { signature: op_signature(n, &bytes), bytes };
    veto_by_operator(&signed, &operators(), on(kind)).map_or_else(|error| error.code(), |_| "accepted")
}

#[test]
fn an_operator_stops_an_operation_and_a_recovery_key_only_a_rotation() {
    let reclaim = OperationKind::ReclaimGuest;
    assert_eq!(operators_word(&veto(), ADA, reclaim), "accepted");
    assert_eq!(operators_word(&veto(), VAULT, reclaim), "recovery_key");
    assert_eq!(operators_word(&veto(), VAULT, OperationKind::RotateOperators), "accepted");
    assert_eq!(operators_word(&veto(), STRANGER, OperationKind::RotateOperators), "unknown_key");
    let other = Veto { veto: OperationId::from_parts(1, 1), ..veto() };
    assert_eq!(operators_word(&other, ADA, reclaim), "other_operation");
    let other = Veto { box_id: BoxId::from_random([1; 16]), ..veto() };
    assert_eq!(operators_word(&other, ADA, reclaim), "other_box");
    assert_eq!(operators_word(&Veto { v: 2, ..veto() }, ADA, reclaim), "veto_malformed");
}

#[test]
fn a_customer_stops_what_concerns_the_own_guest() {
    let (public, on) = (guest_public(), on(OperationKind::ReclaimGuest));
    let accepted = veto_by_customer(&veto().sign(&guest_key()).unwrap(), customer(&public), on).unwrap();
    assert_eq!(accepted.get().by, Consenter::Customer { guest: guest() });
    for object in [None, Some(GuestUuid::from_random([3; 16]))] {
        let signed = Veto { object, ..veto() }.sign(&guest_key()).unwrap();
        assert_eq!(veto_by_customer(&signed, customer(&public), on).unwrap_err().code(), "other_object");
    }
    let foreign = veto().sign(&key(STRANGER)).unwrap();
    assert_eq!(veto_by_customer(&foreign, customer(&public), on).unwrap_err().code(), "unknown_key");
}

#[test]
fn a_veto_is_no_consent_and_a_consent_is_no_veto() {
    let (open, public) = (kept(&challenge()), guest_public());
    let bytes = veto().to_bytes().unwrap();
    let armored = op_signature(ADA, &bytes);
    assert_eq!(recheck_operator(&bytes, &armored, &operators()).unwrap_err().code(), "challenge_malformed");
    let answered =
        accept_operator(std::slice::from_ref(&open), open.digest(), &armored, &operators(), &now());
    assert_eq!(answered.unwrap_err().code(), "signature_mismatch");
    let by_guest = veto().sign(&guest_key()).unwrap();
    let confirmed = accept_customer(std::slice::from_ref(&open), &by_guest, customer(&public), &now());
    assert_eq!(confirmed.unwrap_err().code(), "confirmation_malformed");

    let on = on(OperationKind::ReclaimGuest);
    let consent = Armored { bytes: open.bytes().to_vec(), signature: op_signature(ADA, open.bytes()) };
    assert_eq!(veto_by_operator(&consent, &operators(), on).unwrap_err().code(), "veto_malformed");
    let confirmed = confirm(&guest_key(), &confirmation()).unwrap();
    assert_eq!(veto_by_customer(&confirmed, customer(&public), on).unwrap_err().code(), "veto_malformed");
}

#[test]
fn a_veto_that_says_what_it_is_against_stops_nothing_else() {
    let kind = OperationKind::RotateOperators;
    let act = on(kind).act;
    let bound = |act: Act| operators_word(&Veto { v: 2, act: Some(act), ..veto() }, ADA, kind);
    assert_eq!(bound(act), "accepted");
    assert_eq!(bound(Act { enrolment_epoch: 2, ..act }), "other_epoch");
    assert_eq!(bound(Act { kind: OperationKind::ReclaimGuest, ..act }), "other_act");
    assert_eq!(bound(Act { what: Digest::of(b"another file"), ..act }), "other_act");
    assert_eq!(operators_word(&Veto { v: 1, act: Some(act), ..veto() }, ADA, kind), "veto_malformed");
}

#[test]
fn what_a_box_says_of_an_operation_in_its_grace_is_signed_for_that_alone() {
    let says = Waiting {
        v: WAITING_VERSION,
        box_id: challenge().box_id,
        waiting: challenge().operation.id,
        act: on(OperationKind::RotateOperators).act,
        asked_by: "job".to_owned(),
        reason: "job of ada".to_owned(),
        facts: vec![("next".to_owned(), "2".to_owned())],
        grace_s: 604_800,
    };
    let (own, signed) = (key(STRANGER), says.sign(&key(STRANGER)).unwrap());
    assert_eq!(Waiting::open(signed.clone(), &own.public()).unwrap().into_inner(), says);
    assert!(Waiting::open(signed.clone(), &key(ADA).public()).is_err());
    let elsewhere = Signed::new(&own, Context::Challenge, signed.bytes.clone());
    assert!(Waiting::open(elsewhere, &own.public()).is_err(), "signed for another purpose");
    assert!(Veto::read(&signed.bytes).is_err(), "and no veto");
    let newer = Waiting { v: 2, ..says }.sign(&own).unwrap();
    assert!(Waiting::open(newer, &own.public()).unwrap_err().to_string().contains("version is 2"));
}
