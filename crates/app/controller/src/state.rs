//! What outlives a restart: the apps to run, the last backup, the last proven restore; and what does not: how the link
//! to the box stands.

use crate::{files, link::proof::Proofs, paths::Paths};
use felhom_model::{AppName, OperationId};
use felhom_protocol::local_api::{AppDowntime, BackupPhase};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The last backup as this guest saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// The executor's operation.
    pub id: OperationId,
    /// The key of the request that it answered.
    #[serde(default)]
    pub request_id: String,
    /// How far it is.
    pub phase: BackupPhase,
    /// When it was asked for.
    pub asked: Timestamp,
    /// First pause to last resume, milliseconds; `None` while it is not over or where nothing was frozen.
    pub downtime_ms: Option<u64>,
    /// Per app.
    pub apps: Vec<AppDowntime>,
    /// Whether the freeze held until the thaw.
    pub held: bool,
    /// What went wrong.
    pub message: Option<String>,
}

/// How the link to the box stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LinkState {
    /// When the box last answered.
    pub last_answer: Option<Timestamp>,
    /// Why it does not, since then, for programs and for texts in several languages.
    pub reason: Option<NoLink>,
    /// The same with all details, in English.
    pub error: Option<String>,
}

/// Why there is no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoLink {
    /// The executor has pushed nothing in this boot; for a copy it never does.
    NotBootstrapped,
    /// The guest's network link is down.
    LinkDown,
    /// What was pushed, or the state directory, cannot be used.
    Unusable,
    /// The box does not answer, or refuses.
    NoAnswer,
}

/// What was kept and what is known now. Shared by link, page and reconciler.
#[derive(Debug)]
pub struct State {
    paths: Paths,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    apps: BTreeSet<AppName>,
    backup: Option<BackupRecord>,
    proofs: Proofs,
    link: LinkState,
}

/// The apps to run, as they were kept.
///
/// # Errors
/// When they are there and cannot be read.
pub fn kept_apps(paths: &Paths) -> io::Result<BTreeSet<AppName>> {
    Ok(files::read_json(&apps_file(paths))?.unwrap_or_default())
}

fn apps_file(paths: &Paths) -> PathBuf {
    paths.state().join("apps.json")
}

fn backup_file(paths: &Paths) -> PathBuf {
    paths.state().join("last-backup.json")
}

fn proofs_file(paths: &Paths) -> PathBuf {
    paths.state().join("proofs.json")
}

impl State {
    /// Reads what was kept.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn load(paths: &Paths) -> io::Result<Self> {
        let inner = Inner {
            apps: kept_apps(paths)?,
            backup: files::read_json(&backup_file(paths))?,
            proofs: files::read_json(&proofs_file(paths))?.unwrap_or_default(),
            link: LinkState::default(),
        };
        Ok(Self { paths: paths.clone(), inner: Mutex::new(inner) })
    }

    /// Forgets a backup that is not over, at the first start of a boot: it is that of the guest whose snapshot this one was
    /// restored from, or ended with the boot before. Whoever went on with it would speak for another.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_unfinished_backup(&self) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.backup.take_if(|backup| !backup.phase.is_final()).is_some() {
            files::remove(&backup_file(&self.paths))?;
        }
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The apps to run.
    pub fn apps(&self) -> BTreeSet<AppName> {
        self.inner().apps.clone()
    }

    /// Adds apps to run. One that is not named any more is not stopped: absence means nothing.
    ///
    /// # Errors
    /// When they cannot be kept.
    pub fn add_apps(&self, apps: &[AppName]) -> io::Result<()> {
        let mut inner = self.inner();
        let before = inner.apps.len();
        inner.apps.extend(apps.iter().cloned());
        if inner.apps.len() == before {
            return Ok(());
        }
        files::write_json(&apps_file(&self.paths), &inner.apps)
    }

    /// The last backup.
    pub fn backup(&self) -> Option<BackupRecord> {
        self.inner().backup.clone()
    }

    /// Keeps the last backup. That it cannot be written is told, not an error: the backup itself is the box's.
    pub fn set_backup(&self, record: BackupRecord) {
        if let Err(e) = files::write_json(&backup_file(&self.paths), &record) {
            tracing::error!("{e}");
        }
        self.inner().backup = Some(record);
    }

    /// What is believed of backups and proofs.
    pub fn proofs(&self) -> Proofs {
        self.inner().proofs.clone()
    }

    /// Keeps it.
    pub fn set_proofs(&self, proofs: Proofs) {
        let mut inner = self.inner();
        if inner.proofs == proofs {
            return;
        }
        if let Err(e) = files::write_json(&proofs_file(&self.paths), &proofs) {
            tracing::error!("{e}");
        }
        inner.proofs = proofs;
    }

    /// How the link stands.
    pub fn link(&self) -> LinkState {
        self.inner().link.clone()
    }

    /// The box answered.
    pub fn answered(&self, now: Timestamp) {
        self.inner().link = LinkState { last_answer: Some(now), reason: None, error: None };
    }

    /// It did not.
    pub fn unanswered(&self, reason: NoLink, why: String) {
        let link = &mut self.inner().link;
        (link.reason, link.error) = (Some(reason), Some(why));
    }
}
