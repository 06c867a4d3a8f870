//! The signed release document.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use felhom_model::Digest;
use felhom_protocol::release::{Artefact, ArtefactKind, Release, SCHEMA};
use felhom_signing::sshsig::{Namespace, SshPublicKey, verify};

use super::GoldenError;

/// No release document and no signature comes near it.
const LIMIT: u64 = 1 << 20;

/// A release whose signature was verified just now.
#[derive(Debug, Clone)]
pub(super) struct SignedRelease {
    pub(super) release: Release,
    /// Exactly the bytes that were signed.
    pub(super) document: String,
    pub(super) signature: String,
}

impl SignedRelease {
    pub(super) fn read(
        document: &Path,
        signature: &Path,
        keys: &[SshPublicKey],
    ) -> Result<Self, GoldenError> {
        if keys.is_empty() {
            let why = "no key is configured; put the release key's public line there".to_owned();
            return Err(GoldenError::Config { key: "release_keys", why });
        }
        let wrong = |why: String| GoldenError::Release { path: document.to_owned(), why };
        let text = read_text(document)?;
        let armored = read_text(signature)?;
        let (bytes, _) = verify(&armored, Namespace::Release, text.clone().into_bytes(), keys)
            .map_err(|source| GoldenError::Signature { path: signature.to_owned(), source })?;
        let release: Release = serde_json::from_slice(bytes.get()).map_err(|e| wrong(e.to_string()))?;
        if release.schema != SCHEMA {
            return Err(wrong(format!("its schema is `{}`, understood is `{SCHEMA}`", release.schema)));
        }
        Ok(Self { release, document: text, signature: armored })
    }

    /// The golden archive of this digest and size.
    pub(super) fn golden(&self, digest: Digest, bytes: u64) -> Option<&Artefact> {
        self.goldens().find(|artefact| artefact.sha256 == digest && artefact.bytes == bytes)
    }

    /// Digests of the golden archives that it names, for people.
    pub(super) fn named(&self) -> String {
        let digests: Vec<_> = self.goldens().map(|artefact| artefact.sha256.to_string()).collect();
        if digests.is_empty() { "none".to_owned() } else { digests.join(", ") }
    }

    fn goldens(&self) -> impl Iterator<Item = &Artefact> {
        self.release.artefacts.iter().filter(|artefact| artefact.kind == ArtefactKind::Golden)
    }
}

fn read_text(path: &Path) -> Result<String, GoldenError> {
    let problem = |source| GoldenError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let mut file = File::open(path).map_err(problem)?.take(LIMIT + 1);
    file.read_to_string(&mut text).map_err(problem)?;
    if text.len() as u64 > LIMIT {
        return Err(GoldenError::TooLong { path: path.to_owned(), limit: LIMIT });
    }
    Ok(text)
}
