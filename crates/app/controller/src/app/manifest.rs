//! `felhom.yaml`, schema `felhom.app/v1`: what Felhom must know about an app beyond its compose file.
//!
//! Names for people, the class of each volume, databases, how the app is made consistent for a backup, health checks and
//! canary files. A thin part of the schema; keys that are not here are errors, not ignored.

use super::yaml::{self, AppError};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The one schema that this program reads.
pub const SCHEMA: &str = "felhom.app/v1";

/// An app's `felhom.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Must be [`SCHEMA`].
    pub schema: String,
    /// What people call it.
    pub name: Text,
    /// One sentence about it.
    #[serde(default)]
    pub description: Option<Text>,
    /// Each volume of the compose file.
    #[serde(default)]
    pub volumes: BTreeMap<String, Volume>,
    /// Databases in those volumes.
    #[serde(default)]
    pub databases: Vec<Database>,
    /// How it is made consistent for a backup.
    pub consistency: Consistency,
    /// Health checks; all must pass.
    #[serde(default)]
    pub health: Vec<Health>,
    /// Where its pages are.
    #[serde(default)]
    pub ingress: Option<Ingress>,
    /// Files whose content is always compared by a restore test.
    #[serde(default)]
    pub canaries: Vec<FileRef>,
}

/// A text in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Hungarian.
    pub hu: String,
    /// English.
    pub en: String,
}

/// A volume and its class.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Where it belongs and whether the whole-guest backup holds it.
    pub class: Class,
    /// What it is for.
    #[serde(default)]
    pub purpose: Option<Text>,
}

/// The classes of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// In the guest's own disk and in every backup.
    App,
    /// On a disk of its own, with a policy of its own.
    Bulk,
}

/// A database file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Its name among the app's databases; the dump is called after it.
    pub name: String,
    /// Its engine.
    pub engine: DatabaseEngine,
    /// The volume it lies in.
    pub volume: String,
    /// Its path in the volume.
    pub path: String,
}

/// Engines whose databases are dumped and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseEngine {
    /// One file, with `-wal` and `-shm` beside it.
    Sqlite,
}

/// How an app is made consistent for a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// All its processes stand still until the snapshot was taken.
    Frozen,
    /// It is stopped and started again.
    Clean,
    /// Nothing; it comes back as after a power cut.
    Crash,
}

/// A health check of a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The service.
    pub service: String,
    /// The request.
    pub http: Http,
}

/// An HTTP request and its expected answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The port that the service listens on.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The expected status.
    #[serde(default = "ok")]
    pub status: u16,
}

fn ok() -> u16 {
    200
}

/// Where an app's pages are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingress {
    /// The service.
    pub service: String,
    /// The port that the service listens on.
    pub port: u16,
}

/// A file in a volume.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// The volume.
    pub volume: String,
    /// The path in it.
    pub path: String,
}

impl Manifest {
    /// Reads `text`; messages call the file `file`.
    ///
    /// # Errors
    /// [`AppError::File`] with line and column, or what does not fit.
    pub fn parse(file: &str, text: &str) -> Result<Self, AppError> {
        let fail = |why: String| AppError::File { file: file.to_owned(), why };
        let manifest: Self =
            serde_saphyr::from_str_with_options(text, yaml::options()).map_err(|e| fail(e.to_string()))?;
        if manifest.schema != SCHEMA {
            return Err(fail(format!("`schema` is `{}`; this controller reads `{SCHEMA}`", manifest.schema)));
        }
        let files = manifest.databases.iter().map(|db| (&db.volume, &db.path));
        for (volume, path) in files.chain(manifest.canaries.iter().map(|file| (&file.volume, &file.path))) {
            if !manifest.volumes.contains_key(volume) {
                return Err(fail(format!("`{path}` is said to lie in `{volume}`, which is no volume here")));
            }
            if !is_relative(path) {
                return Err(fail(format!("`{path}` is no path inside a volume (relative, no `..`)")));
            }
        }
        for database in &manifest.databases {
            if !super::compose::is_name(&database.name) {
                return Err(fail(format!("`{}` is no name of a database", database.name)));
            }
        }
        Ok(manifest)
    }
}

/// Whether `path` is relative and stays where it begins.
pub fn is_relative(path: &str) -> bool {
    use std::path::{Component, Path};
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
