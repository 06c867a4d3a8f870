//! What the executor tells a customer past hub and agent, and what the customer answers the same way.
//!
//! ```text
//!   executor ──pct push──▶ [`NOTICES_FILE`]: Signed [`Notices`] (context `Notices`) ──▶ every page of the controller
//!   executor ◀──pct exec── `felhom-controller answers`: Signed [`Answers`] (context `Answers`) ◀── acknowledged, vetoed
//! ```
//! The file holds all that this guest was not told or has not acknowledged yet, and is replaced as a whole.

use felhom_model::{BoxId, GuestUuid, OperationId, OperationKind};
use felhom_signing::consent::Armored;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the executor puts the signed [`Notices`]; fresh at each start of the guest, never archived.
pub const NOTICES_FILE: &str = "/run/felhom/notices.json";
/// The version of both documents.
pub const NOTICES_VERSION: u32 = 1;

/// Everything that a guest's customer is to be told now. Signed with the box's attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notices {
    /// [`NOTICES_VERSION`].
    pub v: u32,
    /// The guest that is told.
    pub guest: GuestUuid,
    /// The box; a veto names it.
    pub box_id: BoxId,
    /// At most one for each operation, oldest first.
    pub notices: Vec<Notice>,
}

/// How far an operation is that people must or may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeStage {
    /// It waits for signatures.
    Consent,
    /// It is authorized, and its grace runs: it can still be vetoed.
    Grace,
    /// It is about to begin, or has begun.
    Begins,
    /// Somebody vetoed it.
    Vetoed,
    /// It will not happen: nobody signed in time, or the box refused it.
    Dropped,
}

impl NoticeStage {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Grace => "grace",
            Self::Begins => "begins",
            Self::Vetoed => "vetoed",
            Self::Dropped => "dropped",
        }
    }

    /// Whether a veto still has an effect.
    pub fn can_be_vetoed(self) -> bool {
        match self {
            Self::Consent | Self::Grace => true,
            Self::Begins | Self::Vetoed | Self::Dropped => false,
        }
    }
}

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// The operation.
    pub operation: OperationId,
    /// Its kind.
    pub kind: OperationKind,
    /// How far it is.
    pub stage: NoticeStage,
    /// The guest that it concerns: the one that is told, or a tombstone or copy of it.
    pub about: GuestUuid,
    /// What people call that one.
    pub label: String,
    /// Who asked for it.
    pub asked_by: String,
    /// Why.
    pub reason: String,
    /// Seconds of grace that the running box still counts when this is written.
    pub grace_s: u64,
    /// The box's wall clock when it came to this, for people.
    pub at: Timestamp,
}

impl Notice {
    /// That this one was seen.
    pub fn acknowledged(&self) -> Acknowledged {
        Acknowledged { operation: self.operation, stage: self.stage, at: self.at }
    }
}

/// What a guest answers. Signed with the guest key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// [`NOTICES_VERSION`].
    pub v: u32,
    /// The guest that answers.
    pub guest: GuestUuid,
    /// Notices that the customer has seen and said so.
    pub acknowledged: Vec<Acknowledged>,
    /// Vetoes, each signed by itself; they go the way through the agent as well.
    pub vetoes: Vec<Armored>,
}

/// A notice that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Its operation.
    pub operation: OperationId,
    /// Its stage.
    pub stage: NoticeStage,
    /// Its time: an operation can come to the same stage twice.
    pub at: Timestamp,
}
