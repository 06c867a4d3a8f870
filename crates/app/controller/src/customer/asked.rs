//! Challenges as the agent carried them, and which of them are what they say: genuine, of this box, about this guest.

use felhom_model::{Digest, GuestUuid};
use felhom_protocol::{local_api::Bootstrap, status};
use felhom_signing::challenge::Challenge;

/// More than a box has open; a longer list is not the box's.
const AT_MOST: usize = 32;

/// A challenge that the box signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// What stands in them.
    pub challenge: Challenge,
}

/// What is shown of something that the agent calls a challenge.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// What the box signed.
    Genuine(Box<Asked>),
    /// Nothing but an alarm: somebody between box and guest made or changed it.
    Alarm {
        /// What is wrong.
        why: String,
    },
}

/// Checks each with the key that the executor pushed.
pub fn open(carried: Vec<status::Challenge>, bootstrap: &Bootstrap) -> Vec<Shown> {
    carried.into_iter().take(AT_MOST).map(|one| check(one, bootstrap)).collect()
}

fn check(carried: status::Challenge, bootstrap: &Bootstrap) -> Shown {
    let digest = Digest::of(&carried.signed.bytes);
    let challenge = match Challenge::open(carried.signed.into(), &bootstrap.attestation_key) {
        Ok(challenge) => challenge.into_inner(),
        Err(e) => return Shown::Alarm { why: e.to_string() },
    };
    if bootstrap.box_id.is_some_and(|own| own != challenge.box_id) {
        return Shown::Alarm { why: format!("it is for the box {}", challenge.box_id) };
    }
    let guest = bootstrap.guest;
    if !is_target(&challenge, guest) && !is_asked(&challenge, guest) {
        return Shown::Alarm { why: "it is about another guest".to_owned() };
    }
    Shown::Genuine(Box::new(Asked { digest, challenge }))
}

fn is_target(challenge: &Challenge, guest: GuestUuid) -> bool {
    challenge.targets.iter().any(|target| target.uuid == Some(guest))
}

fn is_asked(challenge: &Challenge, guest: GuestUuid) -> bool {
    challenge.requires.iter().any(|signers| signers.customers.contains(&guest))
}

/// Whether a confirmation of this guest's customer counts.
pub fn may_confirm(challenge: &Challenge, guest: GuestUuid) -> bool {
    is_asked(challenge, guest) && is_target(challenge, guest)
}

/// What the customer types: what this guest is called there.
pub fn label(challenge: &Challenge, guest: GuestUuid) -> Option<&str> {
    let own = challenge.targets.iter().find(|target| target.uuid == Some(guest));
    own.map(|target| target.label.as_str())
}
