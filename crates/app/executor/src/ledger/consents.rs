//! Challenges that this box issued, the consents to them, and the operators' file.

use felhom_journal::{JournalError, StoreError};
use felhom_model::{Digest, GuestUuid, OperationId};
use felhom_protocol::SignedBytes;
use felhom_signing::challenge::Consenter;
use felhom_signing::consent::Armored;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{Ledger, json, parsed, to_json};

/// A challenge as it was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeRow {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The operation that waits.
    pub operation: OperationId,
    /// The guest that it concerns, if it is one.
    pub guest: Option<GuestUuid>,
    /// Bytes with the box's signature.
    pub signed: SignedBytes,
    /// When, by the box's clock since its boot.
    pub issued_boottime_ms: u64,
    /// How long it lives.
    pub lifetime_ms: u64,
    /// The boot that it was issued in.
    pub boot: String,
    /// Whether it can still be answered.
    pub open: bool,
}

/// An accepted consent, as it came in; it is checked again whenever it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentDocument {
    /// Armored signature over the challenge's bytes.
    Operator(String),
    /// Signed confirmation.
    Customer(Armored),
}

/// An accepted consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRow {
    /// The challenge.
    pub challenge: Digest,
    /// The operation.
    pub operation: OperationId,
    /// Who, as it was then.
    pub by: Consenter,
    /// Document and signature.
    pub document: ConsentDocument,
    /// When, by this box's running time.
    pub ran_s: u64,
}

const CHALLENGE: &str = "digest, operation, guest, signed, issued_boottime_ms, lifetime_ms, boot, open";

fn challenge(r: &Row<'_>) -> rusqlite::Result<ChallengeRow> {
    let guest = r.get::<_, Option<String>>(2)?.map(|_| parsed(r, 2)).transpose()?;
    Ok(ChallengeRow {
        digest: parsed(r, 0)?,
        operation: parsed(r, 1)?,
        guest,
        signed: json(r, 3)?,
        issued_boottime_ms: u64::try_from(r.get::<_, i64>(4)?).unwrap_or_default(),
        lifetime_ms: u64::try_from(r.get::<_, i64>(5)?).unwrap_or_default(),
        boot: r.get(6)?,
        open: r.get(7)?,
    })
}

fn consent(r: &Row<'_>) -> rusqlite::Result<ConsentRow> {
    Ok(ConsentRow {
        challenge: parsed(r, 0)?,
        operation: parsed(r, 1)?,
        by: json(r, 2)?,
        document: json(r, 3)?,
        ran_s: u64::try_from(r.get::<_, i64>(4)?).unwrap_or_default(),
    })
}

/// A consenter in words; distinct people have distinct ones.
#[must_use]
pub fn who(by: &Consenter) -> String {
    match by {
        Consenter::Operator { name, .. } => format!("operator {name}"),
        Consenter::Customer { guest } => format!("customer {guest}"),
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Ledger {
    /// Keeps a challenge before it is shown to anybody, and closes earlier ones of the same operation.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn record_challenge(&self, row: &ChallengeRow) -> Result<(), JournalError> {
        self.write("keeping a challenge", |tx| {
            let operation = row.operation.to_string();
            tx.execute("UPDATE challenge SET open = 0 WHERE operation = ?1", [&operation])?;
            tx.execute(
                "INSERT INTO challenge (digest, operation, guest, signed, issued_boottime_ms, lifetime_ms, boot, open)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
                params![
                    row.digest.to_string(),
                    operation,
                    row.guest.map(|g| g.to_string()),
                    to_json(&row.signed)?,
                    number(row.issued_boottime_ms),
                    number(row.lifetime_ms),
                    row.boot,
                    row.open,
                ],
            )
            .map(drop)
        })
    }

    /// The number that the next challenge gets; it only ever rises.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be kept.
    pub fn next_challenge_seq(&self) -> Result<u64, JournalError> {
        let seq = self.setting::<u64>("challenge_seq")?.unwrap_or(0) + 1;
        self.set_setting("challenge_seq", &seq)?;
        Ok(seq)
    }

    /// Nobody can answer the challenges of an operation any more.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn close_challenges(&self, operation: OperationId) -> Result<(), JournalError> {
        self.write("closing challenges", |tx| {
            let sql = "UPDATE challenge SET open = 0 WHERE operation = ?1 AND open = 1";
            tx.execute(sql, [operation.to_string()]).map(drop)
        })
    }

    /// Nobody can answer any challenge of before any more.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn close_all_challenges(&self) -> Result<(), JournalError> {
        self.write("closing all challenges", |tx| {
            tx.execute("UPDATE challenge SET open = 0 WHERE open = 1", []).map(drop)
        })
    }

    /// Challenges that can be answered, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn open_challenges(&self) -> Result<Vec<ChallengeRow>, StoreError> {
        self.read("reading open challenges", |tx| {
            let sql = format!("SELECT {CHALLENGE} FROM challenge WHERE open = 1 ORDER BY operation");
            tx.prepare(&sql)?.query_map([], challenge)?.collect()
        })
    }

    /// One challenge, open or not.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn challenge(&self, digest: Digest) -> Result<Option<ChallengeRow>, StoreError> {
        self.read("reading a challenge", |tx| {
            let sql = format!("SELECT {CHALLENGE} FROM challenge WHERE digest = ?1");
            tx.query_row(&sql, [digest.to_string()], challenge).optional()
        })
    }

    /// How many challenges were issued for an operation.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn challenges_of(&self, operation: OperationId) -> Result<usize, StoreError> {
        self.read("counting challenges", |tx| {
            let sql = "SELECT count(*) FROM challenge WHERE operation = ?1";
            let count: i64 = tx.query_row(sql, [operation.to_string()], |r| r.get(0))?;
            Ok(usize::try_from(count).unwrap_or(usize::MAX))
        })
    }

    /// Keeps an accepted consent; the same person's second one to a challenge changes nothing.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn record_consent(&self, row: &ConsentRow) -> Result<(), JournalError> {
        self.write("keeping a consent", |tx| {
            let who = who(&row.by);
            tx.execute(
                "INSERT OR IGNORE INTO consent (challenge, operation, who, given_by, document, ran_s)
                 VALUES (?1,?2,?3,?4,?5,?6)",
                params![
                    row.challenge.to_string(),
                    row.operation.to_string(),
                    who,
                    to_json(&row.by)?,
                    to_json(&row.document)?,
                    number(row.ran_s),
                ],
            )
            .map(drop)
        })
    }

    /// The consents to the challenges of an operation that still count.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn consents(&self, operation: OperationId) -> Result<Vec<ConsentRow>, StoreError> {
        self.read("reading consents", |tx| {
            let sql = "SELECT challenge, operation, given_by, document, ran_s FROM consent
                       WHERE operation = ?1 AND counts = 1 ORDER BY rowid";
            tx.prepare(sql)?.query_map([operation.to_string()], consent)?.collect()
        })
    }

    /// Consents of an operation that no longer count, for what they were given to has changed. The rows stay.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn forget_consents(&self, operation: OperationId) -> Result<(), JournalError> {
        self.write("setting consents aside", |tx| {
            let sql = "UPDATE consent SET counts = 0 WHERE operation = ?1";
            tx.execute(sql, [operation.to_string()]).map(drop)
        })
    }

    /// Consents that were given after this second of the box's running time.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn consents_since(&self, ran_s: u64) -> Result<Vec<ConsentRow>, StoreError> {
        self.read("reading consents", |tx| {
            let sql = "SELECT challenge, operation, given_by, document, ran_s FROM consent WHERE ran_s >= ?1
                       ORDER BY rowid";
            tx.prepare(sql)?.query_map([number(ran_s)], consent)?.collect()
        })
    }

    /// The operators' file in force: the highest version.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn operators(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("reading the operators' file", |tx| {
            let sql = "SELECT document FROM operators ORDER BY version DESC LIMIT 1";
            tx.query_row(sql, [], |r| r.get(0)).optional()
        })
    }

    /// Puts a version of the operators' file into force. A version that is not above all others changes nothing.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn set_operators(&self, version: u64, document: &[u8]) -> Result<(), JournalError> {
        self.write("keeping the operators' file", |tx| {
            tx.execute(
                "INSERT INTO operators (version, document)
                 SELECT ?1, ?2 WHERE ?1 > (SELECT coalesce(max(version), 0) FROM operators)",
                params![number(version), document],
            )
            .map(drop)
        })
    }
}
