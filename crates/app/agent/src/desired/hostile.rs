//! A hub that is in other hands: its own key signs whatever it likes, and whoever sits in between sends what was signed before,
//! elsewhere, or altered. What the box holds then still is one history that only grows.

use std::collections::BTreeSet;

use felhom_model::{BoxId, GuestName};
use felhom_signing::Key;
use proptest::prelude::*;

use super::tests::{document, enrolment, hub, signed};
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

#[derive(Default)]
struct Messages {
    sent: Vec<Sent>,
}

/// A document with these guests.
fn with_guests(generation: u64, prev: Option<Digest>, guests: &BTreeSet<u8>) -> Document {
    let guest = |n: &u8| format!("[[guest]]\nname = \"guest-{n}\"\nmemory_mib = {}\n", 512 + u32::from(*n));
    document(generation, prev, &guests.iter().map(guest).collect::<String>())
}

impl Messages {
    fn make(&self, step: &Move, held: Option<&Held>) -> Sent {
        let at = held.map_or(0, |held| held.generation.0);
        let next = |guests: &BTreeSet<u8>| with_guests(at + 1, held.map(|held| held.digest), guests);
        let nothing = BTreeSet::new();
        let by_hub = |document: &Document| signed(document, &hub());
        let sent = |message, genuine| Sent { message, genuine };
        match step {
            Move::Next(guests) => sent(by_hub(&next(guests)), true),
            Move::Rewritten(guests) => sent(by_hub(&with_guests(at, None, guests)), true),
            Move::Elsewhere(by, guests) => {
                let generation = at.saturating_add_signed((*by).into());
                sent(by_hub(&with_guests(generation, Some(Digest::of(b"?")), guests)), true)
            }
            Move::OtherBox => {
                let mut document = next(&nothing);
                document.box_id = BoxId::from_random([2; 16]);
                sent(by_hub(&document), false)
            }
            Move::OtherKey => sent(signed(&next(&nothing), &Key::from_seed(&[2; 32])), false),
            Move::OtherContext => {
                let bytes = serde_json::to_vec(&next(&nothing)).unwrap();
                sent(Signed::new(&hub(), Context::SyncAnswer, bytes).into(), false)
            }
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
        let mut messages = Messages::default();
        let mut held: Option<Held> = None;
        for step in &steps {
            let sent = messages.make(step, held.as_ref());
            let verdict = accept(held.as_ref(), sent.message.clone(), &enrolment());
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
            messages.sent.push(sent);
        }
    }
}
