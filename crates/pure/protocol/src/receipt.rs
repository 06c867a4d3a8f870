//! Receipts: what a restore test proved, as bytes with an SSHSIG (namespace `felhom-receipt-v1`) of the box.

use felhom_model::backup::Level;
use felhom_model::{BoxId, Digest, GuestUuid, OperationId, Volid};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The schema's name.
pub const SCHEMA: &str = "felhom.receipt/v1";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The box that tested; `None` if it was not enrolled.
    pub box_id: Option<BoxId>,
    /// The restore test.
    pub operation: OperationId,
    /// Whose backup.
    pub guest: GuestUuid,
    /// The archive.
    pub archive: Volid,
    /// The archive file's digest as it was recorded when the backup was made.
    pub archive_digest: Digest,
    /// When the data was frozen.
    pub taken_at: Timestamp,
    /// The level that was asked for.
    pub asked_level: Level,
    /// The highest level that passed completely; `None` if not even L1 did.
    pub level: Option<Level>,
    /// Every check in order.
    pub checks: Vec<Check>,
    /// `passed` or `failed`.
    pub verdict: Verdict,
    /// What the test says nothing about, e.g. `bulk: not tested`.
    #[serde(default)]
    pub not_tested: Vec<String>,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The level it belongs to.
    pub level: Level,
    /// E.g. `archive digest`, `sample: database notes.db`.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was expected and seen.
    pub detail: String,
}

/// Whether the archive restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Verdict {
    Passed,
    Failed,
}

/// A receipt as it travels and is kept: the signed bytes as text, and the armored signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedReceipt {
    /// The receipt's JSON, exactly the bytes that were signed.
    pub document: String,
    /// Armored SSHSIG.
    pub signature: String,
}
