//! The audit log of a box: entries that name the entry before them, and a head that the box signs.
//!
//! ```text
//!   entry 1 ◀─prev─ entry 2 ◀─prev─ entry 3 ◀── head {seq 3, hash}, signed by the attestation key
//!      ▲                                │
//!      └───────────── guest.prev ───────┘     the same guest's entry before: a chain of its own
//! ```
//! An entry is exact JSON bytes, and its hash is their SHA-256. What concerns a guest is a link of that guest's own chain
//! as well, so that a guest verifies its part without reading what concerns others: it sees how many other entries there
//! are, and nothing else of them.
//!
//! **Architecture invariant:** nothing here is believed of an entry that the head does not lead to.

use crate::{Context, Key, PublicKey, SignatureError, Signed, Verified};
use felhom_model::{Digest, GuestUuid, OperationId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of [`Entry`] and [`Head`].
pub const AUDIT_VERSION: u32 = 1;

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`AUDIT_VERSION`].
    pub v: u32,
    /// Counts the entries of the box, from 1.
    pub seq: u64,
    /// The box's wall clock, for people.
    pub at: Timestamp,
    /// Hash of the entry before; of the first one [`Tip::BEGINNING`]'s.
    pub prev: Digest,
    /// The guest whose customer it concerns, with its place in that guest's own chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestLink>,
    /// A stable word, e.g. `challenge_issued`.
    pub kind: String,
    /// The operation in the box's journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// Who did or asked for it, e.g. `operator ada`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// By kind. Never a secret.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub data: serde_json::Value,
}

/// An entry's place in a guest's own chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLink {
    /// The guest.
    pub uuid: GuestUuid,
    /// Counts the entries of this guest, from 1.
    pub seq: u64,
    /// Hash of this guest's entry before; of its first one [`Tip::BEGINNING`]'s.
    pub prev: Digest,
}

impl Entry {
    /// The bytes that are kept and hashed.
    ///
    /// # Errors
    /// If it cannot be JSON.
    pub fn bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// Where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// The last entry's number in this chain; 0 where there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Tip {
    /// Of a chain without entries.
    pub const BEGINNING: Self = Self { seq: 0, hash: Digest::from_bytes([0; 32]) };
}

/// Where the log ends, signed by the box. It has no time in it: an unchanged log has one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`AUDIT_VERSION`].
    pub v: u32,
    /// The whole log.
    #[serde(flatten)]
    pub tip: Tip,
    /// One guest's part of it, in the head that this guest gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestTip>,
}

/// Where a guest's chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestTip {
    /// The guest.
    pub uuid: GuestUuid,
    /// Its own chain.
    #[serde(flatten)]
    pub tip: Tip,
}

/// Why a head does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not signed by the box.
    #[error("the head of the audit log: {0}")]
    Signature(#[from] SignatureError),
    /// Signed, and of another shape.
    #[error("the head of the audit log cannot be read: {0}")]
    Malformed(String),
}

impl Head {
    /// Signs it.
    ///
    /// # Errors
    /// If it cannot be JSON.
    pub fn sign(&self, key: &Key) -> Result<Signed, serde_json::Error> {
        Ok(Signed::new(key, Context::AuditHead, serde_json::to_vec(self)?))
    }

    /// Checks the box's signature and reads it.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn open(signed: Signed, key: &PublicKey) -> Result<Verified<Self>, HeadError> {
        let head = signed.verify(key, Context::AuditHead)?.try_map(|bytes| {
            serde_json::from_slice::<Self>(&bytes).map_err(|e| HeadError::Malformed(e.to_string()))
        })?;
        if head.get().v == AUDIT_VERSION {
            return Ok(head);
        }
        Err(HeadError::Malformed(format!("its version is {}, not {AUDIT_VERSION}", head.get().v)))
    }
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Bytes that are no entry.
    #[error("entry {nth} from the beginning cannot be read: {why}")]
    Unreadable {
        /// Counted from 1.
        nth: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The head speaks of another guest, or of none.
    #[error("the signed head says nothing of guest {0}")]
    OtherHead(GuestUuid),
    /// An entry that is not of this guest.
    #[error("entry {seq} is not of this guest")]
    OtherGuest {
        /// Its number in the box's log.
        seq: u64,
    },
    /// Two entries have one number.
    #[error("two entries have the number {seq}: the log was forked, or an entry was put in")]
    Fork {
        /// The number.
        seq: u64,
    },
    /// The entries do not ascend.
    #[error("entry {seq} does not stand in its place: the log was reordered")]
    Reordered {
        /// The first one that is too low for its place.
        seq: u64,
    },
    /// Entries are missing.
    #[error("entries {from} to {to} are missing")]
    Gap {
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// The end is missing.
    #[error("the log ends with entry {last}, the signed head is entry {head}: its end was cut off")]
    Truncated {
        /// The last entry that is there.
        last: u64,
        /// The head's.
        head: u64,
    },
    /// Entries that the head does not cover.
    #[error(
        "the log has an entry {last}, the signed head is entry {head}: the head is older, or entries were put in"
    )]
    PastHead {
        /// The last entry that is there.
        last: u64,
        /// The head's.
        head: u64,
    },
    /// An entry is not what it was when the next one, or the head, was made.
    #[error("entry {seq} was altered: it is not what the entry after it, or the signed head, names")]
    Altered {
        /// Its number.
        seq: u64,
    },
    /// The first entry names one before it.
    #[error("the first entry names one before it: the log does not begin here")]
    NoBeginning,
    /// The box linked an entry wrongly to the same guest's entry before.
    #[error("entry {seq} does not continue the chain of its guest")]
    GuestLink {
        /// Its number in the box's log.
        seq: u64,
    },
}

/// Which chain is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// All entries of the box.
    Whole,
    /// The entries of one guest.
    Guest(GuestUuid),
}

/// An entry as a link of the chain that is verified.
struct Link {
    seq: u64,
    prev: Digest,
    hash: Digest,
    entry: Entry,
}

/// Verifies a log from its first entry to the head.
///
/// # Errors
/// [`ChainError`], the first that is found: form, numbers, end, then hashes from the head backwards.
pub fn verify(
    entries: &[impl AsRef<[u8]>],
    head: &Verified<Head>,
    chain: Chain,
) -> Result<Vec<Entry>, ChainError> {
    let tip = tip_of(head.get(), chain)?;
    let links = read(entries, chain)?;
    in_order(&links)?;
    let last = links.last().map_or(0, |link| link.seq);
    if last < tip.seq {
        return Err(ChainError::Truncated { last, head: tip.seq });
    }
    if last > tip.seq {
        return Err(ChainError::PastHead { last, head: tip.seq });
    }
    let mut named = tip.hash;
    for link in links.iter().rev() {
        if link.hash != named {
            return Err(ChainError::Altered { seq: link.seq });
        }
        named = link.prev;
    }
    if named != Tip::BEGINNING.hash {
        return Err(ChainError::NoBeginning);
    }
    if chain == Chain::Whole {
        guests_in_order(&links)?;
    }
    Ok(links.into_iter().map(|link| link.entry).collect())
}

fn tip_of(head: &Head, chain: Chain) -> Result<Tip, ChainError> {
    match chain {
        Chain::Whole => Ok(head.tip),
        Chain::Guest(uuid) => head
            .guest
            .filter(|guest| guest.uuid == uuid)
            .map(|guest| guest.tip)
            .ok_or(ChainError::OtherHead(uuid)),
    }
}

fn read(entries: &[impl AsRef<[u8]>], chain: Chain) -> Result<Vec<Link>, ChainError> {
    let mut links = Vec::with_capacity(entries.len());
    for (i, bytes) in entries.iter().map(AsRef::as_ref).enumerate() {
        let unreadable = |why: String| ChainError::Unreadable { nth: i + 1, why };
        let entry: Entry = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
        if entry.v != AUDIT_VERSION {
            return Err(unreadable(format!("its version is {}, not {AUDIT_VERSION}", entry.v)));
        }
        let (seq, prev) = match chain {
            Chain::Whole => (entry.seq, entry.prev),
            Chain::Guest(uuid) => match entry.guest.filter(|guest| guest.uuid == uuid) {
                Some(guest) => (guest.seq, guest.prev),
                None => return Err(ChainError::OtherGuest { seq: entry.seq }),
            },
        };
        links.push(Link { seq, prev, hash: Digest::of(bytes), entry });
    }
    Ok(links)
}

/// Numbers 1, 2, 3 and so on.
fn in_order(links: &[Link]) -> Result<(), ChainError> {
    let mut sorted: Vec<u64> = links.iter().map(|link| link.seq).collect();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ChainError::Fork { seq: pair[0] });
    }
    if let Some(pair) = links.windows(2).find(|pair| pair[1].seq < pair[0].seq) {
        return Err(ChainError::Reordered { seq: pair[1].seq });
    }
    let mut before = 0_u64;
    for seq in sorted {
        if seq != before.saturating_add(1) {
            return Err(ChainError::Gap { from: before.saturating_add(1), to: seq.saturating_sub(1) });
        }
        before = seq;
    }
    Ok(())
}

/// What each guest will be shown of it holds together, too.
fn guests_in_order(links: &[Link]) -> Result<(), ChainError> {
    let mut tips: BTreeMap<GuestUuid, Tip> = BTreeMap::new();
    for link in links {
        let Some(guest) = link.entry.guest else { continue };
        let before =
            tips.insert(guest.uuid, Tip { seq: guest.seq, hash: link.hash }).unwrap_or(Tip::BEGINNING);
        if guest.seq != before.seq.saturating_add(1) || guest.prev != before.hash {
            return Err(ChainError::GuestLink { seq: link.seq });
        }
    }
    Ok(())
}
