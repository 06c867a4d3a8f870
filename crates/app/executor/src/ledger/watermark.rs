//! The watermark: how far the database had come, in a file beside the socket that no copy of the database brings back. Guests
//! keep it as well ([`crate::rollback`]).
//!
//! It lies on a file system that a reboot empties, as challenges are void then anyway. It only ever rises, but for
//! [`Ledger::replace_watermark`] once a database that was behind it has been dealt with.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use felhom_journal::StoreError;
use felhom_signing::audit::Tip;
use serde::{Deserialize, Serialize};

use super::{DEALT_WITH, EPOCH, Ledger};
use crate::keys::write_secret;

/// How far a database had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The enrolment epoch.
    pub epoch: u64,
    /// The number of the journal's last event.
    pub journal: u64,
    /// Where the audit log ended.
    pub audit: Tip,
}

/// The file.
#[derive(Debug)]
pub(super) struct WatermarkFile {
    path: PathBuf,
    writing: Mutex<()>,
}

impl WatermarkFile {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, writing: Mutex::new(()) }
    }
}

impl Ledger {
    /// What an earlier process kept; `Err` says why it cannot be read. Nothing after a reboot.
    #[must_use]
    pub fn kept_watermark(&self) -> Option<Result<Watermark, String>> {
        let bytes = match fs::read(&self.watermark.as_ref()?.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => return Some(Err(e.to_string())),
        };
        Some(serde_json::from_slice(&bytes).map_err(|e| e.to_string()))
    }

    /// What of `mark` this database does not have, in words; nothing if it has come at least as far.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn behind(&self, mark: &Watermark) -> Result<Option<String>, StoreError> {
        let here = self.here()?;
        if here.journal < mark.journal {
            let text =
                format!("its journal ends with event {}, event {} was written", here.journal, mark.journal);
            return Ok(Some(text));
        }
        if here.audit.seq < mark.audit.seq {
            let (here, there) = (here.audit.seq, mark.audit.seq);
            return Ok(Some(format!("its audit log ends with entry {here}, entry {there} was written")));
        }
        if mark.audit != Tip::BEGINNING && self.audit_hash(mark.audit.seq)? != Some(mark.audit.hash) {
            return Ok(Some(format!("its audit log has another entry {}", mark.audit.seq)));
        }
        let (here, there) = (here.epoch, mark.epoch);
        Ok((here < there).then(|| format!("its enrolment epoch is {here}, it was {there}")))
    }

    /// How often this box was enrolled, or found its database older than what it had done.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn epoch(&self) -> Result<u64, StoreError> {
        Ok(self.setting(EPOCH)?.unwrap_or(1))
    }

    /// The number of the last journaled event; 0 if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        self.store.last_event()
    }

    /// Like [`Ledger::behind`], of a watermark that was kept at some time: nothing if it is of a time that was dealt with.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn behind_kept(&self, mark: &Watermark) -> Result<Option<String>, StoreError> {
        let from: u64 = self.setting(DEALT_WITH)?.unwrap_or(0);
        if mark.epoch < from { Ok(None) } else { self.behind(mark) }
    }

    /// How far the database has come.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn here(&self) -> Result<Watermark, StoreError> {
        Ok(Watermark { epoch: self.epoch()?, journal: self.last_event()?, audit: self.audit_tip()? })
    }

    /// Raises the watermark to where the database is. One that is ahead of the database stays, for the next start to see. A
    /// file that cannot be written is no reason to stop: the watermark stays lower than it could be.
    pub fn keep_watermark(&self) {
        if let Some(file) = &self.watermark
            && let Err(why) = self.write_watermark(file, false)
        {
            tracing::error!(file = %file.path.display(), why, "the watermark was not kept");
        }
    }

    /// Puts the watermark where the database is, also if that is lower.
    pub fn replace_watermark(&self) {
        if let Some(file) = &self.watermark
            && let Err(why) = self.write_watermark(file, true)
        {
            tracing::error!(file = %file.path.display(), why, "the watermark was not kept");
        }
    }

    fn write_watermark(&self, file: &WatermarkFile, lower: bool) -> Result<(), String> {
        let _writing = file.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !lower {
            match self.kept_watermark() {
                None => {}
                Some(Ok(mark)) => {
                    if let Some(behind) = self.behind(&mark).map_err(|e| e.to_string())? {
                        return Err(format!("the database is behind it: {behind}"));
                    }
                }
                Some(Err(why)) => return Err(why),
            }
        }
        let here = self.here().map_err(|e| e.to_string())?;
        let text = serde_json::to_vec(&here).map_err(|e| e.to_string())?;
        write_secret(&file.path, &text).map_err(|e| e.to_string())
    }
}
