//! Signing with the operator's own key: by `ssh-keygen -Y sign`, which asks for passphrase, PIN and touch itself, or lets the
//! ssh agent sign where only the public half is given. This program never sees a private key.

use crate::exit::Failure;
use felhom_signing::sshsig::{self, Namespace, SshPublicKey};
use std::path::Path;
use std::process::{Command, Stdio};

/// A signature that was made just now and checked.
#[derive(Debug)]
pub(crate) struct Made {
    /// The armored text.
    pub(crate) armored: String,
    /// The key that made it.
    pub(crate) key: SshPublicKey,
}

/// Signs the bytes; the terminal is the signing program's meanwhile.
pub(crate) fn sign(bytes: &[u8], namespace: Namespace, key: &Path) -> Result<Made, Failure> {
    let shown = key.display();
    if !key.is_file() {
        return Err(Failure::Failed(format!("there is no key file {shown}")));
    }
    let public_only = key.extension().is_some_and(|extension| extension == "pub");
    if public_only && std::env::var_os("SSH_AUTH_SOCK").is_none() {
        return Err(Failure::Failed(format!(
            "{shown} is the public half only, and no ssh agent is there to sign with it (SSH_AUTH_SOCK is not set): start \
             one and add the key, or pass the private key's file"
        )));
    }
    let folder = tempfile::tempdir().map_err(|e| Failure::Failed(format!("cannot make a folder: {e}")))?;
    let document = folder.path().join("document");
    std::fs::write(&document, bytes).map_err(|e| crate::files::failed("write", &document, &e))?;
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "sign", "-n", namespace.name(), "-f"]).arg(key).arg(&document);
    let status = command.stdout(Stdio::null()).status().map_err(|e| {
        Failure::Failed(format!("cannot run ssh-keygen: {e}; install OpenSSH's client (8.2 or newer)"))
    })?;
    if !status.success() {
        return Err(Failure::Failed(format!("ssh-keygen did not sign with {shown} ({status})")));
    }
    let signature = document.with_extension("sig");
    let armored = String::from_utf8_lossy(&crate::files::read(&signature)?).into_owned();
    check(armored, bytes, namespace)
}

/// The box would refuse what fails here; better to be told at once, e.g. of a security key without verification.
fn check(armored: String, bytes: &[u8], namespace: Namespace) -> Result<Made, Failure> {
    let checked = sshsig::claimed_key(&armored).and_then(|key| {
        sshsig::verify(&armored, namespace, bytes.to_vec(), std::slice::from_ref(&key))?;
        Ok(key)
    });
    match checked {
        Ok(key) => Ok(Made { armored, key }),
        Err(error) => Err(Failure::Unverified(format!("the signature would not count: {error}"))),
    }
}
