//! SSHSIG, the format of `ssh-keygen -Y sign`: armored, with a namespace, verifiable with stock tools.
//!
//! Order of the checks: armor → namespace → key among the accepted ones → signature over the raw bytes.

use crate::{Key, PublicKey, SignatureError, Verified};
use ssh_key::{HashAlg, PrivateKey, SshSig, private::Ed25519Keypair, public::KeyData};

/// The purposes for which SSHSIGs are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// A restore test's receipt, signed by the box.
    Receipt,
    /// A release document, signed by a release key.
    Release,
}

impl Namespace {
    /// The namespace string inside the signature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receipt => "felhom-receipt-v1",
            Self::Release => "felhom-release-v1",
        }
    }
}

/// A public key of any type that OpenSSH knows and this build supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPublicKey(KeyData);

impl SshPublicKey {
    /// Reads a line as in a `.pub` file or `authorized_keys`: `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    /// [`SignatureError::Malformed`].
    pub fn from_openssh(line: &str) -> Result<Self, SignatureError> {
        ssh_key::PublicKey::from_openssh(line.trim())
            .map(|key| Self(key.key_data().clone()))
            .map_err(|e| malformed("the OpenSSH public key", &e))
    }

    /// `SHA256:…` as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }
}

impl From<&PublicKey> for SshPublicKey {
    fn from(key: &PublicKey) -> Self {
        Self(KeyData::Ed25519(ssh_key::public::Ed25519PublicKey(*key.as_bytes())))
    }
}

/// The line for a `.pub` file or an `allowed_signers` file of an Ed25519 key.
///
/// # Errors
/// [`SignatureError::Malformed`] if the comment cannot stand on one line.
pub fn openssh_line(key: &PublicKey, comment: &str) -> Result<String, SignatureError> {
    ssh_key::PublicKey::new(SshPublicKey::from(key).0, comment)
        .to_openssh()
        .map_err(|e| malformed("the OpenSSH public key", &e))
}

/// Signs bytes with an Ed25519 key; the armored text.
///
/// # Errors
/// [`SignatureError::Malformed`] if the key cannot be used.
pub fn sign(key: &Key, namespace: Namespace, bytes: &[u8]) -> Result<String, SignatureError> {
    let private = PrivateKey::from(Ed25519Keypair::from_seed(&key.seed()));
    SshSig::sign(&private, namespace.name(), HashAlg::Sha512, bytes)
        .and_then(|signature| signature.to_pem(ssh_key::LineEnding::LF))
        .map_err(|e| malformed("the signing key", &e))
}

/// What a valid signature says besides being valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// Fingerprint of the key that signed.
    pub fingerprint: String,
}

/// Verifies an armored signature over `bytes` by one of `accepted`.
///
/// # Errors
/// Which check failed, see the module's text for the order.
pub fn verify(
    armored: &str,
    namespace: Namespace,
    bytes: Vec<u8>,
    accepted: &[SshPublicKey],
) -> Result<(Verified<Vec<u8>>, SignedBy), SignatureError> {
    let signature = SshSig::from_pem(armored).map_err(|e| malformed("the signature", &e))?;
    if signature.namespace() != namespace.name() {
        let found = signature.namespace().to_owned();
        return Err(SignatureError::Namespace { found, expected: namespace.name() });
    }
    let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256).to_string();
    let Some(key) = accepted.iter().find(|key| key.0 == *signature.public_key()) else {
        return Err(SignatureError::UnknownKey { found: fingerprint });
    };
    ssh_key::PublicKey::from(key.0.clone())
        .verify(namespace.name(), &bytes, &signature)
        .map_err(|_| SignatureError::Mismatch)?;
    Ok((Verified(bytes), SignedBy { fingerprint }))
}

fn malformed(what: &'static str, error: &ssh_key::Error) -> SignatureError {
    SignatureError::Malformed { what, why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_verifies_in_its_own_namespace_only() {
        let key = Key::from_seed(&[3; 32]);
        let accepted = [SshPublicKey::from(&key.public())];
        let armored = sign(&key, Namespace::Receipt, b"receipt").unwrap();
        let (bytes, by) = verify(&armored, Namespace::Receipt, b"receipt".to_vec(), &accepted).unwrap();
        assert_eq!(bytes.get(), b"receipt");
        assert_eq!(by.fingerprint, key.public().fingerprint());
        let other = verify(&armored, Namespace::Release, b"receipt".to_vec(), &accepted);
        assert!(matches!(other, Err(SignatureError::Namespace { .. })));
        let altered = verify(&armored, Namespace::Receipt, b"Receipt".to_vec(), &accepted);
        assert_eq!(altered, Err(SignatureError::Mismatch));
        let stranger = [SshPublicKey::from(&Key::from_seed(&[4; 32]).public())];
        let unknown = verify(&armored, Namespace::Receipt, b"receipt".to_vec(), &stranger);
        assert!(matches!(unknown, Err(SignatureError::UnknownKey { .. })));
        let garbage = verify("nonsense", Namespace::Receipt, vec![], &accepted);
        assert!(matches!(garbage, Err(SignatureError::Malformed { .. })));
    }
}
