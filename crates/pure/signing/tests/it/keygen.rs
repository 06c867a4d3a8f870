//! What the real `ssh-keygen -Y sign` makes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use felhom_signing::SignatureError;
use felhom_signing::sshsig::{Namespace, SshPublicKey, verify};

pub(crate) fn keygen(dir: &Path, args: &[&str]) {
    let mut command = Command::new("ssh-keygen");
    command.current_dir(dir).args(args).stdin(Stdio::null());
    let output = command.output().expect("ssh-keygen is needed; install openssh-client");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Armored signature and public key of a new key that signed `message`.
fn signed(kind: &[&str], namespace: &str, message: &[u8]) -> (String, SshPublicKey) {
    let (armored, line) = signed_line(kind, namespace, message);
    (armored, SshPublicKey::from_openssh(&line).unwrap())
}

/// The same with the line of the public key.
pub(crate) fn signed_line(kind: &[&str], namespace: &str, message: &[u8]) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    keygen(dir.path(), &[&["-q", "-N", "", "-C", "operator", "-f", "key"], kind].concat());
    fs::write(dir.path().join("message"), message).unwrap();
    keygen(dir.path(), &["-Y", "sign", "-q", "-f", "key", "-n", namespace, "message"]);
    let line = fs::read_to_string(dir.path().join("key.pub")).unwrap();
    let armored = fs::read_to_string(dir.path().join("message.sig")).unwrap();
    (armored, line)
}

#[test]
fn keys_of_every_accepted_type_sign() {
    for kind in [&["-t", "ed25519"][..], &["-t", "ecdsa", "-b", "256"], &["-t", "rsa", "-b", "2048"]] {
        let (armored, key) = signed(kind, "felhom-op-v1", b"challenge");
        let check = |bytes: &[u8], keys: &[SshPublicKey], namespace| {
            verify(&armored, namespace, bytes.to_vec(), keys).map(|(bytes, by)| (bytes.into_inner(), by))
        };
        let (bytes, by) = check(b"challenge", std::slice::from_ref(&key), Namespace::Operation).unwrap();
        assert_eq!((bytes.as_slice(), by.counter), (&b"challenge"[..], None), "{kind:?}");
        assert_eq!(by.fingerprint, key.fingerprint());
        let altered = check(b"Challenge", std::slice::from_ref(&key), Namespace::Operation);
        assert_eq!(altered, Err(SignatureError::Mismatch), "{kind:?}");
        let elsewhere = check(b"challenge", std::slice::from_ref(&key), Namespace::Operators);
        assert!(matches!(elsewhere, Err(SignatureError::Namespace { .. })), "{kind:?}");
        let (_, stranger) = signed(kind, "felhom-op-v1", b"challenge");
        let unknown = check(b"challenge", &[stranger], Namespace::Operation);
        assert!(matches!(unknown, Err(SignatureError::UnknownKey { .. })), "{kind:?}");
    }
}

#[test]
fn weak_keys_and_other_curves_are_refused_by_name() {
    for (kind, name) in [
        (&["-t", "rsa", "-b", "1024"][..], "rsa with 1024 bits"),
        (&["-t", "ecdsa", "-b", "384"], "ecdsa-sha2-nistp384"),
    ] {
        let (armored, key) = signed(kind, "felhom-op-v1", b"challenge");
        let refused = verify(&armored, Namespace::Operation, b"challenge".to_vec(), &[key]);
        assert_eq!(refused.map(|_| ()), Err(SignatureError::KeyType(name.to_owned())));
    }
}
