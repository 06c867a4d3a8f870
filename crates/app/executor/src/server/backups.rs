//! The handshake of a quiesced backup, as the agent forwards it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use felhom_journal::{Operation as Journaled, StepState};
use felhom_model::OperationKind;
use felhom_protocol::SignedBytes;
use felhom_protocol::local_api::{BackupPhase, BackupStatus, Frozen, Thawed};
use felhom_signing::{Context, Signed};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::answer::Failure;
use super::operations::find;
use crate::ledger::FreezeRow;
use crate::marks::from_journal;
use crate::request::Request;
use crate::submit::Executor;
use crate::wire::{backup_phase, backup_status};

const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
pub(super) struct Wait {
    after: Option<BackupPhase>,
    #[serde(default)]
    wait_s: u64,
}

fn backup(executor: &Executor, id: &str) -> Result<Journaled, Failure> {
    let op = find(executor, id)?;
    if op.new.body.kind == OperationKind::BackupGuest.name() {
        return Ok(op);
    }
    Err(Failure::not_found("no_backup", &format!("operation {id} is `{}`, not a backup", op.new.body.kind)))
}

pub(super) async fn status(
    State(executor): State<Arc<Executor>>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Json<BackupStatus>, Failure> {
    let mut notices = executor.services.journal.subscribe();
    let longest = Duration::from_secs(wait.wait_s).min(LONGEST_WAIT);
    let deadline = tokio::time::Instant::now() + longest;
    loop {
        let op = backup(&executor, &id)?;
        let phase = backup_phase(&op);
        let past = wait.after.is_none_or(|after| phase > after) || phase.is_final();
        if past {
            return Ok(Json(backup_status(&op, &executor.services.key)));
        }
        match tokio::time::timeout_at(deadline, notices.recv()).await {
            Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
            Ok(Err(RecvError::Closed)) | Err(_) => {
                return Ok(Json(backup_status(&op, &executor.services.key)));
            }
        }
    }
}

pub(super) async fn frozen(
    State(executor): State<Arc<Executor>>,
    Path(id): Path<String>,
    Json(signed): Json<SignedBytes>,
) -> Result<Json<BackupStatus>, Failure> {
    let op = backup(&executor, &id)?;
    let request = Request::of(&op).map_err(|why| Failure::internal(&why))?;
    let guest = request.chosen.guest.ok_or_else(|| Failure::internal("the backup names no guest"))?;
    let frozen: Frozen = verified(&executor, guest, Context::Frozen, signed)?;
    if frozen.id != from_journal(op.id()) || frozen.guest != guest {
        return Err(Failure::forbidden("other_backup", "what was signed names another backup or guest"));
    }
    // Who comes too late must not freeze on: the executor does not wait for it any more.
    let waits = op.steps.first().is_some_and(|s| s.state == StepState::Intended);
    let known = executor.services.ledger.freeze(frozen.id)?.frozen.is_some();
    if !waits && !known {
        let text = "the backup goes on without a freeze; let the apps run";
        return Err(Failure::conflict("too_late", text));
    }
    let now = executor.services.now();
    executor
        .services
        .ledger
        .record_freeze(frozen.id, FreezeRow { frozen: Some((frozen, now)), thawed: None })?;
    executor.services.tell();
    Ok(Json(backup_status(&backup(&executor, &id)?, &executor.services.key)))
}

pub(super) async fn thawed(
    State(executor): State<Arc<Executor>>,
    Path(id): Path<String>,
    Json(thawed): Json<Thawed>,
) -> Result<Json<BackupStatus>, Failure> {
    let op = backup(&executor, &id)?;
    let services = &executor.services;
    let operation = from_journal(op.id());
    let snapshotted = backup_phase(&op) >= BackupPhase::Snapshotted;
    let held = thawed.held && snapshotted;
    services
        .ledger
        .record_freeze(operation, FreezeRow { frozen: None, thawed: Some((thawed, services.now())) })?;
    if !held {
        services.ledger.not_quiesced(operation)?;
    }
    services.tell();
    Ok(Json(backup_status(&op, &services.key)))
}

/// Reads a document that a guest signed with the key that the executor itself read out of it.
pub(super) fn verified<T: serde::de::DeserializeOwned>(
    executor: &Executor,
    guest: felhom_model::GuestUuid,
    context: Context,
    signed: SignedBytes,
) -> Result<T, Failure> {
    let row = executor.services.ledger.guest(guest)?;
    let key = row.and_then(|row| row.detail.key);
    let key =
        key.ok_or_else(|| Failure::forbidden("unknown_guest", "no guest of this box with a known key"))?;
    let bytes = Signed::from(signed)
        .verify(&key, context)
        .map_err(|e| Failure::forbidden("bad_signature", &e.to_string()))?;
    serde_json::from_slice(bytes.get()).map_err(|e| Failure::bad("malformed_document", &e.to_string()))
}
