//! What was written, by digest, and which users were made: `/var/lib/felhom/install-PART.json`,
//! `{"v": 1, "files": {PATH: SHA-256}, "users": [NAME]}`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use felhom_host::Host;
use felhom_model::Digest;
use serde::{Deserialize, Serialize};

use super::{InstallError, Part};

/// The record's file format.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    v: u32,
    files: BTreeMap<PathBuf, Digest>,
    #[serde(default)]
    users: BTreeSet<String>,
}

fn path(part: Part) -> PathBuf {
    format!("/var/lib/felhom/install-{}.json", part.name()).into()
}

impl Record {
    /// What was written before; nothing, if nothing was installed.
    pub(super) fn read(host: &Host, part: Part) -> Result<Self, InstallError> {
        let path = path(part);
        let Some(bytes) = host.own_file(&path)? else {
            return Ok(Self { v: VERSION, files: BTreeMap::new(), users: BTreeSet::new() });
        };
        let unusable = |why: String| InstallError::File { path: path.clone(), why };
        let record: Self = serde_json::from_slice(&bytes).map_err(|e| unusable(e.to_string()))?;
        if record.v != VERSION {
            return Err(unusable(format!("version {} is from a newer program", record.v)));
        }
        Ok(record)
    }

    pub(super) fn written(&self, path: &Path) -> Option<Digest> {
        self.files.get(path).copied()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// After the file itself: run again, a file that is as it should be is noted, and one of before would count as edited.
    pub(super) fn note(
        &mut self,
        host: &Host,
        part: Part,
        file: &Path,
        digest: Digest,
    ) -> Result<(), InstallError> {
        self.files.insert(file.to_owned(), digest);
        self.keep(host, part)
    }

    pub(super) fn forget(&mut self, host: &Host, part: Part, file: &Path) -> Result<(), InstallError> {
        self.files.remove(file);
        self.keep(host, part)
    }

    /// Whether nothing was installed, or nothing of it is left.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.users.is_empty()
    }

    /// Whether this user was made by us.
    pub(super) fn made(&self, user: &str) -> bool {
        self.users.contains(user)
    }

    /// After it was made: what is not noted is not removed.
    pub(super) fn note_user(&mut self, host: &Host, part: Part, user: &str) -> Result<(), InstallError> {
        self.users.insert(user.to_owned());
        self.keep(host, part)
    }

    pub(super) fn forget_user(&mut self, host: &Host, part: Part, user: &str) -> Result<(), InstallError> {
        self.users.remove(user);
        self.keep(host, part)
    }

    fn keep(&self, host: &Host, part: Part) -> Result<(), InstallError> {
        if self.is_empty() {
            return Ok(host.remove_own(&path(part))?);
        }
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        Ok(host.place_own(&path(part), &text, 0o644)?)
    }
}
