//! How a challenge becomes bytes with the box's signature, and how it is read again.

use super::ConsentError;
use crate::challenge::{CHALLENGE_VERSION, Challenge, Signers};
use crate::{Context, Key, PublicKey, Signed, Verified};

impl Challenge {
    /// Writes the document and signs its bytes with the box's attestation key. From here on only these bytes count.
    ///
    /// # Errors
    /// [`ConsentError::Malformed`] for a challenge that [`Challenge::read`] would refuse.
    pub fn issue(&self, key: &Key) -> Result<Signed, ConsentError> {
        let malformed = |e: serde_json::Error| ConsentError::Malformed { why: e.to_string() };
        let bytes = serde_json::to_vec(self).map_err(malformed)?;
        Self::read(&bytes)?;
        Ok(Signed::new(key, Context::Challenge, bytes))
    }

    /// Checks the box's signature with the key that the reader pinned itself, and reads the document.
    ///
    /// # Errors
    /// [`ConsentError::Mismatch`] if that key did not sign these bytes as a challenge, else as [`Challenge::read`].
    pub fn open(signed: Signed, key: &PublicKey) -> Result<Verified<Self>, ConsentError> {
        signed.verify(key, Context::Challenge)?.try_map(|bytes| Self::read(&bytes))
    }

    /// Reads the document, whoever it is from.
    ///
    /// # Errors
    /// [`ConsentError::Malformed`] if it is none, if it has another version, or if nobody's signature would suffice.
    pub fn read(bytes: &[u8]) -> Result<Self, ConsentError> {
        let malformed = |why: String| ConsentError::Malformed { why };
        let challenge: Self = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if challenge.v != CHALLENGE_VERSION {
            return Err(malformed(format!("it has the version {}", challenge.v)));
        }
        let nobody = |signers: &Signers| signers.operators == 0 && signers.customers.is_empty();
        if challenge.requires.is_empty() || challenge.requires.iter().any(nobody) {
            return Err(malformed("it asks for nobody's signature".to_owned()));
        }
        Ok(challenge)
    }
}
