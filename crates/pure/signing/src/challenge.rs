//! A challenge: what the box says would happen, for people to read and to sign exactly as it is.
//!
//! The box makes the document, keeps its bytes, and signs them with its attestation key ([`Context::Challenge`]). The
//! bytes travel as they are; an operator's signature (SSHSIG, [`Namespace::Operation`](crate::sshsig::Namespace)) is
//! over the same bytes.
//!
//! [`Context::Challenge`]: crate::Context

use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind, Vmid, Volid};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of this document.
pub const CHALLENGE_VERSION: u32 = 1;

/// What is to be signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// [`CHALLENGE_VERSION`].
    pub v: u32,
    /// The box that issued it.
    pub box_id: BoxId,
    /// Rises with each enrolment, and when the box finds its database older than it was.
    pub enrolment_epoch: u64,
    /// 256 random bits in hexadecimal digits: the nonce.
    pub challenge_id: Digest,
    /// Counts the challenges of this box.
    pub seq: u64,
    /// The box's wall clock, for people.
    pub issued_at: Timestamp,
    /// The same; what counts is the box's clock since its boot.
    pub expires_at: Timestamp,
    /// The boot that it was issued in; void after another one.
    pub boot_id: String,
    /// What is to be done.
    pub operation: Asked,
    /// On what, as the box observed it when it issued this.
    pub targets: Vec<Target>,
    /// What a person should know before signing.
    pub evidence: Stakes,
    /// Who must sign: any one of these suffices.
    pub requires: Vec<Signers>,
    /// The version of the operators' file that was in force.
    pub operators_version: u64,
}

/// The operation that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Its id in the box's journal.
    pub id: OperationId,
    /// Its kind.
    pub kind: OperationKind,
    /// Its parameters as they were asked for.
    pub params: serde_json::Value,
    /// Who asked.
    pub asked_by: String,
    /// Why.
    pub reason: String,
    /// Seconds that must pass on the running box between the signatures and the first act.
    pub grace_s: u64,
}

/// Something that the operation concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// A guest's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<GuestUuid>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmid: Option<Vmid>,
    /// Volumes that it references, or archives, sorted.
    pub volids: Vec<Volid>,
    /// A disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_id: Option<String>,
    /// Bytes that lie there.
    pub bytes: u64,
    /// What people call it; whoever confirms types it.
    pub label: String,
    /// SHA-256 over what of its configuration the operation does not change itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<Digest>,
}

/// What is at stake.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stakes {
    /// Backups that stay.
    pub copies: Vec<Copy>,
    /// When a restore was last proven, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_proven_restore: Option<Timestamp>,
    /// What would be lost, one line each; empty where everything can be taken back.
    pub would_be_lost: Vec<String>,
    /// The gate's evidence: key and value.
    pub facts: Vec<(String, String)>,
}

/// A backup that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// The archive.
    pub volid: Volid,
    /// When its data was frozen.
    pub taken_at: Timestamp,
    /// Its size.
    pub bytes: u64,
    /// Whether a signed receipt proves that it restores.
    pub proven: bool,
}

/// Whose signatures suffice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signers {
    /// So many distinct operators.
    pub operators: u8,
    /// And the customers of all these guests.
    pub customers: Vec<GuestUuid>,
}

/// A consent whose signature was checked; the gate takes it as `Verified<Consent>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Who.
    pub by: Consenter,
    /// SHA-256 of the challenge's bytes.
    pub challenge: Digest,
    /// The operation that the challenge was issued for.
    pub operation: OperationId,
    /// Its kind.
    pub kind: OperationKind,
    /// What the signed bytes say it concerns.
    pub targets: Vec<Target>,
}

/// Who consented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consenter {
    /// An operator, by the name in the operators' file, with the fingerprint of the key.
    Operator {
        /// Distinct operators are told apart by this name.
        name: String,
        /// As `ssh-keygen -l` prints it.
        key: String,
    },
    /// The customer of this guest.
    Customer {
        /// The guest.
        guest: GuestUuid,
    },
}
