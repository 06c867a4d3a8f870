//! Consents: from a challenge that the box issued to a [`Verified<Consent>`] that the gate counts.
//!
//! ```text
//!   Challenge ──issue──▶ Signed ──open──▶ Verified<Challenge>      CLI and controller: read, show, sign
//!                          │
//!   OpenChallenge ◀────────┘ kept by the box
//!        │ accept_operator, accept_customer                       what came in, in one fixed order
//!        ▼
//!   Verified<Consent> ──journaled──▶ recheck_operator, recheck_customer     before each point of no return
//! ```
//! Time is the box's clock since its boot and nothing else: wall-clock times in these documents are for people.
//!
//! **Architecture invariant:** nothing here counts signers, compares targets with what is there now, or remembers nonces. The
//! threshold of *distinct* operators and the comparison are the gate's; that a challenge is used once is the journal's.

mod customer;
mod error;
mod issue;
mod veto;
mod waiting;

pub use customer::{CONFIRMATION_MS, Confirmation, Customer, accept_customer, confirm, recheck_customer};
pub use error::ConsentError;
pub use veto::{Veto, VetoOn, Vetoed, veto_by_customer, veto_by_operator};
pub use waiting::{Act, WAITING_VERSION, Waiting, WaitingError};

use crate::challenge::{Challenge, Consent, Consenter};
use crate::operators::{OperatorsFile, Role};
use crate::sshsig::{self, Namespace};
use crate::{SignatureError, Verified, base64_bytes};
use felhom_model::{BoxId, Digest};
use serde::{Deserialize, Serialize};

/// How long a challenge lives, milliseconds.
pub const LIFETIME_MS: u64 = 60 * 60 * 1000;
/// How long one lives that is signed on a machine without network; the longest that there is.
pub const EXPORTED_LIFETIME_MS: u64 = 24 * LIFETIME_MS;

/// A challenge that the box has issued and keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenChallenge {
    bytes: Vec<u8>,
    digest: Digest,
    issued_boottime_ms: u64,
    lifetime_ms: u64,
}

impl OpenChallenge {
    /// Keeps the bytes that were issued at this time of the box's clock since its boot; no lifetime is longer than
    /// [`EXPORTED_LIFETIME_MS`].
    pub fn new(bytes: Vec<u8>, issued_boottime_ms: u64, lifetime_ms: u64) -> Self {
        let digest = Digest::of(&bytes);
        Self { bytes, digest, issued_boottime_ms, lifetime_ms: lifetime_ms.min(EXPORTED_LIFETIME_MS) }
    }

    /// Exactly the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their SHA-256, which is the challenge's name everywhere.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// The box as it is at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_BOOTTIME`, milliseconds.
    pub boottime_ms: u64,
    /// Of the kernel.
    pub boot_id: String,
    /// Who it is.
    pub box_id: BoxId,
    /// How often it was enrolled.
    pub enrolment_epoch: u64,
}

/// A document with an armored signature over exactly its bytes, as confirmations and vetoes travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Armored {
    /// The document, base64.
    #[serde(with = "base64_bytes")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, content_encoding = "base64", pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"))]
    pub bytes: Vec<u8>,
    /// SSHSIG.
    pub signature: String,
}

/// Accepts an operator's answer to an open challenge.
///
/// In this order: the digest is one of the open ones → armor → namespace → the key, by its material, is an operator's → its
/// type → the signature over the raw bytes → for a security key presence and verification → parse → box, epoch, boot, expiry.
///
/// Three things are not looked at here: whether the target is still as it was observed (the gate's facts), whether enough
/// distinct operators consented (the gate), and whether the challenge was used before (the journal, in the transaction that
/// writes the operation's first row).
///
/// # Errors
/// [`ConsentError`], the first check that failed. A refused answer changes nothing: the challenge stays open.
pub fn accept_operator(
    open: &[OpenChallenge],
    digest: Digest,
    armored: &str,
    operators: &OperatorsFile,
    now: &Now,
) -> Result<Verified<Consent>, ConsentError> {
    let kept = find(open, digest)?;
    let by = operator_signed(&kept.bytes, armored, operators)?;
    let challenge = Challenge::read(&kept.bytes)?;
    still_good(kept, &challenge, now)?;
    Ok(Verified(consent(by, digest, challenge)))
}

/// Checks an answer again that was accepted and journaled: for the gate, before a point of no return.
///
/// The same checks without openness, box, epoch, boot and expiry. The key must be an operator's in the file that is in force
/// now, so a key that was taken out meanwhile consents no more.
///
/// # Errors
/// [`ConsentError`].
pub fn recheck_operator(
    bytes: &[u8],
    armored: &str,
    operators: &OperatorsFile,
) -> Result<Verified<Consent>, ConsentError> {
    let by = operator_signed(bytes, armored, operators)?;
    Ok(Verified(consent(by, Digest::of(bytes), Challenge::read(bytes)?)))
}

fn find(open: &[OpenChallenge], digest: Digest) -> Result<&OpenChallenge, ConsentError> {
    open.iter().find(|kept| kept.digest == digest).ok_or(ConsentError::NotOpen { digest })
}

fn consent(by: Consenter, digest: Digest, challenge: Challenge) -> Consent {
    let (operation, kind) = (challenge.operation.id, challenge.operation.kind);
    Consent { by, challenge: digest, operation, kind, targets: challenge.targets }
}

/// Who signed these bytes for a box, if that is an operator of the file.
fn operator_signed(
    bytes: &[u8],
    armored: &str,
    operators: &OperatorsFile,
) -> Result<Consenter, ConsentError> {
    signed_by(bytes, armored, operators, |role| role == Role::Operator)
}

/// Who signed these bytes for a box, with a key of a role that counts for it.
fn signed_by(
    bytes: &[u8],
    armored: &str,
    operators: &OperatorsFile,
    counts: fn(Role) -> bool,
) -> Result<Consenter, ConsentError> {
    let keys = operators.keys().iter();
    let accepted: Vec<_> = keys.filter(|key| counts(key.role())).map(|key| key.key().clone()).collect();
    let unknown = |found: String| ConsentError::UnknownKey { found };
    match sshsig::verify(armored, Namespace::Operation, bytes.to_vec(), &accepted) {
        Ok((_, by)) => {
            let entry = operators.find(&sshsig::claimed_key(armored)?);
            let entry = entry.ok_or_else(|| unknown(by.fingerprint.clone()))?;
            Ok(Consenter::Operator { name: entry.name().to_owned(), key: by.fingerprint })
        }
        Err(SignatureError::UnknownKey { found }) => {
            Err(operators.find(&sshsig::claimed_key(armored)?).map_or_else(
                || unknown(found),
                |entry| ConsentError::RecoveryKey { name: entry.name().to_owned() },
            ))
        }
        Err(other) => Err(other.into()),
    }
}

/// Box, epoch, boot and expiry, in this order.
fn still_good(kept: &OpenChallenge, challenge: &Challenge, now: &Now) -> Result<(), ConsentError> {
    if challenge.box_id != now.box_id {
        return Err(ConsentError::OtherBox { found: challenge.box_id });
    }
    if challenge.enrolment_epoch != now.enrolment_epoch {
        return Err(ConsentError::OtherEpoch { found: challenge.enrolment_epoch });
    }
    if challenge.boot_id != now.boot_id {
        return Err(ConsentError::OtherBoot);
    }
    match now.boottime_ms.checked_sub(kept.issued_boottime_ms) {
        Some(age) if age <= kept.lifetime_ms => Ok(()),
        // The clock cannot run backwards within a boot: what says so is not believed.
        Some(_) | None => Err(ConsentError::Expired { lifetime_ms: kept.lifetime_ms }),
    }
}
