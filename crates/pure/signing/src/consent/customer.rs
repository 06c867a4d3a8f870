//! The customer's confirmation: the guest's controller shows the challenge, the customer types the name, the guest key signs.

use super::{Armored, ConsentError, Now, OpenChallenge, consent, find, still_good};
use crate::challenge::{Challenge, Consent, Consenter};
use crate::sshsig::{self, Namespace, SshPublicKey};
use crate::{Key, PublicKey, Verified};
use felhom_model::{Digest, GuestUuid};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a confirmation is good, milliseconds.
pub const CONFIRMATION_MS: u64 = 10 * 60 * 1000;
/// The version of the document.
const CONFIRMATION_VERSION: u32 = 1;

/// What the customer confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// 1.
    pub v: u32,
    /// SHA-256 of the challenge's bytes.
    pub challenge: Digest,
    /// The guest that confirms, and that the challenge concerns.
    pub object: GuestUuid,
    /// What the customer typed: the target's label.
    pub typed: String,
    /// The guest's wall clock, for people.
    pub at: Timestamp,
    /// `CLOCK_BOOTTIME`, milliseconds; a container has the host's.
    pub boottime_ms: u64,
    /// As the challenge has it: what a container reads from its own kernel files need not be the host's.
    pub boot_id: String,
}

/// A guest and its key, as the box itself read it at bootstrap.
#[derive(Debug, Clone, Copy)]
pub struct Customer<'a> {
    /// The guest.
    pub guest: GuestUuid,
    /// Its key.
    pub key: &'a PublicKey,
}

/// Writes the confirmation and signs it with the guest key.
///
/// # Errors
/// If it cannot be written or signed.
pub fn confirm(key: &Key, confirmation: &Confirmation) -> Result<Armored, ConsentError> {
    let malformed = |e: serde_json::Error| ConsentError::ConfirmationMalformed { why: e.to_string() };
    let bytes = serde_json::to_vec(confirmation).map_err(malformed)?;
    let signature = sshsig::sign(key, Namespace::Confirmation, &bytes)?;
    Ok(Armored { bytes, signature })
}

/// Accepts a customer's confirmation of an open challenge.
///
/// In this order: the challenge that it names is open → armor, namespace, key and signature → its object is the guest that
/// signed and a target of the challenge → the challenge asks this customer → what was typed is the target's label → box,
/// epoch and boot, at most ten minutes old → the challenge is not over. All ages by the box's clock since its boot.
///
/// # Errors
/// [`ConsentError`], the first check that failed.
pub fn accept_customer(
    open: &[OpenChallenge],
    signed: &Armored,
    customer: Customer<'_>,
    now: &Now,
) -> Result<Verified<Consent>, ConsentError> {
    let confirmation = read(&signed.bytes)?;
    let kept = find(open, confirmation.challenge)?;
    let (consent, challenge) = check(&kept.bytes, signed, &confirmation, customer)?;
    if confirmation.boot_id != now.boot_id {
        return Err(ConsentError::OtherBoot);
    }
    match now.boottime_ms.checked_sub(confirmation.boottime_ms) {
        Some(age) if age <= CONFIRMATION_MS => {}
        // One from the future was not made on this boot's clock.
        Some(_) | None => return Err(ConsentError::ConfirmationExpired),
    }
    still_good(kept, &challenge, now)?;
    Ok(Verified(consent))
}

/// Checks a confirmation again that was accepted and journaled: the same without openness, box, epoch, boot and ages.
///
/// # Errors
/// [`ConsentError`].
pub fn recheck_customer(
    bytes: &[u8],
    signed: &Armored,
    customer: Customer<'_>,
) -> Result<Verified<Consent>, ConsentError> {
    let confirmation = read(&signed.bytes)?;
    if confirmation.challenge != Digest::of(bytes) {
        return Err(ConsentError::OtherChallenge { found: confirmation.challenge });
    }
    check(bytes, signed, &confirmation, customer).map(|(consent, _)| Verified(consent))
}

/// Reads the form only; it says which challenge is meant, and nothing of it counts before the signature was checked.
fn read(bytes: &[u8]) -> Result<Confirmation, ConsentError> {
    let malformed = |why: String| ConsentError::ConfirmationMalformed { why };
    let confirmation: Confirmation = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    if confirmation.v != CONFIRMATION_VERSION {
        return Err(malformed(format!("it has the version {}", confirmation.v)));
    }
    Ok(confirmation)
}

fn check(
    challenge: &[u8],
    signed: &Armored,
    confirmation: &Confirmation,
    customer: Customer<'_>,
) -> Result<(Consent, Challenge), ConsentError> {
    let accepted = [SshPublicKey::from(customer.key)];
    sshsig::verify(&signed.signature, Namespace::Confirmation, signed.bytes.clone(), &accepted)?;
    let challenge = Challenge::read(challenge)?;
    let guest = confirmation.object;
    let mut labels = challenge.targets.iter().filter(|target| target.uuid == Some(guest)).peekable();
    if guest != customer.guest || labels.peek().is_none() {
        return Err(ConsentError::OtherObject { guest });
    }
    if !challenge.requires.iter().any(|signers| signers.customers.contains(&guest)) {
        return Err(ConsentError::NotAsked { guest });
    }
    let typed = confirmation.typed.trim();
    if typed.is_empty() || !labels.any(|target| target.label.trim() == typed) {
        return Err(ConsentError::TypedOther);
    }
    let by = Consenter::Customer { guest };
    Ok((consent(by, confirmation.challenge, challenge.clone()), challenge))
}
