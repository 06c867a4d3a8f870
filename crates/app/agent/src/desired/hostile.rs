//! A hub that is in other hands: its own key signs whatever it likes, and whoever sits in between sends what was signed before,
//! elsewhere, or altered. What the box holds then still is one history that only grows.

use std::collections::BTreeSet;

use felhom_model::{BoxId, GuestName};
use felhom_protocol::desired::{GuestSpec, Spec};
use felhom_signing::Key;
use proptest::prelude::*;

use super::*;

/// One message to the box, made of what was sent before.
#[derive(Debug, Clone)]
enum Move {
    /// The next document: these guests, the others left out.
    Next(BTreeSet<u8>),
    /// The generation that is held, with other guests.
    Rewritten(BTreeSet<u8>),
    /// An older or much later generation, whose chain does not fit.
    Elsewhere(i8, BTreeSet<u8>),
    /// The next one, for another box.
    OtherBox,
    /// The next one, signed by another key.
    OtherKey,
    /// The next one's bytes under the context of something else that the hub signs.
    OtherContext,
    /// An earlier message again.
    Replayed(prop::sample::Index),
    /// An earlier message with a flipped bit in its bytes or in its signature.
    Flipped(prop::sample::Index, prop::sample::Index, u8),
}

fn moves() -> impl Strategy<Value = Move> {
    let guests = || prop::collection::btree_set(0..5_u8, 0..4);
    let one = any::<prop::sample::Index>;
    prop_oneof![
        4 => guests().prop_map(Move::Next),
        1 => guests().prop_map(Move::Rewritten),
        1 => (any::<i8>(), guests()).prop_map(|(by, guests)| Move::Elsewhere(by, guests)),
        1 => Just(Move::OtherBox),
        1 => Just(Move::OtherKey),
        1 => Just(Move::OtherContext),
        1 => one().prop_map(Move::Replayed),
        2 => (one(), one(), 0..8_u8).prop_map(|(which, at, bit)| Move::Flipped(which, at, bit)),
    ]
}

/// What can be accepted at all: only what the pinned hub signed as desired state of this box, unaltered.
struct Sent {
    message: SignedBytes,
    genuine: bool,
}

struct Hub {
    key: Key,
    enrolment: Enrolment,
    sent: Vec<Sent>,
}

impl Hub {
    fn new() -> Self {
        let key = Key::from_seed(&[1; 32]);
        let enrolment = Enrolment {
            box_id: BoxId::from_random([1; 16]),
            name: "box".to_owned(),
            epoch: 1,
            hub_url: "https://hub".to_owned(),
            hub_fingerprint: Digest::of(b"cert"),
            hub_key: key.public(),
        };
        Self { key, enrolment, sent: Vec::new() }
    }

    fn document(&self, generation: u64, prev_hash: Option<Digest>, guests: &BTreeSet<u8>) -> Document {
        let guest = |n: &u8| -> GuestSpec {
            toml::from_str(&format!("name = \"guest-{n}\"\nmemory_mib = {}", 512 + u32::from(*n))).unwrap()
        };
        let spec = Spec { schema: SCHEMA.to_owned(), guests: guests.iter().map(guest).collect() };
        let box_id = self.enrolment.box_id;
        Document { schema: SCHEMA.to_owned(), box_id, generation: Generation(generation), prev_hash, spec }
    }

    fn make(&self, step: &Move, held: Option<&Held>) -> Sent {
        let at = held.map_or(0, |held| held.generation.0);
        let next = |guests: &BTreeSet<u8>| self.document(at + 1, held.map(|held| held.digest), guests);
        let sign = |document: &Document, key: &Key, context: Context| -> SignedBytes {
            Signed::new(key, context, serde_json::to_vec(document).unwrap()).into()
        };
        let by_hub = |document: &Document| sign(document, &self.key, Context::DesiredState);
        let sent = |message, genuine| Sent { message, genuine };
        match step {
            Move::Next(guests) => sent(by_hub(&next(guests)), true),
            Move::Rewritten(guests) => sent(by_hub(&self.document(at, None, guests)), true),
            Move::Elsewhere(by, guests) => {
                let generation = at.saturating_add_signed((*by).into());
                sent(by_hub(&self.document(generation, Some(Digest::of(b"?")), guests)), true)
            }
            Move::OtherBox => {
                let mut document = next(&BTreeSet::new());
                document.box_id = BoxId::from_random([2; 16]);
                sent(by_hub(&document), false)
            }
            Move::OtherKey => {
                sent(sign(&next(&BTreeSet::new()), &Key::from_seed(&[2; 32]), Context::DesiredState), false)
            }
            Move::OtherContext => sent(sign(&next(&BTreeSet::new()), &self.key, Context::SyncAnswer), false),
            Move::Replayed(which) => self.again(which, |_| true),
            Move::Flipped(which, at, bit) => self.again(which, |message| {
                if bit % 2 == 0 {
                    let mut text = message.signature.to_string();
                    let at = at.index(85);
                    let other = if text[at..].starts_with('A') { "B" } else { "A" };
                    text.replace_range(at..=at, other);
                    message.signature = text.parse().unwrap();
                } else {
                    let at = at.index(message.bytes.len());
                    message.bytes[at] ^= 1 << bit;
                }
                false
            }),
        }
    }

    /// Something that was sent before, changed; `change` says whether it is still genuine.
    fn again(&self, which: &prop::sample::Index, change: impl FnOnce(&mut SignedBytes) -> bool) -> Sent {
        if self.sent.is_empty() {
            return self.make(&Move::OtherKey, None);
        }
        let earlier = which.get(&self.sent);
        let mut message = earlier.message.clone();
        let same = change(&mut message);
        Sent { message, genuine: earlier.genuine && same }
    }
}

fn names(held: &Held) -> BTreeSet<GuestName> {
    held.merged.guests.iter().map(|guest| guest.name.clone()).collect()
}

proptest! {
    /// Invariants 2 and 12 at the box's door: whatever comes, the generation never goes down, one generation has one content, and a
    /// guest that was ever wanted is wanted on.
    #[test]
    fn invariants_2_and_12_a_hostile_hub_cannot_turn_history_back(steps in prop::collection::vec(moves(), 1..24)) {
        let mut hub = Hub::new();
        let mut held: Option<Held> = None;
        for step in &steps {
            let sent = hub.make(step, held.as_ref());
            let verdict = accept(held.as_ref(), sent.message.clone(), &hub.enrolment);
            if !sent.genuine {
                prop_assert!(!matches!(verdict, Ok(Some(_))), "{step:?} was accepted");
            }
            if let Ok(Some(new)) = verdict {
                if let Some(old) = &held {
                    prop_assert!(new.generation > old.generation, "{step:?}");
                    prop_assert!(names(&new).is_superset(&names(old)), "{step:?}");
                }
                prop_assert_eq!(new.digest, Digest::of(&sent.message.bytes));
                held = Some(new);
            } else if let Move::Next(_) = step {
                prop_assert!(false, "the honest next document was refused: {verdict:?}");
            }
            hub.sent.push(sent);
        }
    }
}
