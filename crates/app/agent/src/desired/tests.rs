use super::*;
use felhom_model::BoxId;
use felhom_protocol::desired::Spec;
use felhom_signing::Key;

pub(super) fn hub() -> Key {
    Key::from_seed(&[1; 32])
}

pub(super) fn enrolment() -> Enrolment {
    Enrolment {
        box_id: BoxId::from_random([1; 16]),
        name: "box".to_owned(),
        epoch: 1,
        hub_url: "https://hub".to_owned(),
        hub_fingerprint: Digest::of(b"cert"),
        hub_key: hub().public(),
    }
}

pub(super) fn document(generation: u64, prev: Option<Digest>, guests: &str) -> Document {
    let spec: Spec = toml::from_str(&format!("schema = \"{SCHEMA}\"\n{guests}")).unwrap();
    let box_id = enrolment().box_id;
    Document { schema: SCHEMA.into(), box_id, generation: Generation(generation), prev_hash: prev, spec }
}

pub(super) fn signed(document: &Document, key: &Key) -> SignedBytes {
    Signed::new(key, Context::DesiredState, serde_json::to_vec(document).unwrap()).into()
}

fn take(held: Option<&Held>, document: &Document) -> Result<Option<Held>, Rejected> {
    accept(held, signed(document, &hub()), &enrolment())
}

const A: &str = "[[guest]]\nname = \"a\"\ncores = 3";

#[test]
fn a_history_is_followed_and_merged() {
    let first = take(None, &document(1, None, A)).unwrap().unwrap();
    assert_eq!(take(Some(&first), &document(1, None, A)), Ok(None), "the same again");
    let second = document(2, Some(first.digest), "[[guest]]\nname = \"b\"");
    let second = take(Some(&first), &second).unwrap().unwrap();
    assert_eq!(second.merged.guests.len(), 2);
    assert_eq!(second.absent, vec!["a".parse().unwrap()]);
    let after_gap = take(Some(&second), &document(7, Some(Digest::of(b"?")), A)).unwrap().unwrap();
    assert_eq!((after_gap.generation, after_gap.absent.len()), (Generation(7), 1));
}

#[test]
fn what_does_not_follow_is_rejected() {
    let held = take(None, &document(5, None, A)).unwrap().unwrap();
    let reason = |document: &Document| take(Some(&held), document).unwrap_err().reason();
    assert_eq!(reason(&document(4, None, A)), "LowerGeneration");
    assert_eq!(reason(&document(5, None, "")), "HistoryForked");
    assert_eq!(reason(&document(6, Some(Digest::of(b"other")), A)), "HistoryForked");
    assert_eq!(reason(&document(6, None, A)), "HistoryForked");
    let next = |guests: &str| document(6, Some(held.digest), guests);
    assert_eq!(reason(&next("[[guest]]\nname = \"a\"\nmemory_mib = 1")), "NotUsable");
    let bad = "[[guest]]\nname = \"a\"\n[guest.backup]\nschedule = \"x\"\ntarget = \"local\"";
    assert_eq!(reason(&next(bad)), "NotUsable");
    let mut other = next(A);
    other.box_id = BoxId::from_random([2; 16]);
    assert_eq!(reason(&other), "OtherBox");
    let forged = accept(Some(&held), signed(&next(A), &Key::from_seed(&[2; 32])), &enrolment());
    assert_eq!(forged, Err(Rejected::Signature));
    let mut flipped = signed(&next(A), &hub());
    flipped.bytes[20] ^= 1;
    assert_eq!(accept(Some(&held), flipped, &enrolment()), Err(Rejected::Signature));
}

#[test]
fn under_a_new_identity_a_new_history_begins_and_wishes_stay() {
    let mut held = take(None, &document(50, None, A)).unwrap().unwrap();
    held.box_id = BoxId::from_random([9; 16]);
    let now = take(Some(&held), &document(1, None, "")).unwrap().unwrap();
    assert_eq!((now.generation, now.merged.guests.len()), (Generation(1), 1));
}
