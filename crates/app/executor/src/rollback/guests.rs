//! The watermark in each tenant, carried by the executor itself: past hub and agent, and past a reboot of the host.
//!
//! A guest keeps bytes that it cannot make: they are signed by this box for itself. One that shows none, old ones or nonsense
//! lowers nothing; one that shows what this database does not have proves that the database is an older one.
//!
//! One of a time that was dealt with says nothing: no signature of then fits any more, whatever was done with it.

use std::collections::BTreeMap;
use std::time::Duration;

use felhom_host::GuestCommand;
use felhom_journal::StepError;
use felhom_model::GuestUuid;
use felhom_protocol::SignedBytes;
use felhom_protocol::local_api::WATERMARK_FILE;
use felhom_signing::{Context, Signed};
use tokio::time::Instant;

use super::ask_anew;
use crate::ledger::Watermark;
use crate::notices::running;
use crate::operations::CONTROLLER;
use crate::services::Services;
use crate::submit::Executor;
use crate::tend::{running_tenants, tenants};

/// A controller answers at once; one that does not must not delay the other guests.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than a signed watermark has.
const LIMIT: usize = 16 << 10;
/// What is written in between comes with the next one.
const PUSH_EVERY: Duration = Duration::from_secs(60);
/// A guest that did not answer is left alone for so long.
const AGAIN: Duration = Duration::from_secs(60);
/// Guests that the host starts after the executor are waited for so long.
const LONGEST: Duration = Duration::from_secs(60);

/// Guests whose watermark this process has read, and what it put there since.
#[derive(Debug, Default)]
pub struct InGuests {
    read: BTreeMap<GuestUuid, Option<(Watermark, Instant)>>,
    /// Not before then.
    later: BTreeMap<GuestUuid, Instant>,
}

/// Before anything goes on that people signed for: where this host had nothing to compare the database with, as after a reboot,
/// its tenants are read as soon as they run, for a minute at most.
pub async fn first_look(executor: &Executor) -> InGuests {
    let mut watermarks = InGuests::default();
    let s = &executor.services;
    let signed = s.journal.active_operations().iter().any(|op| op.authorization.is_some());
    if executor.compared || !signed {
        return watermarks;
    }
    let end = Instant::now() + LONGEST;
    loop {
        let looked = match running_tenants(s).await {
            Ok(running) => {
                watermarks.read(executor, &running.iter().map(|one| one.row.uuid).collect::<Vec<_>>()).await
            }
            Err(e) => Err(e),
        };
        if let Err(e) = looked {
            tracing::warn!(error = %e, "what guests keep of this box is read again");
        }
        let all = tenants(s).is_ok_and(|rows| rows.iter().all(|row| watermarks.read.contains_key(&row.uuid)));
        if all || Instant::now() >= end {
            return watermarks;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

impl InGuests {
    /// Reads what running tenants keep, once in a process.
    ///
    /// # Errors
    /// [`StepError`] if the database cannot be read or written; a guest that does not answer is asked again later.
    pub async fn read(&mut self, executor: &Executor, running: &[GuestUuid]) -> Result<(), StepError> {
        let s = &executor.services;
        let mut read = Vec::new();
        let mut behind = None;
        for guest in running {
            if self.read.contains_key(guest) || self.is_later(*guest) {
                continue;
            }
            match kept_in(s, *guest).await {
                Ok(Some(mark)) => {
                    let why = s.ledger.behind_kept(&mark).map_err(StepError::failed)?;
                    behind = behind.or(why.map(|why| (mark, format!("guest {guest} keeps more: {why}"))));
                }
                Ok(None) => {}
                Err(e) => {
                    tracing::debug!(%guest, error = %e, "its watermark is read again");
                    self.later.insert(*guest, Instant::now() + AGAIN);
                    continue;
                }
            }
            read.push(*guest);
        }
        if let Some((mark, why)) = behind {
            let _weighing = executor.weighing.lock().await;
            ask_anew(executor, Some(&mark), &why).map_err(StepError::failed)?;
        }
        self.read.extend(read.into_iter().map(|guest| (guest, None)));
        Ok(())
    }

    /// Puts into guests that were read how far the database has come.
    ///
    /// # Errors
    /// [`StepError`] if the database cannot be read; a guest that does not take it gets it later.
    pub async fn keep(&mut self, executor: &Executor, free: &[GuestUuid]) -> Result<(), StepError> {
        let s = &executor.services;
        let here = s.ledger.here().map_err(StepError::failed)?;
        // What only ran on has told nobody anything: an audit entry comes with whatever people said.
        let same = |told: &Watermark| (told.epoch, told.audit) == (here.epoch, here.audit);
        for guest in free {
            let Some(told) = self.read.get(guest) else { continue };
            if told.as_ref().is_some_and(|(told, at)| same(told) || at.elapsed() < PUSH_EVERY)
                || self.is_later(*guest)
            {
                continue;
            }
            match keep_in(s, *guest, &here).await {
                Ok(true) => drop(self.read.insert(*guest, Some((here.clone(), Instant::now())))),
                Ok(false) => {}
                Err(e) => {
                    tracing::debug!(%guest, error = %e, "the watermark is kept there later");
                    self.later.insert(*guest, Instant::now() + AGAIN);
                }
            }
        }
        Ok(())
    }

    fn is_later(&self, guest: GuestUuid) -> bool {
        self.later.get(&guest).is_some_and(|then| Instant::now() < *then)
    }
}

/// The watermark that a running guest keeps, if this box signed it.
async fn kept_in(s: &Services, guest: GuestUuid) -> Result<Option<Watermark>, StepError> {
    let transient = |e: &dyn std::fmt::Display| StepError::Transient(e.to_string());
    let Some(run) = running(s, guest).await? else { return Err(transient(&"it does not run")) };
    let command = GuestCommand::new(CONTROLLER, ["watermark"]).with_timeout(PATIENCE).with_limit(LIMIT);
    let output = s.host.exec(run.vmid, &command).await.map_err(|e| transient(&e))?;
    if !output.success() {
        // A controller that knows no such command keeps none.
        tracing::debug!(%guest, code = ?output.code, why = output.stderr_tail(), "it keeps no watermark");
        return Ok(None);
    }
    let opened = serde_json::from_slice::<SignedBytes>(&output.stdout).map_err(|e| e.to_string());
    let opened = opened.and_then(|signed| {
        let key = s.key.public();
        let bytes = Signed::from(signed).verify(&key, Context::Watermark).map_err(|e| e.to_string())?;
        serde_json::from_slice(bytes.get()).map_err(|e| e.to_string())
    });
    Ok(opened.inspect_err(|why| tracing::debug!(%guest, why, "it keeps no watermark of this box")).ok())
}

/// Puts the watermark into a guest; whether it ran.
async fn keep_in(s: &Services, guest: GuestUuid, mark: &Watermark) -> Result<bool, StepError> {
    let Some(run) = running(s, guest).await? else { return Ok(false) };
    s.put_signed(run.vmid, WATERMARK_FILE, Context::Watermark, mark).await?;
    Ok(true)
}
