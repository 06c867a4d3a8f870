//! Signatures: Ed25519 over our own documents, SSHSIG for what people and stock tools verify, RFC 9421 for requests.
//!
//! A signed document is *bytes plus a detached signature*; nothing is ever re-canonicalised. [`Signed`] is what came in,
//! [`Verified`] is what may be used; only the functions here turn the one into the other. No I/O, no clock, no randomness:
//! seeds are arguments.

pub mod audit;
pub mod base64_bytes;
pub mod challenge;
pub mod consent;
mod ed25519;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http;
pub mod operators;
pub mod sshsig;

pub use ed25519::{Context, Key, KeyError, PublicKey, Signature};

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not the form of a signature at all.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Signed for another purpose.
    #[error("the signature is for the namespace `{found}`, expected `{expected}`")]
    Namespace {
        /// The namespace in the signature.
        found: String,
        /// The one that was asked for.
        expected: &'static str,
    },
    /// Made by a key that does not count here.
    #[error("the signature was made by {found}, which is not among the keys accepted for this")]
    UnknownKey {
        /// Fingerprint of the key in the signature.
        found: String,
    },
    /// A key that cannot be checked here, or that is too weak.
    #[error(
        "keys of the type {0} are not accepted: use ed25519, ecdsa on P-256, rsa from 2048 bits, or one of a security key"
    )]
    KeyType(String),
    /// A security key signed without a person's touch, or without checking who the person is.
    #[error(
        "the security key {fingerprint} signed without {missing}: sign again with a key that was made with `-O verify-required`, \
         and touch it"
    )]
    NobodyThere {
        /// Fingerprint of the key.
        fingerprint: String,
        /// What its flags lack.
        missing: &'static str,
    },
    /// The bytes are not what was signed.
    #[error("the signature does not fit the bytes: they were altered, or signed by another key")]
    Mismatch,
}

/// Bytes with a detached signature that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Exactly the bytes that were signed.
    pub bytes: Vec<u8>,
    /// The signature over context and bytes.
    pub signature: Signature,
}

impl Signed {
    /// Signs the bytes for one purpose.
    pub fn new(key: &Key, context: Context, bytes: Vec<u8>) -> Self {
        let signature = key.sign(context, &bytes);
        Self { bytes, signature }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] if bytes, context or key differ from what was signed.
    pub fn verify(self, key: &PublicKey, context: Context) -> Result<Verified<Vec<u8>>, SignatureError> {
        key.verify(context, &self.bytes, &self.signature)?;
        Ok(Verified(self.bytes))
    }
}

/// Something whose signature was checked. Only this crate makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Takes it out for use.
    pub fn into_inner(self) -> T {
        self.0
    }
    /// Looks at it.
    pub fn get(&self) -> &T {
        &self.0
    }
    /// Reads another form out of verified bytes, e.g. parses them; still verified.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn try_map<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        read(self.0).map(Verified)
    }
}
