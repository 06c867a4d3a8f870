//! What a box says of an operation in its grace: signed, so that who vetoes it without a challenge knows whose word it is.
//!
//! It has no time in it: an operation that waits on has one such word.

use super::ConsentError;
use crate::{Context, Key, PublicKey, SignatureError, Signed, Verified};
use felhom_model::{BoxId, Digest, OperationId, OperationKind};
use serde::{Deserialize, Serialize};

/// The version of the document.
pub const WAITING_VERSION: u32 = 1;

/// What an operation would do, and for which enrolment of its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// How often the box was enrolled.
    pub enrolment_epoch: u64,
    /// The operation's kind.
    pub kind: OperationKind,
    /// SHA-256 of what it would do: of a rotation the new operators' file, of others their parameters.
    pub what: Digest,
}

/// An operation that people can still veto.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// [`WAITING_VERSION`].
    pub v: u32,
    /// The box.
    pub box_id: BoxId,
    /// The operation.
    pub waiting: OperationId,
    /// What it would do.
    pub act: Act,
    /// Who asked for it.
    pub asked_by: String,
    /// Why.
    pub reason: String,
    /// What the box's gate saw.
    pub facts: Vec<(String, String)>,
    /// Its whole grace, seconds of the running box.
    pub grace_s: u64,
}

/// Why such a word does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitingError {
    /// Not signed by the box.
    #[error("what the box says of an operation that waits: {0}")]
    Signature(#[from] SignatureError),
    /// Signed, and of another shape.
    #[error("what the box says of an operation that waits cannot be read: {0}")]
    Malformed(String),
}

impl Waiting {
    /// Signs it.
    ///
    /// # Errors
    /// [`ConsentError::Malformed`] if it cannot be JSON.
    pub fn sign(&self, key: &Key) -> Result<Signed, ConsentError> {
        let bytes = serde_json::to_vec(self).map_err(|e| ConsentError::Malformed { why: e.to_string() })?;
        Ok(Signed::new(key, Context::Waiting, bytes))
    }

    /// Checks the box's signature and reads it.
    ///
    /// # Errors
    /// [`WaitingError`].
    pub fn open(signed: Signed, key: &PublicKey) -> Result<Verified<Self>, WaitingError> {
        let waiting = signed.verify(key, Context::Waiting)?.try_map(|bytes| {
            serde_json::from_slice::<Self>(&bytes).map_err(|e| WaitingError::Malformed(e.to_string()))
        })?;
        if waiting.get().v == WAITING_VERSION {
            return Ok(waiting);
        }
        Err(WaitingError::Malformed(format!("its version is {}, not {WAITING_VERSION}", waiting.get().v)))
    }
}
