//! The probe: the executor asks a restored guest's controller by `pct exec`, request on standard input, answer on standard
//! output, both one JSON document. The network link of such a guest is down; nothing here needs it.

use felhom_model::{AppName, Digest, GuestUuid};
use serde::{Deserialize, Serialize};

/// What to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// Returned as it is, so that an answer belongs to this question.
    pub nonce: String,
    /// Whether to wait for apps to come up, in milliseconds; 0 looks once.
    #[serde(default)]
    pub wait_ms: u64,
    /// Sampled content to compute again.
    #[serde(default)]
    pub samples: Vec<SampleId>,
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeAnswer {
    /// The request's.
    pub nonce: String,
    /// The guest's own identity as its state directory holds it (from the archive); `None` before its first bootstrap.
    pub guest: Option<GuestUuid>,
    /// The controller's version.
    pub version: String,
    /// Each app that should run.
    pub apps: Vec<AppProbe>,
    /// The samples, in the request's order.
    pub samples: Vec<Sample>,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppProbe {
    /// Its name.
    pub app: AppName,
    /// `running`, `starting`, `stopped`, `failed`, `frozen`.
    pub state: String,
    /// Whether its health check answers, and the answer comes from this very instance.
    pub healthy: bool,
    /// Why not, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Integrity checks of its databases.
    #[serde(default)]
    pub databases: Vec<DatabaseCheck>,
}

/// The integrity check of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseCheck {
    /// E.g. `sample_data/notes.db`.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// SQLite's words.
    pub detail: String,
}

/// Names a piece of an app's data: a file below a volume, or a range of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SampleId {
    /// The app.
    pub app: AppName,
    /// The volume's name in the app's compose file.
    pub volume: String,
    /// Path below the volume, with `/`.
    pub path: String,
    /// First byte; absent: the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Length in bytes, with `offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// A piece of data with its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Which.
    #[serde(flatten)]
    pub id: SampleId,
    /// What kind, for people: `database`, `canary`, `file`, `block`.
    pub kind: String,
    /// SHA-256; `None` if it could not be read.
    pub digest: Option<Digest>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
