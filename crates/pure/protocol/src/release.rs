//! Releases: a document that the release keys sign (SSHSIG, namespace `felhom-release-v1`) and that names artefacts by digest.

use felhom_model::{AppName, Digest};
use serde::{Deserialize, Serialize};

/// The schema's name.
pub const SCHEMA: &str = "felhom.release/v1";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Rises with each release; a box never goes below what it has committed.
    pub version: u64,
    /// What belongs to it.
    pub artefacts: Vec<Artefact>,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// What it is.
    pub kind: ArtefactKind,
    /// File name, for people.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Size in bytes.
    pub bytes: u64,
    /// Apps inside, for a golden archive.
    #[serde(default)]
    pub apps: Vec<AppName>,
}

/// What an artefact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtefactKind {
    /// The archive that guests are made from.
    Golden,
}
