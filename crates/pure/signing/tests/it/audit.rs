//! The audit log: what verifies, and that nothing which was done to it passes.

use crate::sample::{flipped, guest, key};
use felhom_model::{Digest, GuestUuid, OperationId};
use felhom_signing::audit::{
    AUDIT_VERSION, Chain, ChainError, Entry, GuestLink, GuestTip, Head, Tip, verify,
};
use felhom_signing::{Context, Signed, Verified};
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

const BOX: u8 = 9;

/// A log as a box keeps it.
#[derive(Debug, Clone, Default)]
struct Log {
    entries: Vec<Vec<u8>>,
    tips: BTreeMap<Option<GuestUuid>, Tip>,
}

impl Log {
    fn tip(&self, of: Option<GuestUuid>) -> Tip {
        self.tips.get(&of).copied().unwrap_or(Tip::BEGINNING)
    }

    fn write(&mut self, guest: Option<GuestUuid>, kind: &str) {
        let before = self.tip(None);
        let link = guest.map(|uuid| (uuid, self.tip(Some(uuid))));
        let entry = Entry {
            v: AUDIT_VERSION,
            seq: before.seq + 1,
            at: Timestamp::from_second(1_700_000_000).unwrap(),
            prev: before.hash,
            guest: link.map(|(uuid, tip)| GuestLink { uuid, seq: tip.seq + 1, prev: tip.hash }),
            kind: kind.to_owned(),
            operation: Some(OperationId::from_parts(1_700_000_000_000, 1)),
            who: Some("operator ada".to_owned()),
            data: serde_json::json!({ "code": "expired" }),
        };
        let bytes = entry.bytes().unwrap();
        let hash = Digest::of(&bytes);
        self.tips.insert(None, Tip { seq: entry.seq, hash });
        if let Some(link) = entry.guest {
            self.tips.insert(Some(link.uuid), Tip { seq: link.seq, hash });
        }
        self.entries.push(bytes);
    }

    fn of(guests: &[Option<GuestUuid>]) -> Self {
        let mut log = Self::default();
        for (n, guest) in guests.iter().enumerate() {
            log.write(*guest, &format!("kind_{n}"));
        }
        log
    }

    fn head(&self, guest: Option<GuestUuid>) -> Verified<Head> {
        let guest = guest.map(|uuid| GuestTip { uuid, tip: self.tip(Some(uuid)) });
        let head = Head { v: AUDIT_VERSION, tip: self.tip(None), guest };
        Head::open(head.sign(&key(BOX)).unwrap(), &key(BOX).public()).unwrap()
    }

    fn part_of(&self, guest: GuestUuid) -> Vec<Vec<u8>> {
        let read = |bytes: &&Vec<u8>| serde_json::from_slice::<Entry>(bytes).unwrap();
        let of_guest = |bytes: &&Vec<u8>| read(bytes).guest.is_some_and(|link| link.uuid == guest);
        self.entries.iter().filter(of_guest).cloned().collect()
    }

    fn check(&self, entries: &[Vec<u8>]) -> Result<Vec<Entry>, ChainError> {
        verify(entries, &self.head(None), Chain::Whole)
    }
}

fn neighbour() -> GuestUuid {
    GuestUuid::from_random([8; 16])
}

fn mixed() -> Log {
    Log::of(&[None, Some(guest()), Some(neighbour()), Some(guest()), None, Some(guest())])
}

#[test]
fn a_whole_log_and_a_guests_part_verify() {
    let log = mixed();
    let entries = log.check(&log.entries).unwrap();
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let part = log.part_of(guest());
    let own = verify(&part, &log.head(Some(guest())), Chain::Guest(guest())).unwrap();
    assert_eq!(own.iter().map(|e| e.seq).collect::<Vec<_>>(), [2, 4, 6]);
    let empty = Log::default();
    assert_eq!(empty.check(&[]), Ok(vec![]));
    assert_eq!(verify(&[] as &[Vec<u8>], &empty.head(Some(guest())), Chain::Guest(guest())), Ok(vec![]));
}

#[test]
fn each_thing_that_can_be_wrong_has_its_name() {
    let log = mixed();
    let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut entries = log.entries.clone();
        change(&mut entries);
        log.check(&entries).unwrap_err()
    };
    let replace =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace("ada", "eve").into_bytes();
    assert_eq!(changed(&|e| drop(e.remove(2))), ChainError::Gap { from: 3, to: 3 });
    assert_eq!(changed(&|e| drop(e.drain(..2))), ChainError::Gap { from: 1, to: 2 });
    assert_eq!(changed(&|e| e.truncate(4)), ChainError::Truncated { last: 4, head: 6 });
    assert_eq!(changed(&|e| e.clear()), ChainError::Truncated { last: 0, head: 6 });
    assert_eq!(changed(&|e| e.swap(1, 2)), ChainError::Reordered { seq: 2 });
    assert_eq!(changed(&|e| e.insert(3, replace(&e[2]))), ChainError::Fork { seq: 3 });
    for n in 0..6 {
        let seq = n as u64 + 1;
        assert_eq!(changed(&|e| e[n] = replace(&e[n])), ChainError::Altered { seq });
    }
    assert!(matches!(changed(&|e| e[1] = b"{}".to_vec()), ChainError::Unreadable { nth: 2, .. }));
    let mut longer = log.clone();
    longer.write(None, "later");
    assert_eq!(log.check(&longer.entries), Err(ChainError::PastHead { last: 7, head: 6 }));
}

#[test]
fn a_guest_sees_what_is_kept_from_it_and_what_is_anothers() {
    let log = mixed();
    let head = log.head(Some(guest()));
    let own = Chain::Guest(guest());
    let part = log.part_of(guest());
    assert_eq!(verify(&part[..2], &head, own), Err(ChainError::Truncated { last: 2, head: 3 }));
    assert_eq!(verify(&part[1..], &head, own), Err(ChainError::Gap { from: 1, to: 1 }));
    assert_eq!(verify(&log.entries, &head, own), Err(ChainError::OtherGuest { seq: 1 }));
    let others = verify(&part, &log.head(Some(neighbour())), own);
    assert_eq!(others, Err(ChainError::OtherHead(guest())));
}

#[test]
fn a_box_that_links_a_guests_entries_wrongly_is_found_by_who_reads_all() {
    let mut log = mixed();
    log.tips.remove(&Some(guest()));
    log.write(Some(guest()), "begins anew");
    assert_eq!(log.check(&log.entries), Err(ChainError::GuestLink { seq: 7 }));
    // The right number after another entry than the last one.
    let mut log = mixed();
    let tip = log.tips[&Some(guest())];
    log.tips.insert(Some(guest()), Tip { hash: Digest::of(b"another"), ..tip });
    log.write(Some(guest()), "goes on");
    assert_eq!(log.check(&log.entries), Err(ChainError::GuestLink { seq: 7 }));
}

#[test]
fn a_head_is_the_boxs_own_and_of_this_version() {
    let head = Head { v: AUDIT_VERSION, tip: Tip { seq: 3, hash: Digest::of(b"x") }, guest: None };
    let signed = head.sign(&key(BOX)).unwrap();
    let text = String::from_utf8(signed.bytes.clone()).unwrap();
    assert_eq!(text, format!("{{\"v\":1,\"seq\":3,\"hash\":\"{}\"}}", Digest::of(b"x")));
    assert!(Head::open(signed.clone(), &key(1).public()).is_err());
    let other = Signed::new(&key(BOX), Context::Challenge, signed.bytes);
    assert!(Head::open(other, &key(BOX).public()).is_err());
    let newer = Head { v: 2, ..head }.sign(&key(BOX)).unwrap();
    assert!(Head::open(newer, &key(BOX).public()).unwrap_err().to_string().contains("version"));
}

/// Something that somebody does to a log.
#[derive(Debug, Clone)]
enum Tampering {
    Flip(usize, usize),
    Remove(usize),
    Swap(usize, usize),
    Move(usize, usize),
    Repeat(usize, usize),
    Insert(usize, Vec<u8>),
    /// An entry of the right form, linked to the one before, with all later ones linked anew.
    Rewrite(usize),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let n = any::<usize>;
    prop_oneof![
        (n(), n()).prop_map(|(a, b)| Tampering::Flip(a, b)),
        n().prop_map(Tampering::Remove),
        (n(), n()).prop_map(|(a, b)| Tampering::Swap(a, b)),
        (n(), n()).prop_map(|(a, b)| Tampering::Move(a, b)),
        (n(), n()).prop_map(|(a, b)| Tampering::Repeat(a, b)),
        (n(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(a, b)| Tampering::Insert(a, b)),
        n().prop_map(Tampering::Rewrite),
    ]
}

fn tampered(log: &Log, who: &[Option<GuestUuid>], how: &Tampering) -> Vec<Vec<u8>> {
    let (mut entries, n) = (log.entries.clone(), log.entries.len());
    match how {
        Tampering::Flip(a, b) => entries[a % n] = flipped(&entries[a % n], *b),
        Tampering::Remove(a) => drop(entries.remove(a % n)),
        Tampering::Swap(a, b) => entries.swap(a % n, b % n),
        Tampering::Move(a, b) => {
            let entry = entries.remove(a % n);
            entries.insert(b % n, entry);
        }
        Tampering::Repeat(a, b) => entries.insert(b % (n + 1), entries[a % n].clone()),
        Tampering::Insert(a, bytes) => entries.insert(a % (n + 1), bytes.clone()),
        Tampering::Rewrite(a) => {
            let mut other = Log::default();
            for (i, guest) in who.iter().enumerate() {
                let kind = if i == a % n { "something_else".to_owned() } else { format!("kind_{i}") };
                other.write(*guest, &kind);
            }
            entries = other.entries;
        }
    }
    entries
}

fn guests() -> impl Strategy<Value = Vec<Option<GuestUuid>>> {
    prop::collection::vec(prop_oneof![Just(None), Just(Some(guest())), Just(Some(neighbour()))], 1..12)
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_log_is_found(who in guests(), how in prop::collection::vec(tampering(), 1..4)) {
        let mut log = Log::of(&who);
        let (original, head) = (log.entries.clone(), log.head(None));
        for one in &how {
            if log.entries.is_empty() {
                break;
            }
            log.entries = tampered(&log, &who, one);
        }
        let verdict = verify(&log.entries, &head, Chain::Whole);
        prop_assert_eq!(verdict.is_ok(), log.entries == original, "{:?}", how);
    }

    #[test]
    fn whatever_is_done_to_a_guests_part_is_found(who in guests(), how in tampering()) {
        let log = Log::of(&who);
        let part = log.part_of(guest());
        let head = log.head(Some(guest()));
        prop_assert!(verify(&part, &head, Chain::Guest(guest())).is_ok());
        if !part.is_empty() && !matches!(how, Tampering::Rewrite(_)) {
            let mine = Log { entries: part.clone(), ..Log::default() };
            let after = tampered(&mine, &[], &how);
            let verdict = verify(&after, &head, Chain::Guest(guest()));
            prop_assert_eq!(verdict.is_ok(), after == part, "{:?}", how);
        }
    }
}
