//! Heartbeat, due backups, and what was proven.

use super::caller::Caller;
use super::{Api, Refusal};
use crate::ask;
use crate::store::Due;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use felhom_model::backup::PROVEN;
use felhom_protocol::SignedBytes;
use felhom_protocol::local_api::{BackupDue, Heartbeat, HeartbeatAnswer, RestoreTestStatus};
use felhom_protocol::receipt::{Receipt, SignedReceipt};
use felhom_protocol::status::Archive;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A long poll takes at most this many seconds.
pub(super) const LONGEST_S: u32 = 60;

/// `POST /v1/heartbeat`: the executor verifies the signature; what it says is shown.
pub(super) async fn heartbeat(
    State(api): State<Api>,
    caller: Caller,
    Json(signed): Json<SignedBytes>,
) -> Result<Json<HeartbeatAnswer>, Refusal> {
    let malformed = |e: serde_json::Error| {
        Refusal::new(StatusCode::BAD_REQUEST, "malformed", format!("this is no heartbeat: {e}"))
    };
    let heartbeat: Heartbeat = serde_json::from_slice(&signed.bytes).map_err(malformed)?;
    if heartbeat.guest != caller.guest {
        return Err(Refusal::not_yours());
    }
    api.shared.executor.heartbeat(&signed).await?;
    let now = api.shared.now();
    let mut summary = heartbeat.summary;
    summary.received = Some(now);
    api.shared.set_heartbeat(caller.guest, summary);
    let held = api.shared.store.held().map_err(Refusal::internal)?;
    let desired =
        held.iter().flat_map(|held| &held.merged.guests).find(|g| Some(&g.name) == caller.name.as_ref());
    let told = api.shared.view().guest(caller.guest).map(|guest| guest.apps.clone()).unwrap_or_default();
    // Only what the guest was made with: an app that was added later needs a deployment, which is another operation.
    let apps = match desired.and_then(|guest| guest.apps.clone()) {
        Some(apps) => apps.into_iter().filter(|app| told.contains(app)).collect(),
        None => told,
    };
    let backup_due = open_due(&api, &caller).await?.is_some();
    Ok(Json(HeartbeatAnswer { time: now, apps, backup_due, next_s: api.shared.config.heartbeat_s }))
}

/// A wait in seconds.
#[derive(Debug, Deserialize)]
pub(super) struct Wait {
    #[serde(default)]
    wait_s: u32,
}

/// `GET /v1/backup/due`: answers as soon as a backup is due, or when the wait is over.
pub(super) async fn backup_due(
    State(api): State<Api>,
    caller: Caller,
    Query(wait): Query<Wait>,
) -> Result<Json<BackupDue>, Refusal> {
    let end = Instant::now() + Duration::from_secs(wait.wait_s.min(LONGEST_S).into());
    let mut changes = api.shared.changes();
    loop {
        if let Some(due) = open_due(&api, &caller).await? {
            let (request_id, reason) = (Some(due.request_id), Some(due.reason));
            return Ok(Json(BackupDue { due: true, request_id, reason }));
        }
        if !matches!(timeout_at(end, changes.changed()).await, Ok(Ok(()))) {
            return Ok(Json(BackupDue { due: false, request_id: None, reason: None }));
        }
    }
}

/// The backup of this guest that is due and not over.
pub(super) async fn open_due(api: &Api, caller: &Caller) -> Result<Option<Due>, Refusal> {
    let Some(due) = api.shared.store.due_of(caller.guest).map_err(Refusal::internal)? else {
        return Ok(None);
    };
    let Some(id) = due.operation else { return Ok(Some(due)) };
    let operation = ask::find(&api.shared, id).await.map_err(Refusal::internal)?;
    Ok(operation.is_some_and(|operation| !operation.state.is_final()).then_some(due))
}

/// `GET /v1/restore-test/status`.
pub(super) async fn restore_test_status(State(api): State<Api>, caller: Caller) -> Json<RestoreTestStatus> {
    let view = api.shared.view();
    let archives = view.observation.iter().flat_map(|seen| &seen.archives);
    let mine: Vec<&Archive> =
        archives.filter(|archive| archive.guest == caller.guest && archive.present).collect();
    let newest = |archives: &mut dyn Iterator<Item = &&Archive>| {
        archives.max_by_key(|archive| archive.taken_at).map(|archive| (*archive).clone())
    };
    let is_mine = |signed: &&SignedReceipt| {
        serde_json::from_str::<Receipt>(&signed.document).is_ok_and(|receipt| receipt.guest == caller.guest)
    };
    Json(RestoreTestStatus {
        last_backup: newest(&mut mine.iter()),
        last_proven: newest(&mut mine.iter().filter(|a| a.proven_level.is_some_and(|level| level >= PROVEN))),
        receipt: view.receipts.iter().find(is_mine).cloned(),
    })
}
