//! A quiesced backup, from the guest's side.
//!
//! ```text
//! due ──▶ dumps (apps run) ──▶ POST backup ──▶ wait: granted ──▶ freeze ──▶ POST frozen ──▶ wait: snapshotted
//!                                                                                                │
//!                                             follow to the end ◀── POST thawed ◀── thaw ◀───────┘
//! ```
//! Nothing is frozen before `granted`, nor longer than the lease. Whatever goes wrong after the freeze thaws first and is
//! told afterwards.

use super::{Session, Sessions};
use crate::{
    app::Catalogue,
    paths::Paths,
    quiesce::{Freezer, Frozen, dump},
    state::{BackupRecord, State},
};
use felhom_model::OperationId;
use felhom_protocol::local_api::{self, BackupPhase, BackupRequest, BackupStatus, Thawed};
use felhom_signing::{Context, Key, Signature, Signed};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};

/// Between two tries while there is no link.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two tries while the apps stand still: each of them is downtime.
const SOON: Duration = Duration::from_millis(100);
/// How long one long poll may take, in seconds.
const WAIT_S: u32 = 30;
/// How often reporting the thaw is tried.
const TELL_TRIES: u32 = 20;

/// Backs the guest up when the box says that it is due.
pub struct Backups {
    /// Where to ask.
    pub sessions: Arc<Sessions>,
    /// Freezes the apps.
    pub freezer: Freezer,
    /// What is kept.
    pub state: Arc<State>,
    /// The guest key.
    pub key: Arc<Key>,
}

/// Why a backup did not go as it should. The apps run.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error("{0}")]
    Call(#[from] felhom_client::Error),
    #[error("{0}")]
    Freeze(#[from] crate::quiesce::freeze::FreezeError),
    #[error("the box says `{phase:?}` without the executor's signature; nothing was frozen")]
    Unsigned { phase: BackupPhase },
    #[error("`frozen` could not be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the box did not say that the snapshot was taken before the freeze had to end")]
    NoSnapshot,
}

impl Backups {
    /// Waits for backups and makes them, for ever.
    pub async fn run(self) {
        while let Some(record) = self.state.backup().filter(|record| !record.phase.is_final()) {
            if self.resume(record).await {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        loop {
            let begun = tokio::time::Instant::now();
            if let Err(why) = self.wait_and_back_up().await {
                tracing::debug!("{why}");
            }
            // Never more often than once a second, whatever the other side answers.
            tokio::time::sleep_until(begun + AGAIN).await;
        }
    }

    /// Goes on with a backup that an earlier controller began. Says whether there is nothing more to do for it.
    async fn resume(&self, record: BackupRecord) -> bool {
        let Ok(session) = self.sessions.now() else {
            return false;
        };
        match session.client.backup(record.id, None, 0).await {
            Ok(status) => {
                self.follow(&session, status, record).await;
                true
            }
            // The box knows nothing of it, or it is not this guest's any more.
            Err(e) => e.status().is_some_and(|status| (400..500).contains(&status)),
        }
    }

    async fn wait_and_back_up(&self) -> Result<(), String> {
        let session = self.sessions.now().map_err(|e| e.to_string())?;
        let due = session.client.backup_due(WAIT_S).await.map_err(|e| e.to_string())?;
        let Some(request_id) = due.request_id.filter(|_| due.due) else {
            return Ok(());
        };
        // The box may say so a moment longer than it is true.
        if self.state.backup().is_some_and(|last| last.request_id == request_id && last.phase.is_final()) {
            return Ok(());
        }
        tracing::info!(request_id, reason = due.reason, "a backup is due");
        let dumped = self.dump_all().await;
        let request = BackupRequest { request_id };
        let asked = session.client.request_backup(&request).await.map_err(|e| e.to_string())?;
        let record = self.record(request.request_id, &asked, dumped);
        self.follow(&session, asked, record).await;
        Ok(())
    }

    /// Dumps every app's databases; what failed is told with the backup and does not stop it: the frozen files are in it.
    async fn dump_all(&self) -> Option<String> {
        let (paths, catalogue) = (self.freezer.paths.clone(), self.freezer.catalogue.clone());
        let apps = self.state.apps();
        let dumps = tokio::task::spawn_blocking(move || {
            let failed = |name| dump_one(&paths, &catalogue, name);
            apps.iter().filter_map(failed).collect::<Vec<_>>().join("; ")
        });
        let failed = dumps.await.unwrap_or_else(|e| e.to_string());
        Some(failed).filter(|failed| !failed.is_empty())
    }

    /// The record of a backup that was asked for; the one that there is, if this program was restarted in it.
    fn record(&self, request_id: String, asked: &BackupStatus, dumped: Option<String>) -> BackupRecord {
        let message = asked.message.clone().or(dumped);
        if let Some(known) = self.state.backup().filter(|known| known.id == asked.id) {
            return BackupRecord {
                request_id,
                phase: asked.phase,
                message: message.or(known.message),
                ..known
            };
        }
        BackupRecord {
            id: asked.id,
            request_id,
            phase: asked.phase,
            asked: Timestamp::now(),
            downtime_ms: None,
            apps: Vec::new(),
            held: false,
            message,
        }
    }

    async fn follow(&self, session: &Session, asked: BackupStatus, mut record: BackupRecord) {
        self.state.set_backup(record.clone());
        if let Err(e) = self.quiesce(session, asked, &mut record).await {
            tracing::error!(backup = %record.id, "{e}");
            record.message = Some(e.to_string());
        }
        self.state.set_backup(record.clone());
        self.to_the_end(&mut record).await;
    }

    /// Freezes when it is granted, thaws when the snapshot was taken.
    async fn quiesce(
        &self,
        session: &Session,
        asked: BackupStatus,
        record: &mut BackupRecord,
    ) -> Result<(), BackupError> {
        let id = asked.id;
        let mut status = asked;
        while status.phase < BackupPhase::Granted {
            status = patiently(id, AGAIN, || session.client.backup(id, Some(status.phase), WAIT_S)).await?;
        }
        record.phase = status.phase;
        // Beyond `granted` this program was started again in the backup: there is nothing to freeze any more. What was
        // frozen ran again at the start, and nobody knows whether that was after the snapshot.
        if status.phase != BackupPhase::Granted {
            if record.downtime_ms.is_none() && status.phase != BackupPhase::Failed {
                self.tell(session, id, &Thawed { downtime_ms: 0, apps: Vec::new(), held: false }).await;
            }
            return Ok(());
        }
        if !is_signed(session, id, &status) {
            return Err(BackupError::Unsigned { phase: status.phase });
        }
        let frozen = match self.freezer.freeze(seed()).await {
            Ok(frozen) => frozen,
            Err(why) => {
                // The box need not wait: the backup goes on without a freeze, and says so.
                self.tell(session, id, &Thawed { downtime_ms: 0, apps: Vec::new(), held: false }).await;
                return Err(why.into());
            }
        };
        let asked_box = std::time::Instant::now();
        let told = self.until_snapshot(session, id, &frozen).await;
        let box_took_ms = asked_box.elapsed().as_millis();
        let (samples, thawed) = (frozen.samples.len(), frozen.thaw().await);
        let Thawed { downtime_ms, held, .. } = thawed;
        tracing::info!(backup = %id, downtime_ms, box_took_ms, samples, held, "thawed");
        (record.downtime_ms, record.held) = (Some(thawed.downtime_ms), thawed.held);
        record.apps.clone_from(&thawed.apps);
        self.state.set_backup(record.clone());
        self.tell(session, id, &thawed).await;
        told.map(|phase| record.phase = phase)
    }

    /// Says that the apps stand still and waits until they need not any more.
    async fn until_snapshot(
        &self,
        session: &Session,
        id: OperationId,
        frozen: &Frozen,
    ) -> Result<BackupPhase, BackupError> {
        let left = frozen.left();
        let document = local_api::Frozen {
            id,
            guest: session.bootstrap.guest,
            apps: frozen.apps(),
            samples: frozen.samples.clone(),
            lease_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        };
        let signed = Signed::new(&self.key, Context::Frozen, serde_json::to_vec(&document)?).into();
        let waiting = async {
            // Agent or executor may be started again just now; the lease bounds how long that is waited for.
            let mut status = patiently(id, SOON, || session.client.frozen(id, &signed)).await?;
            while !may_thaw(session, id, &status) {
                // What the executor did not sign moves nothing: it is asked for again, from `frozen` on.
                let known = status.phase.min(BackupPhase::Frozen);
                if status.phase > known {
                    tracing::warn!(backup = %id, phase = ?status.phase, "not signed by the executor");
                    tokio::time::sleep(SOON).await;
                }
                status = patiently(id, SOON, || session.client.backup(id, Some(known), WAIT_S)).await?;
            }
            Ok(status.phase)
        };
        tokio::time::timeout(left, waiting).await.unwrap_or(Err(BackupError::NoSnapshot))
    }

    /// Reports the thaw; the box must learn how long the apps stood still, and whether they did.
    async fn tell(&self, session: &Session, id: OperationId, thawed: &Thawed) {
        for _ in 0..TELL_TRIES {
            match session.client.thawed(id, thawed).await {
                Ok(_) => return,
                Err(e) if e.status().is_some_and(|status| (400..500).contains(&status)) => {
                    return tracing::error!(backup = %id, "the box does not take the thaw: {e}");
                }
                Err(e) => tracing::warn!(backup = %id, "{e}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Follows a backup until it is over, also through a box that is gone for a while.
    async fn to_the_end(&self, record: &mut BackupRecord) {
        while !record.phase.is_final() {
            let next = match self.sessions.now() {
                // Looked up anew each time: there may be a new token or a new address since.
                Ok(session) => session.client.backup(record.id, Some(record.phase), WAIT_S).await,
                Err(_) => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            match next {
                Ok(status) => {
                    record.phase = status.phase;
                    record.message = status.message.or(record.message.take());
                    self.state.set_backup(record.clone());
                }
                Err(e) if e.status().is_some_and(|status| (400..500).contains(&status)) => {
                    record.message = Some(e.to_string());
                    return self.state.set_backup(record.clone());
                }
                Err(e) => {
                    tracing::warn!(backup = %record.id, "{e}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

/// Asks until the box answers; that it does not want to (4xx) is an answer.
async fn patiently<T, F>(
    id: OperationId,
    pause: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T, BackupError>
where
    F: Future<Output = Result<T, felhom_client::Error>>,
{
    loop {
        match ask().await {
            Err(e) if !e.status().is_some_and(|status| (400..500).contains(&status)) => {
                tracing::warn!(backup = %id, "{e}");
                tokio::time::sleep(pause).await;
            }
            answer => return Ok(answer?),
        }
    }
}

/// Whether the apps need not stand still any more: the executor itself says that the snapshot was taken, or anybody says
/// that the backup failed.
fn may_thaw(session: &Session, id: OperationId, status: &BackupStatus) -> bool {
    let over = status.phase >= BackupPhase::Snapshotted;
    status.phase == BackupPhase::Failed || (over && is_signed(session, id, status))
}

/// Whether the executor itself says this phase of this backup.
fn is_signed(session: &Session, id: OperationId, status: &BackupStatus) -> bool {
    let phase = serde_json::to_value(status.phase).ok();
    let phase = phase.as_ref().and_then(|phase| phase.as_str()).unwrap_or_default();
    let key = &session.bootstrap.attestation_key;
    let fits = |signature: &Signature| {
        key.verify(Context::BackupPhase, format!("{id} {phase}").as_bytes(), signature).is_ok()
    };
    status.id == id && status.signature.as_ref().is_some_and(fits)
}

fn dump_one(paths: &Paths, catalogue: &Catalogue, name: &felhom_model::AppName) -> Option<String> {
    let app = catalogue.load(name).ok()?;
    match dump::dump_app(paths, &app) {
        Ok(dumps) => {
            for dump in dumps {
                tracing::info!(app = %name, database = dump.database, bytes = dump.bytes, "dumped");
            }
            None
        }
        Err(e) => {
            tracing::error!("{e}");
            Some(e.to_string())
        }
    }
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the sample is drawn from a fixed seed, which is still a sample.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
