//! Ed25519 keys and signatures over `context ‖ 0x00 ‖ bytes`, so that a signature for one purpose fits no other.

use crate::SignatureError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// Hub's answer to a sync.
    SyncAnswer,
    /// Hub's desired state of one box.
    DesiredState,
    /// Guest's heartbeat over the boot nonce that the executor pushed.
    Heartbeat,
    /// Guest's digests taken while its apps stood still.
    Frozen,
    /// Executor's word to the guest: granted, snapshotted.
    BackupPhase,
    /// Executor's challenge to operators and customers.
    Challenge,
    /// Executor's word of an operation in its grace.
    Waiting,
    /// Executor's word where its audit log ends.
    AuditHead,
    /// Executor's notices to a customer.
    Notices,
    /// Guest's acknowledgements and vetoes, for the executor to read.
    Answers,
    /// Executor's word to itself how far its database had come, kept in a guest.
    Watermark,
}

impl Context {
    fn label(self) -> &'static str {
        match self {
            Self::SyncAnswer => "felhom-sync-answer-v1",
            Self::DesiredState => "felhom-desired-v1",
            Self::Heartbeat => "felhom-heartbeat-v1",
            Self::Frozen => "felhom-frozen-v1",
            Self::BackupPhase => "felhom-backup-phase-v1",
            Self::Challenge => "felhom-challenge-v1",
            Self::Waiting => "felhom-waiting-v1",
            Self::AuditHead => "felhom-audit-head-v1",
            Self::Notices => "felhom-notices-v1",
            Self::Answers => "felhom-answers-v1",
            Self::Watermark => "felhom-watermark-v1",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.label().as_bytes(), &[0], bytes].concat()
    }
}

/// Why a text is no key or signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no {what}: {why}")]
pub struct KeyError {
    what: &'static str,
    why: String,
}

/// A private key. Its debug form shows the public half only.
pub struct Key(SigningKey);

impl Key {
    /// Makes the key of a 32-byte seed; the caller draws the seed and keeps it.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be written to a 0600 file.
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs bytes for one purpose.
    pub fn sign(&self, context: Context, bytes: &[u8]) -> Signature {
        self.sign_raw(&context.message(bytes))
    }

    pub(crate) fn sign_raw(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(public {})", self.public())
    }
}

/// A public key; as text the base64 of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, content_encoding = "base64", pattern = "^[A-Za-z0-9+/]{43}=$", examples("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")))]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads 32 bytes.
    ///
    /// # Errors
    /// If they are no point of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        VerifyingKey::from_bytes(bytes)
            .map(Self)
            .map_err(|e| KeyError { what: "Ed25519 public key", why: e.to_string() })
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// `SHA256:` and the unpadded base64 of the SHA-256 of the key in OpenSSH's wire form, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        let blob =
            [&11u32.to_be_bytes()[..], b"ssh-ed25519", &32u32.to_be_bytes()[..], self.as_bytes()].concat();
        let digest = STANDARD.encode(Sha256::digest(blob));
        format!("SHA256:{}", digest.trim_end_matches('='))
    }

    /// Checks a signature for one purpose, strictly (no small-order keys, one encoding).
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`].
    pub fn verify(
        &self,
        context: Context,
        bytes: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.verify_raw(&context.message(bytes), signature)
    }

    pub(crate) fn verify_raw(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).map_err(|_| SignatureError::Mismatch)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.as_bytes()))
    }
}
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}
impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&decode::<32>("Ed25519 public key", text)?)
    }
}
impl TryFrom<String> for PublicKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}
impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

/// An Ed25519 signature; as text the base64 of its 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, content_encoding = "base64", pattern = "^[A-Za-z0-9+/]{86}==$"))]
#[serde(try_from = "String", into = "String")]
pub struct Signature([u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}
impl FromStr for Signature {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode::<64>("Ed25519 signature", text).map(Self)
    }
}
impl TryFrom<String> for Signature {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}
impl From<Signature> for String {
    fn from(signature: Signature) -> String {
        signature.to_string()
    }
}

fn decode<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], KeyError> {
    let bytes = STANDARD.decode(text).map_err(|e| KeyError { what, why: e.to_string() })?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| KeyError { what, why: format!("it has {found} bytes instead of {N}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_flipped_bit_is_refused(seed: [u8; 32], bytes in prop::collection::vec(any::<u8>(), 1..64), at: usize) {
            let key = Key::from_seed(&seed);
            let signature = key.sign(Context::DesiredState, &bytes);
            prop_assert!(key.public().verify(Context::DesiredState, &bytes, &signature).is_ok());
            prop_assert!(key.public().verify(Context::SyncAnswer, &bytes, &signature).is_err());
            let mut changed = bytes.clone();
            changed[at % bytes.len()] ^= 1 << (at % 8);
            prop_assert!(key.public().verify(Context::DesiredState, &changed, &signature).is_err());
            let mut other = signature;
            other.0[at % 64] ^= 1 << (at % 8);
            prop_assert!(key.public().verify(Context::DesiredState, &bytes, &other).is_err());
        }

        #[test]
        fn texts_round_trip(seed: [u8; 32]) {
            let key = Key::from_seed(&seed);
            prop_assert_eq!(key.public().to_string().parse::<PublicKey>().unwrap(), key.public());
            let signature = key.sign(Context::Frozen, b"x");
            prop_assert_eq!(signature.to_string().parse::<Signature>().unwrap(), signature);
        }
    }

    #[test]
    fn a_private_key_does_not_show_itself() {
        let key = Key::from_seed(&[7; 32]);
        assert!(!format!("{key:?}").contains(&STANDARD.encode([7; 32])));
        assert!(format!("{key:?}").contains(&key.public().to_string()));
    }

    #[test]
    fn keys_and_signatures_are_the_same_text_everywhere() {
        let key = Key::from_seed(&[7; 32]);
        let (public, signature) = (key.public(), key.sign_raw(b"x"));
        assert_eq!(serde_json::to_string(&public).unwrap(), format!("\"{public}\""));
        assert_eq!(serde_json::from_str::<PublicKey>(&format!("\"{public}\"")).unwrap(), public);
        assert!(format!("{public:?}").contains(&public.to_string()));
        let text = serde_json::to_string(&signature).unwrap();
        assert_eq!(serde_json::from_str::<Signature>(&text).unwrap(), signature);
        assert_eq!(text.len(), 90);
    }
}
