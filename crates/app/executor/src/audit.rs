//! The audit log: what this box was asked for, what people said to it, and what it destroyed.
//!
//! An act that cannot be had back is written down before it is done, and again after it; an answer before it is kept. What
//! fails to be written breaks the journal, so nothing follows it.
//!
//! **Architecture invariant:** no secret, no signature and no parameter of a request is written here.

use std::sync::{Mutex, PoisonError};

use felhom_journal::{JournalError, StoreError};
use felhom_model::{Digest, GuestUuid, OperationId};
use felhom_protocol::SignedBytes;
use felhom_protocol::audit::{AuditEntry, AuditPage};
use felhom_signing::audit::{AUDIT_VERSION, Head};
use serde_json::{Value, json};

use crate::services::Services;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The agent said which box this is.
    BoxEnrolled,
    /// Local root made the box forget which one it is.
    BoxForgotten,
    /// An operators' file came into force.
    OperatorsInstalled,
    /// The gate refused an operation.
    Refused,
    /// People are asked.
    ChallengeIssued,
    /// A consent counts.
    AnswerAccepted,
    /// An answer does not count.
    AnswerRefused,
    /// Consents no longer count; people are asked again.
    AskedAnew,
    /// Enough people consented.
    Authorized,
    /// Nobody, or too few, consented in time.
    Expired,
    /// Somebody said no.
    Vetoed,
    /// A veto does not count.
    VetoRefused,
    /// A guest is about to be destroyed.
    Destroying,
    /// It is gone.
    Destroyed,
    /// An archive is about to be deleted.
    DeletingArchive,
    /// It is gone.
    DeletedArchive,
    /// What a dead backup of ours left of itself, a snapshot and half-written files, is about to be removed.
    ClearingLeftovers,
    /// It is gone.
    ClearedLeftovers,
    /// Two guests are about to change places.
    ChangingPlaces,
    /// They did.
    ChangedPlaces,
    /// The database was older than what this box had done.
    DatabaseBehind,
}

impl Kind {
    /// The word in the entry.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BoxEnrolled => "box_enrolled",
            Self::BoxForgotten => "box_forgotten",
            Self::OperatorsInstalled => "operators_installed",
            Self::Refused => "refused",
            Self::ChallengeIssued => "challenge_issued",
            Self::AnswerAccepted => "answer_accepted",
            Self::AnswerRefused => "answer_refused",
            Self::AskedAnew => "asked_anew",
            Self::Authorized => "authorized",
            Self::Expired => "expired",
            Self::Vetoed => "vetoed",
            Self::VetoRefused => "veto_refused",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
            Self::DeletingArchive => "deleting_archive",
            Self::DeletedArchive => "deleted_archive",
            Self::ClearingLeftovers => "clearing_leftovers",
            Self::ClearedLeftovers => "cleared_leftovers",
            Self::ChangingPlaces => "changing_places",
            Self::ChangedPlaces => "changed_places",
            Self::DatabaseBehind => "database_behind",
        }
    }
}

/// What is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// About what.
    pub kind: Kind,
    /// The operation.
    pub operation: Option<OperationId>,
    /// The guest that it concerns; its customer reads it.
    pub guest: Option<GuestUuid>,
    /// Who did or asked for it.
    pub who: Option<String>,
    /// By kind.
    pub data: Value,
}

impl Record {
    /// With what it says.
    #[must_use]
    pub fn new(kind: Kind, data: Value) -> Self {
        Self { kind, operation: None, guest: None, who: None, data }
    }

    /// Of an operation, and the guest that it concerns.
    #[must_use]
    pub fn of(self, operation: OperationId, guest: Option<GuestUuid>) -> Self {
        Self { operation: Some(operation), guest, ..self }
    }

    /// By somebody.
    #[must_use]
    pub fn by(self, who: impl Into<String>) -> Self {
        Self { who: Some(who.into()), ..self }
    }
}

/// An hour of the box's running time.
const HOUR_S: u64 = 3600;
/// What whoever speaks on the socket can say as often as he likes is written down at most so often in an hour: entries stay for
/// ever.
const AN_HOUR: u32 = 120;

/// Counts entries of one sort in each hour.
#[derive(Debug)]
pub struct HourlyLimit {
    most: u32,
    hour: Mutex<Hour>,
}

impl Default for HourlyLimit {
    fn default() -> Self {
        Self::of(AN_HOUR)
    }
}

#[derive(Debug, Default)]
struct Hour {
    began_s: u64,
    written: u32,
    left_out: u64,
}

impl HourlyLimit {
    /// So many in an hour.
    pub(crate) fn of(most: u32) -> Self {
        Self { most, hour: Mutex::default() }
    }

    /// Whether one more may be written down: how many were left out before it.
    pub(crate) fn take(&self, ran_s: u64) -> Option<u64> {
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        if ran_s.saturating_sub(hour.began_s) >= HOUR_S {
            (hour.began_s, hour.written) = (ran_s, 0);
        }
        if hour.written >= self.most {
            hour.left_out += 1;
            return None;
        }
        hour.written += 1;
        Some(std::mem::take(&mut hour.left_out))
    }
}

impl Services {
    /// Writes an entry, and keeps the watermark.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written; nothing may follow then.
    pub fn audit(&self, record: &Record) -> Result<(), JournalError> {
        self.ledger.audit(self.now(), record)
    }

    /// Writes down an answer or a veto that does not count.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn audit_refusal(&self, mut record: Record, code: &str) -> Result<(), JournalError> {
        let Some(left_out) = self.refusals.take(self.running.ran_s()) else { return Ok(()) };
        record.data["code"] = code.into();
        if left_out > 0 {
            record.data["left_out_before"] = left_out.into();
        }
        self.audit(&record)
    }

    /// Writes down an answer to a challenge that does not count.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn audit_refused_answer(&self, digest: Digest, code: &str) -> Result<(), JournalError> {
        let record = Record::new(Kind::AnswerRefused, json!({ "challenge": digest }));
        let record = match self.ledger.challenge(digest)? {
            Some(row) => record.of(row.operation, row.guest),
            None => record,
        };
        self.audit_refusal(record, code)
    }

    /// Where the log ends, signed.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn audit_head(&self) -> Result<SignedBytes, StoreError> {
        self.signed(&Head { v: AUDIT_VERSION, tip: self.ledger.audit_tip()?, guest: None })
    }

    /// Entries behind number `after`; with a guest, only that guest's own ones.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn audit_page(&self, after: u64, guest: Option<GuestUuid>) -> Result<AuditPage, StoreError> {
        let read = self.ledger.audit_after(after, guest)?;
        let entry = |(seq, bytes): (u64, Vec<u8>)| AuditEntry { seq, hash: Digest::of(&bytes), bytes };
        Ok(AuditPage {
            entries: read.entries.into_iter().map(entry).collect(),
            head: self.signed(&read.head)?,
            attestation_key: self.key.public(),
            more: read.more,
        })
    }

    fn signed(&self, head: &Head) -> Result<SignedBytes, StoreError> {
        let signed = head.sign(&self.key).map_err(|e| StoreError {
            what: "signing the audit log's head".to_owned(),
            why: e.to_string(),
        })?;
        Ok(signed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_written() {
        let limit = HourlyLimit::default();
        for _ in 0..AN_HOUR {
            assert_eq!(limit.take(10), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(limit.take(HOUR_S - 1), None);
        }
        assert_eq!(limit.take(HOUR_S), Some(7), "the next hour says how many there were");
        assert_eq!(limit.take(HOUR_S), Some(0));
    }
}
