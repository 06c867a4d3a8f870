//! What the doctor looks at. What could not be seen is a text that says why: unknown is a finding, too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use felhom_host::{Space, Survey};
use felhom_model::StorageId;
use felhom_pve::{Fingerprint, NodeTime, Permissions, StorageConfig, StorageStatus, VzdumpDefaults};

use crate::setup::{Line, SetupConfig, Wanted};

/// Something seen, or why it was not.
pub(super) type Seen<T> = Result<T, String>;

/// Everything.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) should: Should,
    pub(super) server: Server,
    pub(super) survey: Seen<Survey>,
    /// The certificate in the host's own file.
    pub(super) certificate: Option<Fingerprint>,
    pub(super) clock_is_synchronised: Seen<bool>,
    /// Of the file systems below directory storages.
    pub(super) spaces: BTreeMap<StorageId, Seen<Space>>,
    /// Of the file systems below `/` and the executor's own directory.
    pub(super) folders: Vec<(PathBuf, Seen<Space>)>,
    /// Directories of storages without links in them, by the path that Proxmox has.
    pub(super) real_paths: BTreeMap<PathBuf, PathBuf>,
    /// What set-up would do; only if root@pam's password was given.
    pub(super) setup: Option<Seen<Vec<Line>>>,
}

/// What the configuration asks for.
#[derive(Debug, Clone)]
pub(super) struct Should {
    pub(super) file: PathBuf,
    pub(super) host: SetupConfig,
    pub(super) rights: Wanted,
    pub(super) guest: StorageId,
    pub(super) backup: Vec<StorageId>,
    pub(super) golden: StorageId,
    /// The executor's own directory.
    pub(super) state_dir: PathBuf,
    /// Bytes that must stay free on a storage.
    pub(super) reserve: u64,
}

impl Should {
    /// Whether archives are written to or read from it.
    pub(super) fn holds_archives(&self, storage: &str) -> bool {
        self.golden.as_str() == storage || self.backup.iter().any(|id| id.as_str() == storage)
    }
}

impl Facts {
    /// A storage's directory without links in it.
    pub(super) fn real_path<'a>(&'a self, path: &'a Path) -> &'a Path {
        self.real_paths.get(path).map_or(path, PathBuf::as_path)
    }
}

/// How the Proxmox server answers.
#[derive(Debug, Clone)]
pub(super) enum Server {
    /// It shows another certificate than the pinned one, or none is pinned.
    Shows(Fingerprint),
    /// Nobody answers; why.
    Away(String),
    /// There is no secret to ask with; why.
    NoSecret(String),
    /// It refuses the secret.
    Refuses(String),
    /// It answers.
    Answers(Box<Answers>),
}

/// What it answers.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) version: String,
    pub(super) nodes: Seen<Vec<String>>,
    pub(super) permissions: Seen<Permissions>,
    pub(super) time: Seen<NodeTime>,
    /// This machine's clock before and after it was asked for its own, seconds since 1970.
    pub(super) asked: (u64, u64),
    pub(super) storages: Seen<Vec<StorageStatus>>,
    pub(super) configs: Seen<Vec<StorageConfig>>,
    /// By backup storage.
    pub(super) defaults: BTreeMap<StorageId, Seen<VzdumpDefaults>>,
}
