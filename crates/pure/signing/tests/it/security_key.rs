//! Security keys of both types, made of software: they build the flags byte as a token would (PROTOCOL.u2f of OpenSSH), and the
//! armor by hand, as PROTOCOL.sshsig says. The real `ssh-keygen -Y verify` accepts what they make. No token took part.

use std::fs;
use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use felhom_signing::SignatureError;
use felhom_signing::sshsig::{Namespace, SignedBy, SshPublicKey, verify};
use sha2::{Digest, Sha256};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{HashAlg, PrivateKey, Signature, SshSig};

use crate::keygen::keygen;

const APPLICATION: &str = "ssh:";

/// A security key: what signs in it.
pub(crate) enum Token {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Ecdsa(Box<PrivateKey>),
}

impl Token {
    /// One whose key is always the same.
    fn ed25519() -> Self {
        Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&[7; 32])))
    }

    fn ecdsa() -> Self {
        let dir = tempfile::tempdir().unwrap();
        keygen(dir.path(), &["-q", "-N", "", "-t", "ecdsa", "-b", "256", "-f", "key"]);
        Self::Ecdsa(Box::new(PrivateKey::read_openssh_file(&dir.path().join("key")).unwrap()))
    }

    pub(crate) fn both() -> [Self; 2] {
        [Self::ed25519(), Self::ecdsa()]
    }

    pub(crate) fn public(&self) -> KeyData {
        match self {
            Self::Ed25519(key) => {
                let key = Ed25519PublicKey(key.verifying_key().to_bytes());
                KeyData::SkEd25519(SkEd25519::new(key, APPLICATION))
            }
            Self::Ecdsa(key) => match key.public_key().key_data() {
                KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => {
                    KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(*point, APPLICATION))
                }
                other => panic!("{other:?}"),
            },
        }
    }

    pub(crate) fn line(&self) -> String {
        ssh_key::PublicKey::from(self.public()).to_openssh().unwrap()
    }

    /// Signs as a token does: over the digest of its application, the flags, its counter, and the digest of the message.
    pub(crate) fn sign(&self, message: &[u8], flags: u8, counter: u32) -> String {
        use ed25519_dalek::Signer as _;
        let blob = SshSig::signed_data("felhom-op-v1", HashAlg::Sha512, message).unwrap();
        let mut signed = Sha256::digest(APPLICATION).to_vec();
        signed.push(flags);
        signed.extend(counter.to_be_bytes());
        signed.extend(Sha256::digest(blob));
        let signature = match self {
            Self::Ed25519(key) => key.sign(&signed).to_bytes().to_vec(),
            Self::Ecdsa(key) => {
                let signature: Signature = key.key_data().try_sign(&signed).unwrap();
                signature.as_bytes().to_vec()
            }
        };
        let behind = [&[flags][..], &counter.to_be_bytes()].concat();
        self.armored(self.public().algorithm().as_str(), &signature, &behind)
    }

    fn armored(&self, label: &str, signature: &[u8], behind: &[u8]) -> String {
        let key = ssh_key::PublicKey::from(self.public()).to_bytes().unwrap();
        let mut inner = string(label.as_bytes());
        inner.extend(string(signature));
        inner.extend(behind);
        let mut all = b"SSHSIG".to_vec();
        all.extend(1_u32.to_be_bytes());
        for part in [&key[..], b"felhom-op-v1", b"", b"sha512", &inner] {
            all.extend(string(part));
        }
        armor(&all)
    }

    fn check(&self, armored: &str) -> Result<SignedBy, SignatureError> {
        let key = SshPublicKey::from_openssh(&self.line()).unwrap();
        verify(armored, Namespace::Operation, b"challenge".to_vec(), &[key]).map(|(_, by)| by)
    }
}

/// A string of the SSH protocol.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

fn armor(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

fn decoded(armored: &str) -> Vec<u8> {
    let text: String = armored.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(text).unwrap()
}

/// With another flags byte: it stands before the counter, at the end.
fn with_flags(armored: &str, flags: u8) -> String {
    let mut bytes = decoded(armored);
    let at = bytes.len() - 5;
    bytes[at] = flags;
    armor(&bytes)
}

#[test]
fn the_real_ssh_keygen_accepts_what_these_keys_make() {
    for token in Token::both() {
        let dir = tempfile::tempdir().unwrap();
        let (allowed, signature) = (dir.path().join("allowed"), dir.path().join("signature"));
        fs::write(&allowed, format!("ada {}\n", token.line())).unwrap();
        fs::write(dir.path().join("message"), b"challenge").unwrap();
        // It looks at the mathematics only; the flags are looked at by us.
        fs::write(&signature, token.sign(b"challenge", 0x00, 41)).unwrap();
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "verify", "-I", "ada", "-n", "felhom-op-v1"]);
        command.arg("-f").arg(&allowed).arg("-s").arg(&signature);
        let output = command.stdin(fs::File::open(dir.path().join("message")).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_touch_and_a_verified_person_are_asked_for() {
    for token in Token::both() {
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
}

#[test]
fn flags_that_were_changed_afterwards_do_not_fit_the_signature() {
    for token in Token::both() {
        let forged = with_flags(&token.sign(b"challenge", 0x01, 41), 0x05);
        assert_eq!(token.check(&forged).map(|_| ()), Err(SignatureError::Mismatch));
    }
}

/// A token's signature as it stands in the armor: what is signed with, and what stands behind it.
fn parts(token: &Token, flags: u8) -> (Vec<u8>, Vec<u8>) {
    let honest = decoded(&token.sign(b"challenge", flags, 41));
    let label = string(token.public().algorithm().as_str().as_bytes());
    let at = honest.windows(label.len()).rposition(|window| window == label).unwrap();
    let rest = &honest[at + label.len()..];
    let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk().unwrap())).unwrap();
    let (signature, behind) = rest[4..].split_at(length);
    (signature.to_vec(), behind.to_vec())
}

/// The label of a signature is not signed: under another one nobody would look at the flags. And a signature has one spelling.
#[test]
fn a_signature_under_another_label_does_not_count() {
    for token in Token::both() {
        let own = token.public().algorithm();
        for (signature, behind) in [0x00, 0x05].map(|flags| parts(&token, flags)) {
            let all = [&signature[..], &behind].concat();
            for label in
                ["rsa-sha2-256", "rsa-sha2-512", "a@b", "ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]
            {
                for (signed, rest) in [(&all, &[][..]), (&signature, &behind), (&signature, &[])] {
                    let forged = token.armored(label, signed, rest);
                    assert!(token.check(&forged).is_err(), "{own:?} as {label}: {:?}", token.check(&forged));
                }
            }
        }
    }
}
