//! The executor's socket: HTTP/1.1 on a unix socket, JSON, SSE for events.
//!
//! | call | body → answer |
//! |---|---|
//! | `GET /v1/observation` | → [`Observation`] |
//! | `PUT /v1/local-api` | [`LocalApi`] → 204; where guests reach the agent |
//! | `PUT /v1/limits` | [`Tightening`] → 204; only what is stricter than the box's own limits has an effect |
//! | `PUT /v1/box` | [`BoxIdentity`] → 204; which box this is, for receipts |
//! | `POST /v1/operations` | [`OperationRequest`] → [`status::Operation`]; also for a refused one (HTTP 200) |
//! | `GET /v1/operations?after=ULID` | → array of operations, oldest first |
//! | `GET /v1/operations/{id}` | → operation |
//! | `POST /v1/operations/{id}/veto` | a veto with its signature ([`Armored`](felhom_signing::consent::Armored)) → operation |
//! | `GET /v1/challenges` | → array of [`status::Challenge`] that wait for people |
//! | `POST /v1/challenges/{digest}/answers` | [`OperatorAnswer`] → operation |
//! | `GET /v1/challenges/{digest}/answers` | → array of SHA-256 of the signatures that were accepted |
//! | `POST /v1/challenges/{digest}/confirmations` | a customer's confirmation with its signature → operation |
//! | `GET /v1/audit?after=SEQ&guest=UUID` | → [`AuditPage`](crate::audit::AuditPage); with `guest` that guest's own part |
//! | `POST /v1/challenges/{digest}/renew` | → the new [`status::Challenge`], which lives 24 h; the old one is void |
//! | `GET /v1/events?after=SEQ` | SSE, each `data:` an [`Event`]; missed ones first |
//! | `GET /v1/backups/{id}?after=PHASE&wait_s=N` | → [`BackupStatus`](crate::local_api::BackupStatus), long poll until the phase is past `after` |
//! | `POST /v1/backups/{id}/frozen` | signed [`Frozen`](crate::local_api::Frozen) → `BackupStatus` |
//! | `POST /v1/backups/{id}/thawed` | [`Thawed`](crate::local_api::Thawed) → `BackupStatus` |
//! | `POST /v1/heartbeats` | signed [`Heartbeat`](crate::local_api::Heartbeat) → 204; verified with the pinned guest key |
//! | `GET /v1/receipts?guest=UUID` | → array of [`SignedReceipt`](crate::receipt::SignedReceipt), newest first |
//!
//! Errors are [`ErrorBody`](crate::ErrorBody) with 4xx or 5xx.

mod params;

pub use params::{
    AppParams, BackupParams, ConfigureParams, CutoverParams, DiskParams, DiskUseParams, ForgetKeyParams,
    GuestParams, ProvisionParams, PruneParams, ReleaseParams, RequestError, ResolveParams, RestoreParams,
    RestoreTestParams, RotateOperatorsParams, UpdateControllerParams, params, parse,
};

use crate::status;
use felhom_model::desired::Tightening;
use felhom_model::{AppName, BoxId, Digest, GuestName, OperationId, OperationState, Vmid};
use felhom_signing::PublicKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the agent serves guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalApi {
    /// E.g. `https://10.0.0.1:8443`.
    pub url: String,
    /// SHA-256 of its certificate (DER).
    pub fingerprint: Digest,
}

/// Which box this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxIdentity {
    /// From the enrolment.
    pub box_id: BoxId,
    /// Which enrolment, by the hub's count. Another one than before voids what waits for people.
    #[serde(default)]
    pub epoch: u64,
}

/// Everything the executor sees. Facts, not opinions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The executor's clock.
    pub time: Timestamp,
    /// The executor's version.
    pub version: String,
    /// Its attestation key.
    pub attestation_key: PublicKey,
    /// Whether Proxmox answers; if not, guests and storages are those of the last time and `error` says why.
    pub pve_reachable: bool,
    /// Why Proxmox does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Guests of the pool and the ledger.
    pub guests: Vec<status::Guest>,
    /// Archives of the ledger.
    pub archives: Vec<status::Archive>,
    /// Configured storages.
    pub storages: Vec<status::Storage>,
    /// Imported golden archives, newest release first.
    pub golden: Vec<Golden>,
    /// Operations that are not over.
    pub active: Vec<status::Operation>,
    /// Challenges that wait for people.
    #[serde(default)]
    pub challenges: Vec<status::Challenge>,
    /// Where the audit log ends, signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<crate::SignedBytes>,
    /// Limits that the operator wishes to be stricter than the box's own, as they were said last.
    #[serde(default)]
    pub wished_limits: Tightening,
    /// Names ever used on this box.
    pub used_names: Vec<GuestName>,
}

/// An imported golden archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Golden {
    /// SHA-256.
    pub digest: Digest,
    /// Release version.
    pub release: u64,
    /// Apps inside.
    pub apps: Vec<AppName>,
    /// Size in bytes.
    pub bytes: u64,
}

/// Somebody asks for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRequest {
    /// The same id is the same request: a repetition returns the first one's operation.
    pub request_id: String,
    /// The kind's name as it was asked for. A name that is none is refused by name, and recorded.
    pub kind: String,
    /// By kind, see [`parse`].
    #[serde(default)]
    pub params: serde_json::Value,
    /// Why.
    pub reason: String,
    /// Who: `desired_state`, `job:ULID`, `schedule`, `guest`, `local`.
    pub asked_by: String,
}

/// An operator's answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorAnswer {
    /// Armored SSHSIG over the challenge's bytes, namespace `felhom-op-v1`.
    pub signature: String,
}

/// Something that happened to an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one; the cursor.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// Which operation.
    pub operation: OperationId,
    /// Its kind's name.
    pub kind: String,
    /// Its state after this.
    pub state: OperationState,
    /// The step, if it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `begun`, `step_started`, `step_done`, `step_failed`, `progress`, `undo_started`, `undo_done`,
    /// `authorized`, `grace_counted`, `grace_lengthened`, `cancel_requested`, `resolved`, `ended`.
    pub what: String,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For `progress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<status::Progress>,
}

/// A VMID range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmidRange {
    /// First.
    pub first: Vmid,
    /// Last.
    pub last: Vmid,
}
