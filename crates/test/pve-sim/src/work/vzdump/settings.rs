//! What applies to a backup: the call's options, else those of `/etc/vzdump.conf`, else Proxmox VE's (F67, F68); and the target.

use std::path::{Path, PathBuf};

use super::{Mode, VzdumpJob, hook};
use crate::error::ApiError;
use crate::state::Host;
use crate::state::storage::{Storage, Storages};
use crate::state::vzdump_conf::Defaults;
use crate::task::worker::Worker;
use crate::work::compress::Compressor;
use crate::work::prune::Keep;

/// Everything that applies.
#[derive(Debug)]
pub(super) struct Settings {
    /// Mode asked for.
    pub(super) mode: Mode,
    /// Compression.
    pub(super) compressor: Compressor,
    /// KiB a second; 0 is no limit.
    pub(super) bwlimit: u64,
    /// For the log.
    pub(super) ionice: String,
    /// Whether older archives are pruned.
    pub(super) remove: bool,
    /// Mark it.
    pub(super) protected: bool,
    /// With `{{guestname}}` and the like.
    pub(super) notes_template: Option<String>,
    /// Minutes to wait for another backup.
    pub(super) lockwait: u64,
    /// Minutes to wait for a guest to stop.
    pub(super) stopwait: u64,
    /// Patterns to leave out: the host's, then the call's.
    pub(super) exclude_path: Vec<String>,
    /// And the standard ones.
    pub(super) stdexcludes: bool,
    /// Where temporary files go, if not beside the archive.
    pub(super) tmpdir: Option<PathBuf>,
    /// The hook script as the owner wrote it.
    pub(super) script: Option<String>,
    /// Whether it was asked for all guests.
    pub(super) all: bool,
    /// Retention.
    pub(super) keep: Keep,
    /// The target storage's id, unless a directory was given.
    pub(super) storage_id: Option<String>,
    /// The target storage.
    pub(super) storage: Option<Storage>,
    /// Where archives are written; empty until it is known.
    pub(super) dumpdir: PathBuf,
}

/// The simulated host's file system begins at the state directory: what is there is meant, else the path of this machine.
pub(super) fn on_this_machine(host: &Host, path: &str) -> PathBuf {
    let inside = host.dir.root().join(path.trim_start_matches('/'));
    if inside.exists() { inside } else { PathBuf::from(path) }
}

impl Settings {
    /// Merges, runs the hook `job-init` and activates the target.
    ///
    /// # Errors
    /// Everything that is wrong with the hook, the target and the temporary directory, one a line (rec 254).
    pub(super) fn prepare(worker: &mut Worker, job: &VzdumpJob) -> Result<Self, ApiError> {
        let defaults = Defaults::load(&worker.host)?;
        let mut settings = Self::merge(&worker.host, job, &defaults)?;
        let mut errors: Vec<String> = Vec::new();
        if let Err(error) = hook::outer(worker, &settings, "job-init") {
            errors.push(error.message);
        }
        if let Some(id) = settings.storage_id.clone() {
            let storages = Storages::load(&worker.host)?;
            let activated = storages.get(&id).and_then(|s| s.activate(&worker.host));
            if let Err(error) = activated {
                errors.push(format!("could not activate storage '{id}': {}", error.message));
            }
            match information(&storages, &id) {
                Ok(storage) => {
                    settings.dumpdir = storage.dump_dir();
                    settings.storage = Some(storage.clone());
                }
                Err(error) => {
                    let text = format!("could not get storage information for '{id}': {}", error.message);
                    errors.push(text);
                }
            }
        } else if !settings.dumpdir.is_dir() {
            let given = job.given.get("dumpdir").cloned().or_else(|| defaults.get("dumpdir"));
            errors.push(format!("dumpdir '{}' does not exist", given.unwrap_or_default()));
        }
        let of_storage = settings.storage.as_ref().and_then(|s| s.options.get("prune-backups").cloned());
        let keep = job.given.get("prune-backups").cloned().or(of_storage).or(defaults.get("prune-backups"));
        settings.keep = Keep::parse(&keep.unwrap_or_default());
        settings.remove &= !settings.keep.everything();
        if let Some(tmpdir) = settings.tmpdir.as_ref().filter(|t| !t.is_dir()) {
            errors.push(format!("tmpdir '{}' does not exist", tmpdir.display()));
        }
        if errors.is_empty() { Ok(settings) } else { Err(ApiError::die(errors.join("\n"))) }
    }

    fn merge(host: &Host, job: &VzdumpJob, defaults: &Defaults) -> Result<Self, ApiError> {
        let get = |name: &str| job.given.get(name).cloned().or_else(|| defaults.get(name));
        let flag = |name: &str| get(name).as_deref() == Some("1");
        let number = |name: &str| get(name).and_then(|v| v.parse::<u64>().ok()).unwrap_or_default();
        let signed = |name: &str| get(name).and_then(|v| v.parse::<i64>().ok()).unwrap_or_default();
        // `storage` and `dumpdir` of the file count only if neither was passed.
        let passed = ["storage", "dumpdir"].iter().any(|n| job.given.contains_key(*n));
        let place = |name: &str| if passed { job.given.get(name).cloned() } else { get(name) };
        let dumpdir = place("dumpdir").map(|d| d.trim_end_matches('/').to_owned());
        let storage_id = match (place("storage"), &dumpdir) {
            (Some(_), Some(_)) => {
                return Err(ApiError::die("cannot use options 'storage' and 'dumpdir' at the same time"));
            }
            (None, None) => Some("local".to_owned()),
            (storage, _) => storage,
        };
        let tmpdir = get("tmpdir").map(|t| on_this_machine(host, t.trim_end_matches('/')));
        Ok(Self {
            mode: Mode::parse(&get("mode").unwrap_or_default()),
            compressor: Compressor::choose(
                &get("compress").unwrap_or_default(),
                signed("zstd"),
                signed("pigz"),
            ),
            bwlimit: number("bwlimit"),
            ionice: get("ionice").unwrap_or_default(),
            remove: flag("remove"),
            protected: flag("protected") && storage_id.is_some(),
            notes_template: get("notes-template").filter(|t| !t.is_empty() && storage_id.is_some()),
            lockwait: number("lockwait"),
            stopwait: number("stopwait"),
            exclude_path: defaults.exclude_path().iter().chain(&job.exclude_path).cloned().collect(),
            stdexcludes: flag("stdexcludes"),
            tmpdir,
            script: get("script"),
            all: flag("all"),
            keep: Keep::default(),
            dumpdir: dumpdir.map(|d| on_this_machine(host, &d)).unwrap_or_default(),
            storage_id,
            storage: None,
        })
    }

    /// A path of this machine as the node has it.
    pub(super) fn shown(&self, host: &Host, path: &Path) -> String {
        match (&self.storage, path.strip_prefix(host.dir.root())) {
            (Some(storage), _) if path.starts_with(&storage.path) => storage.shown(path),
            (_, Ok(inside)) => format!("/{}", inside.display()),
            _ => path.display().to_string(),
        }
    }

    /// `STORE:backup/FILE`, or the file's path if there is no storage.
    pub(super) fn volid(&self, host: &Host, path: &Path) -> String {
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        match &self.storage_id {
            Some(id) => format!("{id}:backup/{file}"),
            None => self.shown(host, path),
        }
    }
}

/// rec 254, 416.
fn information<'a>(storages: &'a Storages, id: &str) -> Result<&'a Storage, ApiError> {
    let storage = storages.get(id)?;
    if storage.holds("backup") {
        Ok(storage)
    } else {
        Err(ApiError::die(format!("can't use storage '{id}' for backups - wrong content type")))
    }
}
