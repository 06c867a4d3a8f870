//! Why an answer does not count, one variant a check.

use crate::SignatureError;
use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind};

/// Which check an answer failed first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// The confirmation is no document of its kind; it names no challenge then.
    #[error("this is no confirmation: {why}")]
    ConfirmationMalformed {
        /// What is wrong.
        why: String,
    },
    /// Never issued here, answered already, or forgotten.
    #[error("the challenge {digest} is not open on this box")]
    NotOpen {
        /// What was answered.
        digest: Digest,
    },
    /// The armor or what it holds.
    #[error("{0}")]
    Armor(SignatureError),
    /// Signed for another purpose.
    #[error("{0}")]
    Namespace(SignatureError),
    /// Not in the operators' file, or not the guest's key.
    #[error("the signature was made by {found}, which may not sign this")]
    UnknownKey {
        /// Fingerprint of the key.
        found: String,
    },
    /// In the operators' file, for rotations only.
    #[error(
        "the signature was made by a recovery key of {name}, which signs rotations of the operators' file only"
    )]
    RecoveryKey {
        /// Whose.
        name: String,
    },
    /// A type that cannot be checked, or is too weak.
    #[error("{0}")]
    KeyType(SignatureError),
    /// The bytes or the signature were altered.
    #[error("{0}")]
    Mismatch(SignatureError),
    /// A security key signed by itself.
    #[error("{0}")]
    NobodyThere(SignatureError),
    /// The bytes are no challenge.
    #[error("this is no challenge: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// The bytes are no veto.
    #[error("this is no veto: {why}")]
    VetoMalformed {
        /// What is wrong.
        why: String,
    },
    /// The confirmation belongs to another challenge than the bytes beside it.
    #[error("the confirmation is for the challenge {found}")]
    OtherChallenge {
        /// The one that it names.
        found: Digest,
    },
    /// It concerns another guest than the one that signed, or one that the challenge does not concern.
    #[error("the guest {guest} has no say in this: it is not the guest that signed, or no target here")]
    OtherObject {
        /// What it names.
        guest: GuestUuid,
    },
    /// The customer's signature is not asked for.
    #[error("the challenge does not ask the customer of {guest}")]
    NotAsked {
        /// The guest.
        guest: GuestUuid,
    },
    /// What was typed is not what the target is called.
    #[error("what was typed is not the name of what would be changed")]
    TypedOther,
    /// The veto is for another operation.
    #[error("the veto is for the operation {found}")]
    OtherOperation {
        /// The one that it names.
        found: OperationId,
    },
    /// The veto is against something else than the operation of this id would do.
    #[error("the veto is against {kind} of {what}, and this operation would do something else")]
    OtherAct {
        /// The kind that it names.
        kind: OperationKind,
        /// SHA-256 of what it names.
        what: Digest,
    },
    /// Issued by another box.
    #[error("it is for the box {found}, not for this one")]
    OtherBox {
        /// The box that it names.
        found: BoxId,
    },
    /// The box was enrolled anew since.
    #[error("it is of the enrolment {found}; the box was enrolled anew since")]
    OtherEpoch {
        /// The enrolment that it names.
        found: u64,
    },
    /// The box was restarted since.
    #[error("the box was restarted since this was issued; ask for a new challenge")]
    OtherBoot,
    /// The confirmation is older than ten minutes.
    #[error("the confirmation was made more than ten minutes ago; confirm again")]
    ConfirmationExpired,
    /// The challenge is too old.
    #[error("the challenge was good for {} minutes and is over; ask for a new one", lifetime_ms / 60_000)]
    Expired {
        /// How long it was good.
        lifetime_ms: u64,
    },
}

impl ConsentError {
    /// A stable word for programs, journal and audit log.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ConfirmationMalformed { .. } => "confirmation_malformed",
            Self::NotOpen { .. } => "challenge_not_open",
            Self::Armor(_) => "signature_malformed",
            Self::Namespace(_) => "other_namespace",
            Self::UnknownKey { .. } => "unknown_key",
            Self::RecoveryKey { .. } => "recovery_key",
            Self::KeyType(_) => "key_type",
            Self::Mismatch(_) => "signature_mismatch",
            Self::NobodyThere(_) => "nobody_there",
            Self::Malformed { .. } => "challenge_malformed",
            Self::VetoMalformed { .. } => "veto_malformed",
            Self::OtherChallenge { .. } => "other_challenge",
            Self::OtherObject { .. } => "other_object",
            Self::NotAsked { .. } => "customer_not_asked",
            Self::TypedOther => "typed_other",
            Self::OtherOperation { .. } => "other_operation",
            Self::OtherAct { .. } => "other_act",
            Self::OtherBox { .. } => "other_box",
            Self::OtherEpoch { .. } => "other_epoch",
            Self::OtherBoot => "other_boot",
            Self::ConfirmationExpired => "confirmation_expired",
            Self::Expired { .. } => "challenge_expired",
        }
    }
}

impl From<SignatureError> for ConsentError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Malformed { .. } => Self::Armor(error),
            SignatureError::Namespace { .. } => Self::Namespace(error),
            SignatureError::UnknownKey { found } => Self::UnknownKey { found },
            SignatureError::KeyType(_) => Self::KeyType(error),
            SignatureError::NobodyThere { .. } => Self::NobodyThere(error),
            SignatureError::Mismatch => Self::Mismatch(error),
        }
    }
}
