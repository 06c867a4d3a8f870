//! The release document and its signature, made with `ssh-keygen` as a person would; where there is none, with the `ssh-key`
//! crate, so that the demo needs no more than Rust and a C compiler.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::json;
use ssh_key::{HashAlg, LineEnding, PrivateKey, SshSig, private::Ed25519Keypair};

use crate::run;

const SCHEMA: &str = "felhom.release/v1";
const NAMESPACE: &str = "felhom-release-v1";
const COMMENT: &str = "felhom demo release key";

/// Files of a signed release.
pub(crate) struct Signed {
    /// The document.
    pub(crate) release: PathBuf,
    /// Its signature.
    pub(crate) signature: PathBuf,
    /// The key's public half.
    pub(crate) public_key: PathBuf,
}

/// The document for one golden archive.
pub(crate) fn document(version: u64, name: &str, sha256: &str, bytes: u64, apps: &[&str]) -> Result<Vec<u8>> {
    let sha256 = format!("sha256:{sha256}");
    let artefact = json!({ "kind": "golden", "name": name, "sha256": sha256, "bytes": bytes, "apps": apps });
    let document = json!({ "schema": SCHEMA, "version": version, "artefacts": [artefact] });
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// Write the document and sign it: with the given key, whose public half lies beside it, or with one that is made here and whose
/// private half stays in `out`, readable by its owner only.
pub(crate) fn write_and_sign(out: &Path, document: &[u8], given: Option<&Path>) -> Result<Signed> {
    let release = out.join("release.json");
    let signature = out.join("release.json.sig");
    let key = given.map_or_else(|| out.join("release-key"), Path::to_path_buf);
    let public_key = given.map_or_else(|| out.join("release-key.pub"), public_half);
    let own = [&key, &public_key].into_iter().filter(|_| given.is_none());
    for old in [&release, &signature].into_iter().chain(own) {
        match fs::remove_file(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", old.display()));
            }
            _ => {}
        }
    }
    fs::write(&release, document).with_context(|| format!("cannot write {}", release.display()))?;
    if given.is_none() && run::find_program("ssh-keygen").is_none() {
        sign_here(document, &signature, &public_key)?;
        return Ok(Signed { release, signature, public_key });
    }
    if given.is_none() {
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f"]).arg(&key);
        run::output(&mut make)?;
    }
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(&key).arg(&release);
    run::output(&mut sign)?;
    Ok(Signed { release, signature, public_key })
}

/// `KEY.pub`; a public half itself names a key that an agent holds.
fn public_half(key: &Path) -> PathBuf {
    if key.extension().is_some_and(|extension| extension == "pub") {
        return key.to_path_buf();
    }
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// The same without `ssh-keygen`. The key lives only as long as this call.
fn sign_here(document: &[u8], signature: &Path, public_key: &Path) -> Result<()> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("no randomness for the demo's release key")?;
    let key = PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), COMMENT)?;
    let armored = SshSig::sign(&key, NAMESPACE, HashAlg::Sha512, document)?.to_pem(LineEnding::LF)?;
    fs::write(signature, armored).with_context(|| format!("cannot write {}", signature.display()))?;
    let line = key.public_key().to_openssh()? + "\n";
    fs::write(public_key, line).with_context(|| format!("cannot write {}", public_key.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_release_verifies_and_an_altered_one_does_not() {
        if run::find_program("ssh-keygen").is_none() {
            eprintln!("not checked: ssh-keygen is missing");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let document = document(1, "a.tar.zst", &"0".repeat(64), 5, &["sample"]).unwrap();
        let signed = write_and_sign(dir.path(), &document, None).unwrap();
        let key = fs::read_to_string(&signed.public_key).unwrap();
        let signers = dir.path().join("signers");
        fs::write(&signers, format!("demo {key}")).unwrap();
        let verify = || {
            let mut command = Command::new("ssh-keygen");
            command.args(["-Y", "verify", "-I", "demo", "-n", NAMESPACE, "-s"]).arg(&signed.signature);
            let input = fs::File::open(&signed.release).unwrap();
            command.arg("-f").arg(&signers).stdin(input).output().unwrap().status.success()
        };
        assert!(verify());
        // Another release, by the same key.
        let again = write_and_sign(dir.path(), b"another", Some(&dir.path().join("release-key"))).unwrap();
        assert_eq!(fs::read_to_string(&again.public_key).unwrap(), key);
        assert!(verify());
        fs::write(&signed.release, &document).unwrap();
        assert!(!verify());
        write_and_sign(dir.path(), &document, Some(&dir.path().join("release-key"))).unwrap();
        fs::write(
            &signed.release,
            String::from_utf8(document).unwrap().replace("\"version\": 1", "\"version\": 2"),
        )
        .unwrap();
        assert!(!verify());
    }

    #[test]
    fn what_is_signed_here_is_what_ssh_keygen_verifies() {
        if run::find_program("ssh-keygen").is_none() {
            eprintln!("not checked: ssh-keygen is missing");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        sign_here(b"a release", &file("sig"), &file("pub")).unwrap();
        fs::write(file("release"), "a release").unwrap();
        let key = fs::read_to_string(file("pub")).unwrap();
        fs::write(file("signers"), format!("demo {key}")).unwrap();
        let mut verify = Command::new("ssh-keygen");
        verify.args(["-Y", "verify", "-I", "demo", "-n", NAMESPACE, "-s"]).arg(file("sig"));
        verify.arg("-f").arg(file("signers")).stdin(fs::File::open(file("release")).unwrap());
        assert!(verify.output().unwrap().status.success());
    }
}
