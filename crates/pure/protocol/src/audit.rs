//! The box's audit log on its way: pages from the executor, and the file that `felhom-executor audit export` writes.
//!
//! The file has an entry on each line, exactly the bytes that were hashed, and an [`AuditEnd`] on its last one.

use crate::SignedBytes;
use felhom_model::Digest;
use felhom_signing::PublicKey;
use serde::{Deserialize, Serialize};

/// A part of the log, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Entries behind the one that was asked for.
    pub entries: Vec<AuditEntry>,
    /// The signed [`Head`](felhom_signing::audit::Head) at the time of this page; for a guest with its own part.
    pub head: SignedBytes,
    /// The key that is said to have signed it. Who verifies compares it with the key that he pinned.
    pub attestation_key: PublicKey,
    /// Whether more entries follow; ask again with the last one's number.
    pub more: bool,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number in the box's log, also where a guest asks: the cursor.
    pub seq: u64,
    /// SHA-256 of its bytes.
    pub hash: Digest,
    /// The [`Entry`](felhom_signing::audit::Entry)'s bytes.
    #[serde(with = "crate::base64_bytes")]
    pub bytes: Vec<u8>,
}

/// The last line of an exported log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEnd {
    /// The signed head.
    pub head: SignedBytes,
    /// The key that is said to have signed it. Who verifies compares it with the key that he pinned.
    pub attestation_key: PublicKey,
}
