//! Notices that the executor pushed, and the answers that it fetches.

use super::{Customer, CustomerError};
use crate::{files, paths::Paths};
use felhom_model::GuestUuid;
use felhom_protocol::{
    SignedBytes,
    local_api::Bootstrap,
    notices::{Acknowledged, Answers, NOTICES_VERSION, Notice, Notices},
};
use felhom_signing::{Context, Key, Signed, consent::Armored};
use std::{io, io::Write, path::PathBuf, sync::PoisonError};

/// Of each kind of answer the newest are kept; the executor reads them within seconds.
const KEPT: usize = 64;
/// Vetoes are larger, and there are never so many.
const VETOES: usize = 16;

fn answers_file(paths: &Paths) -> PathBuf {
    paths.state().join("answers.json")
}

/// Prints the signed answers, or nothing where there are none: the executor calls this by `pct exec`.
///
/// # Errors
/// When they cannot be read or printed.
pub fn print_answers(paths: &Paths, output: &mut impl Write) -> io::Result<()> {
    match std::fs::read(answers_file(paths)) {
        Ok(bytes) => output.write_all(&bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(files::about("reading", &answers_file(paths), &e)),
    }
}

/// The notices that lie there. `None` if there are none, or they are just being written.
pub fn read(paths: &Paths) -> Option<Result<Notices, String>> {
    let bootstrap: Bootstrap = files::read_json(&paths.bootstrap()).ok()??;
    let signed: SignedBytes = files::read_json(&paths.notices()).ok()??;
    let verified = Signed::from(signed).verify(&bootstrap.attestation_key, Context::Notices);
    let read = verified.map_err(|e| e.to_string()).and_then(|bytes| {
        let notices: Notices = serde_json::from_slice(bytes.get()).map_err(|e| e.to_string())?;
        if notices.v != NOTICES_VERSION || notices.guest != bootstrap.guest {
            return Err("they are another guest's, or of another version".to_owned());
        }
        Ok(notices)
    });
    Some(read)
}

fn answers(paths: &Paths, key: &Key) -> Option<Answers> {
    let signed: SignedBytes = files::read_json(&answers_file(paths)).ok()??;
    let bytes = Signed::from(signed).verify(&key.public(), Context::Answers).ok()?;
    serde_json::from_slice(bytes.get()).ok()
}

impl Customer {
    /// All that the box tells; an error text where it is not the box's.
    pub fn told(&self) -> Option<Result<Notices, String>> {
        read(&self.paths)
    }

    /// What the customer has not acknowledged yet.
    ///
    /// # Errors
    /// What is wrong with the notices, for an alarm.
    pub fn unseen(&self) -> Result<Vec<Notice>, String> {
        let Some(told) = self.told() else { return Ok(Vec::new()) };
        let seen = answers(&self.paths, &self.key).map(|answers| answers.acknowledged).unwrap_or_default();
        let unseen = |notice: &Notice| !seen.contains(&notice.acknowledged());
        Ok(told?.notices.into_iter().filter(unseen).collect())
    }

    /// The same, and what can still be vetoed though it was seen.
    ///
    /// # Errors
    /// As [`Self::unseen`].
    pub fn unseen_or_open(&self) -> Result<Vec<Notice>, String> {
        let unseen = self.unseen()?;
        let Some(told) = self.told() else { return Ok(unseen) };
        let shown = |notice: &Notice| notice.stage.can_be_vetoed() || unseen.contains(notice);
        Ok(told?.notices.into_iter().filter(shown).collect())
    }

    /// The customer has seen a notice.
    ///
    /// # Errors
    /// [`CustomerError::Gone`] if it is none that the box tells; else that it cannot be kept.
    pub fn acknowledge(&self, seen: Acknowledged) -> Result<(), CustomerError> {
        let Some(Ok(told)) = self.told() else { return Err(CustomerError::Gone) };
        if !told.notices.iter().any(|notice| notice.acknowledged() == seen) {
            return Err(CustomerError::Gone);
        }
        self.answer(told.guest, |answers| {
            answers.acknowledged.retain(|kept| *kept != seen);
            answers.acknowledged.push(seen);
        })
    }

    pub(super) fn keep_veto(&self, guest: GuestUuid, veto: &Armored) -> Result<(), CustomerError> {
        self.answer(guest, |answers| answers.vetoes.push(veto.clone()))
    }

    fn answer(&self, guest: GuestUuid, change: impl FnOnce(&mut Answers)) -> Result<(), CustomerError> {
        let _writing = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = answers(&self.paths, &self.key).filter(|answers| answers.guest == guest);
        let mut answers = kept.unwrap_or(Answers {
            v: NOTICES_VERSION,
            guest,
            acknowledged: Vec::new(),
            vetoes: Vec::new(),
        });
        change(&mut answers);
        let spare = answers.acknowledged.len().saturating_sub(KEPT);
        answers.acknowledged.drain(..spare);
        let spare = answers.vetoes.len().saturating_sub(VETOES);
        answers.vetoes.drain(..spare);
        let bytes = serde_json::to_vec(&answers).map_err(io::Error::from)?;
        let signed: SignedBytes = Signed::new(&self.key, Context::Answers, bytes).into();
        Ok(files::write_json(&answers_file(&self.paths), &signed)?)
    }
}
