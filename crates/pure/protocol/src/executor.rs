//! The executor's socket: HTTP/1.1 on a unix socket, JSON, SSE for events.
//!
//! | call | body → answer |
//! |---|---|
//! | `GET /v1/observation` | → [`Observation`] |
//! | `PUT /v1/local-api` | [`LocalApi`] → 204; where guests reach the agent |
//! | `PUT /v1/box` | [`BoxIdentity`] → 204; which box this is, for receipts |
//! | `POST /v1/operations` | [`OperationRequest`] → [`status::Operation`]; also for a refused one (HTTP 200) |
//! | `GET /v1/operations?after=ULID` | → array of operations, oldest first |
//! | `GET /v1/operations/{id}` | → operation |
//! | `GET /v1/events?after=SEQ` | SSE, each `data:` an [`Event`]; missed ones first |
//! | `GET /v1/backups/{id}?after=PHASE&wait_s=N` | → [`BackupStatus`](crate::local_api::BackupStatus), long poll until the phase is past `after` |
//! | `POST /v1/backups/{id}/frozen` | signed [`Frozen`](crate::local_api::Frozen) → `BackupStatus` |
//! | `POST /v1/backups/{id}/thawed` | [`Thawed`](crate::local_api::Thawed) → `BackupStatus` |
//! | `POST /v1/heartbeats` | signed [`Heartbeat`](crate::local_api::Heartbeat) → 204; verified with the pinned guest key |
//! | `GET /v1/receipts?guest=UUID` | → array of [`SignedReceipt`](crate::receipt::SignedReceipt), newest first |
//!
//! Errors are [`ErrorBody`](crate::ErrorBody) with 4xx or 5xx.

use crate::status;
use felhom_model::backup::Level;
use felhom_model::operation::{Backup, Configure, Limits, Operation, Provision, Restore, RestoreTest};
use felhom_model::{
    AppName, BoxId, Digest, GuestName, GuestUuid, OperationId, OperationKind, OperationState, StorageId,
    Vmid, Volid,
};
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

/// `params` of `provision_guest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as in felhom_model::operation::Provision")]
pub struct ProvisionParams {
    pub name: GuestName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<Digest>,
    pub cores: u16,
    pub memory_mib: u32,
    pub swap_mib: u32,
    pub disk_gib: u32,
    #[serde(default)]
    pub apps: Vec<AppName>,
}

/// `params` of operations that name one guest and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestParams {
    /// The guest.
    pub guest: GuestUuid,
}

/// `params` of `configure_guest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as in felhom_model::operation::Configure")]
pub struct ConfigureParams {
    pub guest: GuestUuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_mib: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gib: Option<u32>,
}

/// `params` of `backup_guest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupParams {
    /// The guest.
    pub guest: GuestUuid,
    /// A target of the box's own configuration.
    pub target: StorageId,
    /// Whether the controller takes part.
    #[serde(default)]
    pub quiesced: bool,
}

/// `params` of `restore_guest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreParams {
    /// Whose archive.
    pub guest: GuestUuid,
    /// Absent: the newest good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Volid>,
}

/// `params` of `restore_test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreTestParams {
    /// Whose archive.
    pub guest: GuestUuid,
    /// Absent: the newest good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Volid>,
    /// Absent: L4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    guest: Option<GuestUuid>,
}

/// Why a request is no operation.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A name that does not exist.
    #[error(transparent)]
    Unknown(#[from] felhom_model::operation::UnknownOperation),
    /// Parameters that do not fit the kind.
    #[error("the parameters of `{kind}` are wrong: {source}")]
    Params {
        /// The kind.
        kind: OperationKind,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Reads kind and parameters into the domain's operation.
///
/// # Errors
/// [`RequestError`]: unknown name, or parameters that do not fit.
pub fn parse(kind: &str, params: &serde_json::Value) -> Result<Operation, RequestError> {
    let kind: OperationKind = kind.parse()?;
    operation(kind, params).map_err(|source| RequestError::Params { kind, source })
}

fn read<T: serde::de::DeserializeOwned>(params: &serde_json::Value) -> Result<T, serde_json::Error> {
    let empty = serde_json::json!({});
    T::deserialize(if params.is_null() { &empty } else { params })
}

fn operation(kind: OperationKind, params: &serde_json::Value) -> Result<Operation, serde_json::Error> {
    use Operation as O;
    use OperationKind as K;
    let guest = || read::<GuestParams>(params).map(|p| p.guest);
    let subject = || read::<Subject>(params).map(|p| p.guest);
    Ok(match kind {
        K::ProvisionGuest => O::ProvisionGuest(read::<ProvisionParams>(params)?.into()),
        K::StartGuest => O::StartGuest(guest()?),
        K::StopGuest => O::StopGuest(guest()?),
        K::RebootGuest => O::RebootGuest(guest()?),
        K::ConfigureGuest => O::ConfigureGuest(read::<ConfigureParams>(params)?.into()),
        K::BackupGuest => O::BackupGuest(read::<BackupParams>(params)?.into()),
        K::RestoreGuest => O::RestoreGuest(read::<RestoreParams>(params)?.into()),
        K::RestoreTest => O::RestoreTest(read::<RestoreTestParams>(params)?.into()),
        K::DestroyScratch => O::DestroyScratch(guest()?),
        K::ReclaimGuest => O::ReclaimGuest(guest()?),
        K::HealGuest => O::HealGuest(subject()?),
        K::CutoverGuest => O::CutoverGuest(subject()?),
        K::ReverseCutoverGuest => O::ReverseCutoverGuest(subject()?),
        K::RetireGuest => O::RetireGuest(subject()?),
        K::DiscardRestoredCopy => O::DiscardRestoredCopy(subject()?),
        K::ClearStaleLock => O::ClearStaleLock(subject()?),
        K::ClearLeftovers => O::ClearLeftovers(subject()?),
        K::PruneBackups => O::PruneBackups(subject()?),
        K::AttachDisk => O::AttachDisk(subject()?),
        K::DetachDisk => O::DetachDisk(subject()?),
        K::DecommissionDisk => O::DecommissionDisk(subject()?),
        K::AssignDisk => O::AssignDisk(subject()?),
        K::FormatDisk => O::FormatDisk(subject()?),
        K::RotateBackupKey => O::RotateBackupKey(subject()?),
        K::ForgetKey => O::ForgetKey(subject()?),
        K::ReplaceRecoveryCode => O::ReplaceRecoveryCode(subject()?),
        K::RotateOperators => O::RotateOperators(subject()?),
        K::ResolveOperation => O::ResolveOperation(subject()?),
        K::ChangeTunnel => O::ChangeTunnel(subject()?),
        K::UpdateHost => O::UpdateHost(subject()?),
        K::UpdateController => O::UpdateController(subject()?),
        K::DeployApp => O::DeployApp(subject()?),
        K::UpdateApp => O::UpdateApp(subject()?),
        K::OpenSupportAccess => O::OpenSupportAccess(subject()?),
        K::CollectDiagnostics => O::CollectDiagnostics(subject()?),
    })
}

impl From<ProvisionParams> for Provision {
    fn from(p: ProvisionParams) -> Self {
        let limits = Limits { cores: p.cores, memory_mib: p.memory_mib, swap_mib: p.swap_mib };
        Self { name: p.name, golden: p.golden, limits, disk_gib: p.disk_gib, apps: p.apps }
    }
}
impl From<&Provision> for ProvisionParams {
    fn from(p: &Provision) -> Self {
        let Limits { cores, memory_mib, swap_mib } = p.limits;
        Self {
            name: p.name.clone(),
            golden: p.golden,
            cores,
            memory_mib,
            swap_mib,
            disk_gib: p.disk_gib,
            apps: p.apps.clone(),
        }
    }
}
impl From<ConfigureParams> for Configure {
    fn from(p: ConfigureParams) -> Self {
        Self {
            guest: p.guest,
            cores: p.cores,
            memory_mib: p.memory_mib,
            swap_mib: p.swap_mib,
            disk_gib: p.disk_gib,
        }
    }
}
impl From<BackupParams> for Backup {
    fn from(p: BackupParams) -> Self {
        Self { guest: p.guest, target: p.target, quiesced: p.quiesced }
    }
}
impl From<RestoreParams> for Restore {
    fn from(p: RestoreParams) -> Self {
        Self { guest: p.guest, archive: p.archive }
    }
}
impl From<RestoreTestParams> for RestoreTest {
    fn from(p: RestoreTestParams) -> Self {
        Self { guest: p.guest, archive: p.archive, level: p.level.unwrap_or(Level::L4) }
    }
}

/// The wire form of an operation's parameters, for whoever plans one.
pub fn params(operation: &Operation) -> serde_json::Value {
    let value = match operation {
        Operation::ProvisionGuest(p) => serde_json::to_value(ProvisionParams::from(p)),
        Operation::ConfigureGuest(p) => serde_json::to_value(ConfigureParams {
            guest: p.guest,
            cores: p.cores,
            memory_mib: p.memory_mib,
            swap_mib: p.swap_mib,
            disk_gib: p.disk_gib,
        }),
        Operation::BackupGuest(p) => serde_json::to_value(BackupParams {
            guest: p.guest,
            target: p.target.clone(),
            quiesced: p.quiesced,
        }),
        Operation::RestoreGuest(p) => {
            serde_json::to_value(RestoreParams { guest: p.guest, archive: p.archive.clone() })
        }
        Operation::RestoreTest(p) => serde_json::to_value(RestoreTestParams {
            guest: p.guest,
            archive: p.archive.clone(),
            level: Some(p.level),
        }),
        other => match other.guest() {
            Some(guest) => serde_json::to_value(GuestParams { guest }),
            None => Ok(serde_json::json!({})),
        },
    };
    value.unwrap_or_default()
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
    /// `begun`, `step_started`, `step_done`, `step_failed`, `progress`, `undo_started`, `undo_done`, `ended`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const GUEST: &str = "6b1e8a6e-3c4b-4c7e-9d3a-0a1b2c3d4e5f";

    #[test]
    fn every_kind_can_be_asked_for() {
        for kind in OperationKind::ALL {
            let params = match kind {
                OperationKind::ProvisionGuest => {
                    json!({"name":"a","cores":1,"memory_mib":512,"swap_mib":0,"disk_gib":4})
                }
                OperationKind::BackupGuest => json!({"guest":GUEST,"target":"local"}),
                _ => json!({"guest":GUEST}),
            };
            let operation = parse(kind.name(), &params).unwrap();
            assert_eq!(operation.kind(), kind);
            let again = parse(kind.name(), &super::params(&operation)).unwrap();
            assert_eq!(again, operation);
        }
    }

    #[test]
    fn wrong_requests_are_named() {
        let unknown = parse("destroy_guest", &json!({"guest":GUEST})).unwrap_err();
        assert!(unknown.to_string().contains("destroy_guest"));
        let extra = parse("stop_guest", &json!({"guest":GUEST,"force":true})).unwrap_err();
        assert!(extra.to_string().contains("force"));
        let missing = parse("stop_guest", &json!(null)).unwrap_err();
        assert!(missing.to_string().contains("guest"));
    }
}
