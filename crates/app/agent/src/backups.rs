//! Backups that are due: offered to the guest's controller by the local API, made without it if it does not answer in time.
//!
//! `due` (kept) → the controller asks, or the wait is over → executor's operation (noted) → over (forgotten). The request's
//! id is the same all the way, so whoever asks twice gets the same operation.

use crate::ask::{self, PassError};
use crate::shared::Shared;
use crate::store::Due;
use felhom_planner::schedule::DueBackup;
use felhom_protocol::executor::{BackupParams, OperationRequest};
use felhom_protocol::hub_sync::JobReport;
use felhom_protocol::status;
use jiff::SignedDuration;

/// The schedule says that a backup is due.
pub(crate) fn scheduled(shared: &Shared, due: DueBackup) -> Result<(), PassError> {
    let offered = shared.store.offer(&Due {
        guest: due.guest,
        request_id: due.key,
        target: due.target,
        reason: due.reason.clone(),
        asked_by: "schedule".to_owned(),
        wish: Some(due.wish),
        job: None,
        since: shared.now(),
        operation: None,
    })?;
    if offered {
        tracing::info!(guest = %due.guest, "a backup is due: {}", due.reason);
        shared.tell();
    }
    Ok(())
}

/// Asks the executor for a backup that is due.
pub(crate) async fn begin(
    shared: &Shared,
    due: &Due,
    quiesced: bool,
) -> Result<status::Operation, PassError> {
    let params = BackupParams { guest: due.guest, target: due.target.clone(), quiesced };
    let request = OperationRequest {
        request_id: due.request_id.clone(),
        kind: "backup_guest".to_owned(),
        params: serde_json::to_value(params).map_err(PassError::Json)?,
        reason: due.reason.clone(),
        asked_by: due.asked_by.clone(),
    };
    let operation = ask::patient(ask::PATIENCE, || shared.executor.request(&request)).await?;
    tracing::info!(id = %operation.id, state = %operation.state, quiesced, "backup: {}", due.reason);
    if due.operation.is_none() {
        if let Some(wish) = &due.wish {
            shared.store.begun(wish, operation.id)?;
        }
        shared.store.due_began(&due.request_id, operation.id)?;
    }
    Ok(operation)
}

/// Makes the backups whose controller did not ask in time, or whose guest does not run.
pub(crate) async fn without_controller(shared: &Shared) -> Result<(), PassError> {
    let (now, view) = (shared.now(), shared.view());
    let longest = SignedDuration::from_secs(shared.config.quiesce_wait_s.into());
    for due in shared.store.due()?.iter().filter(|due| due.operation.is_none()) {
        let runs = view.guest(due.guest).is_some_and(|guest| guest.power == "running");
        let waited = now.duration_since(due.since);
        if !runs || waited >= longest || waited < SignedDuration::ZERO {
            match begin(shared, due, false).await {
                Err(PassError::Executor(error)) if ask::busy(&error) => {}
                other => drop(other?),
            }
        }
    }
    Ok(())
}

/// Ties jobs to the operations of their backups, and forgets what is over.
pub(crate) async fn note(shared: &Shared) -> Result<(), PassError> {
    for due in shared.store.due()? {
        let Some(id) = due.operation else { continue };
        if let Some(job) = due.job {
            let message = "the backup is under way".to_owned();
            let (state, operation) = ("running".to_owned(), Some(id));
            shared.store.note_job(&JobReport { id: job, state, message, operation })?;
        }
        if ask::ended(shared, id).await?.is_some() {
            shared.store.due_over(&due.request_id)?;
        }
    }
    Ok(())
}
