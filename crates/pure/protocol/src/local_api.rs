//! The local API, controller → agent: HTTPS, pinned certificate, bearer token of one guest; and the files that the executor
//! pushes into the guest so that it can speak there.
//!
//! | call | body → answer |
//! |---|---|
//! | `POST /v1/heartbeat` | [`SignedBytes`](crate::SignedBytes) of a [`Heartbeat`] → [`HeartbeatAnswer`] |
//! | `GET /v1/backup/due?wait_s=N` | → [`BackupDue`] (long poll, at most 60 s) |
//! | `POST /v1/backup` | [`BackupRequest`] → [`BackupStatus`] |
//! | `GET /v1/backup/{id}?after=PHASE&wait_s=N` | → [`BackupStatus`]; with `Accept: text/event-stream` SSE of the same |
//! | `POST /v1/backup/{id}/frozen` | [`SignedBytes`](crate::SignedBytes) of a [`Frozen`] → [`BackupStatus`] |
//! | `POST /v1/backup/{id}/thawed` | [`Thawed`] → [`BackupStatus`] |
//! | `GET /v1/audit?after=SEQ` | → [`AuditPage`](crate::audit::AuditPage): what concerns this guest |
//! | `GET /v1/restore-test/status` | → [`RestoreTestStatus`] |
//! | `GET /v1/challenges` | → [`Challenge`](crate::status::Challenge)s that name this guest |
//! | `POST /v1/challenges/{digest}/confirmation` | [`Armored`](felhom_signing::consent::Armored) → [`Operation`](crate::status::Operation) |
//! | `POST /v1/operations/{id}/veto` | [`Armored`](felhom_signing::consent::Armored) → [`Operation`](crate::status::Operation) |
//! | `POST /v1/rollback` | [`RollbackRequest`] → [`RollbackStatus`] |
//! | `GET /v1/rollback` | → the last [`RollbackStatus`], or `null` |

use crate::probe::Sample;
use crate::receipt::SignedReceipt;
use felhom_model::{AppName, BoxId, Digest, GuestName, GuestUuid, OperationId, Volid};
use felhom_signing::PublicKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the executor puts the [`Bootstrap`], fresh at each start, never archived.
pub const BOOTSTRAP_FILE: &str = "/run/felhom/bootstrap.json";
/// Where the executor puts the guest's token, 0600.
pub const TOKEN_FILE: &str = "/run/felhom/token";
/// Where the executor keeps how far its database had come, signed by itself for itself: it stays in the guest, and
/// `felhom-controller watermark` prints it.
pub const WATERMARK_FILE: &str = "/var/lib/felhom/controller/watermark.json";

/// What a guest learns at each start. The token is a file of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Its identity.
    pub guest: GuestUuid,
    /// Its name.
    pub name: GuestName,
    /// The box it lives on, once enrolled.
    pub box_id: Option<BoxId>,
    /// E.g. `https://10.0.0.1:8443`.
    pub local_api: String,
    /// SHA-256 of the local API's certificate (DER), to pin.
    pub local_api_fingerprint: Digest,
    /// The executor's attestation key; signs what concerns the guest.
    pub attestation_key: PublicKey,
    /// New at each push; the next heartbeats sign it.
    pub boot_nonce: String,
    /// Apps to run.
    pub apps: Vec<AppName>,
}

/// Signed with the guest key, context `Heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub guest: GuestUuid,
    /// The bootstrap's.
    pub boot_nonce: String,
    /// The guest's clock.
    pub time: Timestamp,
    /// State.
    pub summary: HeartbeatSummary,
}

/// What a heartbeat says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatSummary {
    /// Controller's version.
    pub version: String,
    /// `A` or `B`.
    pub slot: String,
    /// Each app.
    pub apps: Vec<AppState>,
    /// URL of the guest's own page, if its link is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When the agent received it; filled in by the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Timestamp>,
}

/// One app in a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppState {
    /// Its name.
    pub app: AppName,
    /// `running`, `starting`, `stopped`, `failed`, `frozen`.
    pub state: String,
    /// URL, if it publishes a port and the link is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// The agent's clock.
    pub time: Timestamp,
    /// Apps that should run, as desired state says now.
    pub apps: Vec<AppName>,
    /// Whether a backup is due.
    pub backup_due: bool,
    /// When to come again, seconds.
    pub next_s: u32,
}

/// Whether a backup is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDue {
    /// If so, ask for it.
    pub due: bool,
    /// Idempotency key to pass on in [`BackupRequest`]; the same until the backup is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Why, e.g. `schedule` or `job`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A guest asks for its backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRequest {
    /// From [`BackupDue`].
    pub request_id: String,
}

/// Phases of a quiesced backup, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum BackupPhase {
    Requested,
    Granted,
    Frozen,
    Snapshotted,
    Archiving,
    Verifying,
    Done,
    Partial,
    Failed,
}

impl BackupPhase {
    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Partial | Self::Failed)
    }
}

/// Where a backup stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// The executor's operation.
    pub id: OperationId,
    /// Phase.
    pub phase: BackupPhase,
    /// Failure or what is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Executor's signature (context `BackupPhase`) over `ID PHASE` for granted and snapshotted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<felhom_signing::Signature>,
}

/// Signed with the guest key, context `Frozen`: the apps stand still now and this is their content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// The backup.
    pub id: OperationId,
    /// Who.
    pub guest: GuestUuid,
    /// Apps that stand still.
    pub apps: Vec<AppName>,
    /// Bounded sample of their content.
    pub samples: Vec<Sample>,
    /// The lease's end: after it the apps run again whatever happens. Milliseconds from now.
    pub lease_ms: u64,
}

/// The apps run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thawed {
    /// First pause to last resume, milliseconds.
    pub downtime_ms: u64,
    /// Per app.
    pub apps: Vec<AppDowntime>,
    /// Whether the freeze held until the thaw, i.e. neither the lease nor anybody else resumed an app.
    pub held: bool,
}

impl Thawed {
    /// First pause to last resume in milliseconds; `None` if nobody measured it: a controller that was started again in the
    /// freeze, or could not freeze, names no app.
    pub fn measured_ms(&self) -> Option<u64> {
        (self.held || !self.apps.is_empty()).then_some(self.downtime_ms)
    }
}

/// Downtime of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDowntime {
    /// Which.
    pub app: AppName,
    /// Milliseconds.
    pub downtime_ms: u64,
}

/// What the customer's page shows of backups and proofs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreTestStatus {
    /// Newest archive.
    #[serde(default)]
    pub last_backup: Option<crate::status::Archive>,
    /// Newest archive that a receipt of L3 or more proves.
    #[serde(default)]
    pub last_proven: Option<crate::status::Archive>,
    /// That receipt, or the newest failing one.
    #[serde(default)]
    pub receipt: Option<SignedReceipt>,
}

/// A guest asks for an earlier state of itself: a restore beside it, then a cutover to that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// One of its own backups; the newest if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Volid>,
}

/// How far a rollback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackPhase {
    /// The copy is being made beside the guest.
    Restoring,
    /// The copy stands; the customer's confirmation of the cutover is waited for.
    Confirm,
    /// The copy takes over.
    CuttingOver,
    /// It came to nothing, and the copy is being removed.
    Discarding,
    /// The copy has taken over.
    Done,
    /// It came to nothing; the guest is as it was.
    Failed,
}

impl RollbackPhase {
    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        match self {
            Self::Done | Self::Failed => true,
            Self::Restoring | Self::Confirm | Self::CuttingOver | Self::Discarding => false,
        }
    }
}

/// Where a rollback stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackStatus {
    /// The backup that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Volid>,
    /// Phase.
    pub phase: RollbackPhase,
    /// The executor's operation that makes the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<OperationId>,
    /// The executor's operation that lets it take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover: Option<OperationId>,
    /// Why it waits or came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was asked for.
    pub since: Timestamp,
}
