//! SSHSIG, the format of `ssh-keygen -Y sign`: armored, with a namespace, verifiable with stock tools.
//!
//! Order of the checks: armor → namespace → key among the accepted ones → signature over the raw bytes → for a security key the
//! flags that say a person touched it and was verified.

use crate::{Key, PublicKey, SignatureError, Verified};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ssh_key::public::RsaPublicKey;
use ssh_key::{Algorithm, HashAlg, PrivateKey, SshSig, private::Ed25519Keypair, public::KeyData};

/// The purposes for which SSHSIGs are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// A restore test's receipt, signed by the box.
    Receipt,
    /// A release document, signed by a release key.
    Release,
    /// An operator's consent to one challenge of a box.
    Operation,
    /// A new version of the operators' file, signed by operators of the old and of the new one.
    Operators,
    /// A customer's confirmation, signed by the guest.
    Confirmation,
    /// An entry of the catalogue.
    App,
}

impl Namespace {
    /// The namespace string inside the signature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receipt => "felhom-receipt-v1",
            Self::Release => "felhom-release-v1",
            Self::Operation => "felhom-op-v1",
            Self::Operators => "felhom-operators-v1",
            Self::Confirmation => "felhom-confirm-v1",
            Self::App => "felhom-app-v1",
        }
    }
}

/// Lengths of an RSA key's modulus that are accepted.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

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

    /// Whether signatures of such a key can count at all: Ed25519, ECDSA on P-256, RSA of 2048 to 8192 bits, and the two
    /// types of security keys.
    ///
    /// # Errors
    /// [`SignatureError::KeyType`] with the type, for RSA with its length.
    pub fn check_type(&self) -> Result<(), SignatureError> {
        match &self.0 {
            KeyData::Ed25519(_)
            | KeyData::SkEd25519(_)
            | KeyData::SkEcdsaSha2NistP256(_)
            | KeyData::Ecdsa(ssh_key::public::EcdsaPublicKey::NistP256(_)) => Ok(()),
            KeyData::Rsa(rsa) => {
                let bytes = rsa.n.as_positive_bytes().map_or(0, <[u8]>::len);
                if RSA_BYTES.contains(&bytes) {
                    return Ok(());
                }
                Err(SignatureError::KeyType(format!("rsa with {} bits", bytes * 8)))
            }
            other => Err(SignatureError::KeyType(other.algorithm().to_string())),
        }
    }

    /// Whether a signature of this key may bear this label. Nobody signs the label, and the mathematics do not look at it: under
    /// another one a security key's flags would be no flags.
    fn signs_as(&self, label: &Algorithm) -> bool {
        match &self.0 {
            KeyData::Rsa(_) => matches!(label, Algorithm::Rsa { hash: Some(_) }),
            other => *label == other.algorithm(),
        }
    }

    fn is_of_security_key(&self) -> bool {
        matches!(self.0, KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_))
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
    /// For a security key: how often it had signed, as it counts itself.
    pub counter: Option<u32>,
}

/// The key that an armored signature names; nothing is checked, so it says only which key to look for.
///
/// # Errors
/// [`SignatureError::Malformed`].
pub fn claimed_key(armored: &str) -> Result<SshPublicKey, SignatureError> {
    read(armored).map(|signature| SshPublicKey(signature.public_key().clone()))
}

/// Reads the armor, strictly: what it holds has one spelling. Version, reserved bytes and the lengths of its parts are not
/// covered by what is signed, and the parser passes over lengths that do not fit.
fn read(armored: &str) -> Result<SshSig, SignatureError> {
    let signature = SshSig::from_pem(armored).map_err(|e| malformed("the signature", &e))?;
    let again = respelled(&signature).map_err(|e| malformed("the signature", &e))?;
    let letters = |text: &str| text.bytes().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>();
    if signature.version() == SshSig::VERSION
        && signature.reserved().is_empty()
        && letters(armored) == letters(&again)
    {
        return Ok(signature);
    }
    let why = "it is not of version 1, or not written as the format says".to_owned();
    Err(SignatureError::Malformed { what: "the signature", why })
}

/// As PROTOCOL.sshsig writes it, on one line. Flags and counter of a security key stand behind its signature (PROTOCOL.u2f): the
/// library writes those of an ECDSA key into it, where no other tool looks for them.
fn respelled(signature: &SshSig) -> ssh_key::Result<String> {
    let bytes = signature.signature_bytes();
    let algorithm = signature.algorithm();
    let of_security_key = matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
    let behind = if of_security_key { TRAILER.min(bytes.len()) } else { 0 };
    let (signed, behind) = bytes.split_at(bytes.len() - behind);
    let blob = [&string(algorithm.as_str().as_bytes())[..], &string(signed), behind].concat();
    let key = ssh_key::PublicKey::from(signature.public_key().clone()).to_bytes()?;
    let (namespace, hash) = (signature.namespace().as_bytes(), signature.hash_alg());
    let parts = [&key[..], namespace, signature.reserved(), hash.as_str().as_bytes(), &blob];
    let mut all = [b"SSHSIG", &signature.version().to_be_bytes()[..]].concat();
    parts.iter().for_each(|part| all.extend(string(part)));
    Ok(format!("-----BEGIN SSH SIGNATURE-----{}-----END SSH SIGNATURE-----", STANDARD.encode(all)))
}

/// A string of the SSH protocol.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
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
    let signature = read(armored)?;
    if signature.namespace() != namespace.name() {
        let found = signature.namespace().to_owned();
        return Err(SignatureError::Namespace { found, expected: namespace.name() });
    }
    let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256).to_string();
    let Some(key) = accepted.iter().find(|key| key.0 == *signature.public_key()) else {
        return Err(SignatureError::UnknownKey { found: fingerprint });
    };
    key.check_type()?;
    if !key.signs_as(&signature.algorithm()) {
        return Err(SignatureError::Mismatch);
    }
    if let KeyData::Rsa(rsa) = &key.0 {
        verify_rsa(rsa, &signature, namespace, &bytes)?;
    } else {
        verify_other(key, &signature, namespace, &bytes)?;
    }
    let counter = if key.is_of_security_key() { Some(touched(&signature, &fingerprint)?) } else { None };
    Ok((Verified(bytes), SignedBy { fingerprint, counter }))
}

fn verify_other(
    key: &SshPublicKey,
    signature: &SshSig,
    namespace: Namespace,
    bytes: &[u8],
) -> Result<(), SignatureError> {
    let key = ssh_key::PublicKey::from(key.0.clone());
    key.verify(namespace.name(), bytes, signature).map_err(|_| SignatureError::Mismatch)
}

/// With SHA-2 only, as PROTOCOL.sshsig of OpenSSH demands.
fn verify_rsa(
    key: &RsaPublicKey,
    signature: &SshSig,
    namespace: Namespace,
    bytes: &[u8],
) -> Result<(), SignatureError> {
    let (n, e) = key.n.as_positive_bytes().zip(key.e.as_positive_bytes()).ok_or(SignatureError::Mismatch)?;
    let scheme = match signature.algorithm() {
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) } => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) } => &RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(SignatureError::Mismatch),
    };
    let signed = SshSig::signed_data(namespace.name(), signature.hash_alg(), bytes)
        .map_err(|e| malformed("the signature", &e))?;
    RsaPublicKeyComponents { n, e }
        .verify(scheme, &signed, signature.signature_bytes())
        .map_err(|_| SignatureError::Mismatch)
}

/// Bytes behind a security key's signature: flags and counter.
const TRAILER: usize = 5;
/// Bit of the flags byte: somebody touched the key.
const PRESENT: u8 = 0x01;
/// Bit of the flags byte: the key checked who that was (PIN, fingerprint).
const VERIFIED: u8 = 0x04;

/// A security key's signature ends in a flags byte and its counter (PROTOCOL.u2f of OpenSSH): the counter, if the flags say that a
/// person was there.
fn touched(signature: &SshSig, fingerprint: &str) -> Result<u32, SignatureError> {
    let bytes = signature.signature_bytes();
    let Some((_, [flags, a, b, c, d])) = bytes.split_last_chunk::<TRAILER>() else {
        return Err(SignatureError::Mismatch);
    };
    let missing = match (flags & PRESENT != 0, flags & VERIFIED != 0) {
        (true, true) => return Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        (false, _) => "a touch",
        (true, false) => "checking who touched it",
    };
    Err(SignatureError::NobodyThere { fingerprint: fingerprint.to_owned(), missing })
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
