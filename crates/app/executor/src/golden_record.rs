//! Imported golden archives: one JSON file each in `STATE_DIR/golden/`, with the signed release that names it.
//!
//! The release's signature is checked at each reading, so a file that somebody placed here proves nothing by itself.

use std::path::{Path, PathBuf};

use felhom_model::observed::Golden;
use felhom_model::{Digest, Volid};
use felhom_protocol::release::{ArtefactKind, Release, SCHEMA};
use felhom_signing::sshsig::{Namespace, SshPublicKey, verify};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// An imported golden archive as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRecord {
    /// Where the archive lies.
    pub volid: Volid,
    /// SHA-256 of the archive.
    pub digest: Digest,
    /// The release document, exactly the bytes that were signed.
    pub release: String,
    /// Its armored signature.
    pub signature: String,
}

/// A golden archive whose release was verified just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Where the archive lies.
    pub volid: Volid,
    /// What gate and planner need.
    pub golden: Golden,
}

/// Why a record does not count.
#[derive(Debug, thiserror::Error)]
#[error("golden archive {path}: {why}")]
pub struct RecordError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub why: String,
}

/// The folder of records.
#[must_use]
pub fn folder(config: &Config) -> PathBuf {
    config.state_dir.join("golden")
}

/// Keeps a record under the archive's digest.
///
/// # Errors
/// [`RecordError`] if it cannot be written.
pub fn keep(config: &Config, record: &GoldenRecord) -> Result<PathBuf, RecordError> {
    let folder = folder(config);
    let path = folder.join(format!("{}.json", record.digest.hex()));
    let fail = |why: String| RecordError { path: path.clone(), why };
    std::fs::create_dir_all(&folder).map_err(|e| fail(e.to_string()))?;
    let text = serde_json::to_vec_pretty(record).map_err(|e| fail(e.to_string()))?;
    crate::keys::write_secret(&path, &text).map_err(|e| fail(e.to_string()))?;
    Ok(path)
}

/// All records that count, newest release first; those that do not are logged and left out.
#[must_use]
pub fn imported(config: &Config) -> Vec<Imported> {
    let Ok(entries) = std::fs::read_dir(folder(config)) else { return Vec::new() };
    let keys: Vec<SshPublicKey> =
        config.release_keys.iter().filter_map(|k| SshPublicKey::from_openssh(k).ok()).collect();
    let mut all: Vec<Imported> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter_map(|path| match read(&path, &keys) {
            Ok(found) => Some(found),
            Err(e) => {
                tracing::warn!(error = %e, "a golden archive's record does not count");
                None
            }
        })
        .collect();
    all.sort_by(|a, b| b.golden.release.cmp(&a.golden.release).then(a.volid.cmp(&b.volid)));
    all
}

fn read(path: &Path, keys: &[SshPublicKey]) -> Result<Imported, RecordError> {
    let fail = |why: String| RecordError { path: path.to_owned(), why };
    let text = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    let record: GoldenRecord = serde_json::from_slice(&text).map_err(|e| fail(e.to_string()))?;
    let (bytes, _) = verify(&record.signature, Namespace::Release, record.release.into_bytes(), keys)
        .map_err(|e| fail(format!("{e}; import it again, or set release_keys")))?;
    let release: Release = serde_json::from_slice(bytes.get()).map_err(|e| fail(e.to_string()))?;
    if release.schema != SCHEMA {
        return Err(fail(format!("schema {} is unknown here", release.schema)));
    }
    let artefact = release
        .artefacts
        .into_iter()
        .find(|a| a.kind == ArtefactKind::Golden && a.sha256 == record.digest)
        .ok_or_else(|| fail("its release does not name this archive".to_owned()))?;
    Ok(Imported {
        volid: record.volid,
        golden: Golden {
            digest: record.digest,
            release: release.version,
            apps: artefact.apps,
            bytes: artefact.bytes,
        },
    })
}
