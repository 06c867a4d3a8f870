//! A security key made of software: it builds the flags byte as a token would (PROTOCOL.u2f of OpenSSH). No token took part.

use felhom_signing::SignatureError;
use felhom_signing::sshsig::{Namespace, SignedBy, SshPublicKey, verify};
use sha2::{Digest, Sha256};
use ssh_key::public::{Ed25519PublicKey, KeyData, SkEd25519};
use ssh_key::{Algorithm, HashAlg, LineEnding, Signature, SshSig};

const APPLICATION: &str = "ssh:";

pub(crate) struct Token(pub(crate) ed25519_dalek::SigningKey);

impl Token {
    pub(crate) fn public(&self) -> KeyData {
        let key = Ed25519PublicKey(self.0.verifying_key().to_bytes());
        KeyData::SkEd25519(SkEd25519::new(key, APPLICATION))
    }

    /// Signs as a token does: over the digest of its application, the flags, its counter, and the digest of the message.
    pub(crate) fn sign(&self, message: &[u8], flags: u8, counter: u32) -> String {
        use ed25519_dalek::Signer as _;
        let blob = SshSig::signed_data("felhom-op-v1", HashAlg::Sha512, message).unwrap();
        let mut signed = Sha256::digest(APPLICATION).to_vec();
        signed.push(flags);
        signed.extend(counter.to_be_bytes());
        signed.extend(Sha256::digest(blob));
        let mut data = self.0.sign(&signed).to_bytes().to_vec();
        data.push(flags);
        data.extend(counter.to_be_bytes());
        let signature = Signature::new(Algorithm::SkEd25519, data).unwrap();
        let signature = SshSig::new(self.public(), "felhom-op-v1", HashAlg::Sha512, signature).unwrap();
        signature.to_pem(LineEnding::LF).unwrap()
    }

    fn check(&self, armored: &str) -> Result<SignedBy, SignatureError> {
        let line = ssh_key::PublicKey::from(self.public()).to_openssh().unwrap();
        let key = SshPublicKey::from_openssh(&line).unwrap();
        verify(armored, Namespace::Operation, b"challenge".to_vec(), &[key]).map(|(_, by)| by)
    }
}

#[test]
fn a_touch_and_a_verified_person_are_asked_for() {
    let token = Token(ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
    assert_eq!(token.check(&token.sign(b"challenge", 0x05, 41)).unwrap().counter, Some(41));
    for (flags, missing) in
        [(0x00, "a touch"), (0x04, "a touch"), (0x01, "checking who touched it"), (0x80, "a touch")]
    {
        match token.check(&token.sign(b"challenge", flags, 41)) {
            Err(SignatureError::NobodyThere { missing: found, .. }) => assert_eq!(found, missing),
            other => panic!("{flags:#x}: {other:?}"),
        }
    }
}

#[test]
fn flags_that_were_changed_afterwards_do_not_fit_the_signature() {
    let token = Token(ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
    let armored = token.sign(b"challenge", 0x01, 41);
    let signature = SshSig::from_pem(&armored).unwrap();
    let mut data = signature.signature_bytes().to_vec();
    let flags = data.len() - 5;
    data[flags] = 0x05;
    let forged = Signature::new(Algorithm::SkEd25519, data).unwrap();
    let forged = SshSig::new(token.public(), "felhom-op-v1", HashAlg::Sha512, forged).unwrap();
    assert_eq!(
        token.check(&forged.to_pem(LineEnding::LF).unwrap()).map(|_| ()),
        Err(SignatureError::Mismatch)
    );
}
