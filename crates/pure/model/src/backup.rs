//! Backups: archives, how they were made, and how far their restore was proven.

use crate::id::{Digest, GuestUuid, OperationId, StorageId, Volid};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How far a restore test went. Each level contains the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Level {
    /// Restores completely: the archive's recorded digest is equal and it unpacks without an error.
    L1,
    /// Boots, and the controller's probe answers as the right guest.
    L2,
    /// Apps are up and the integrity checks of their databases pass.
    L3,
    /// Sampled content equals the digests that were recorded when the data was frozen.
    L4,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::L1, Self::L2, Self::L3, Self::L4]
            .into_iter()
            .find(|level| level.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is no level of a restore test; they are L1, L2, L3, L4"))
    }
}

/// In which state the apps' data stands in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// The controller froze the apps until the snapshot was taken.
    Quiesced,
    /// Nobody froze, or the freeze ran out before the snapshot: like a power cut at that instant.
    CrashConsistent,
}

/// An archive that the ledger knows, as far as planner and gate need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub volid: Volid,
    /// Whose it is.
    pub guest: GuestUuid,
    /// The operation that made it.
    pub operation: OperationId,
    /// The target's storage.
    pub target: StorageId,
    /// When its data was frozen.
    pub taken_at: Timestamp,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the archive file, recorded when it was made.
    pub digest: Digest,
    /// How consistent.
    pub consistency: Consistency,
    /// The highest level that a signed receipt proves, with its date.
    pub proven: Option<(Level, Timestamp)>,
}

/// *Proven* means a signed receipt of this level or more.
pub const PROVEN: Level = Level::L3;

impl Archive {
    /// Whether a signed receipt proves that it restores.
    pub fn is_proven(&self) -> bool {
        self.proven.is_some_and(|(level, _)| level >= PROVEN)
    }
}
