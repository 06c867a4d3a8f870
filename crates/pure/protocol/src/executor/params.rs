//! Parameters of operations on the wire, and their way into the domain.

use felhom_model::backup::Level;
use felhom_model::operation::{
    App, Backup, Configure, Cutover, DiskRole, DiskUse, ForgetKey, Limits, Operation, Provision, Prune,
    Resolve, Restore, RestoreTest, RotateOperators, UpdateController, Version, WayOut,
};
use felhom_model::{
    AppName, Digest, DurableId, GuestName, GuestUuid, OperationId, OperationKind, StorageId, Volid,
};
use serde::{Deserialize, Serialize};

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

/// `params` of `cutover_guest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutoverParams {
    /// The customer's guest.
    pub guest: GuestUuid,
    /// The restored copy that takes over.
    pub copy: GuestUuid,
}

/// `params` of `prune_backups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneParams {
    /// Whose backups.
    pub guest: GuestUuid,
    /// On which target.
    pub target: StorageId,
    /// Which go.
    pub remove: Vec<Volid>,
}

/// `params` of operations that name one disk and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskParams {
    /// The disk.
    pub disk: DurableId,
}

/// `params` of `assign_disk` and `format_disk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskUseParams {
    /// The disk.
    pub disk: DurableId,
    /// What for.
    pub role: DiskRole,
    /// Whose data it will hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestUuid>,
}

/// `params` of `forget_key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetKeyParams {
    /// Whose key.
    pub guest: GuestUuid,
    /// Its fingerprint.
    pub key: Digest,
}

/// `params` of `rotate_operators`: the new file with the signatures over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateOperatorsParams {
    /// The version of the new file.
    pub version: u64,
    /// SHA-256 of `document`.
    pub digest: Digest,
    /// Exactly the bytes of the new file, base64.
    #[serde(with = "crate::base64_bytes")]
    pub document: Vec<u8>,
    /// Armored SSHSIG signatures over them.
    pub signatures: Vec<String>,
}

/// `params` of `resolve_operation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveParams {
    /// The operation that stands.
    pub operation: OperationId,
    /// How it goes on.
    pub way: WayOut,
}

/// `params` of `update_host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseParams {
    /// The release.
    pub version: u64,
}

/// `params` of `update_controller`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateControllerParams {
    /// The guest.
    pub guest: GuestUuid,
    /// The release.
    pub version: u64,
}

/// `params` of `deploy_app` and `update_app`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppParams {
    /// The guest.
    pub guest: GuestUuid,
    /// The app.
    pub app: AppName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

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
    let disk = || read::<DiskParams>(params).map(|p| p.disk);
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
        K::HealGuest => O::HealGuest(guest()?),
        K::CutoverGuest => O::CutoverGuest(read::<CutoverParams>(params)?.into()),
        K::ReverseCutoverGuest => O::ReverseCutoverGuest(guest()?),
        K::RetireGuest => O::RetireGuest(guest()?),
        K::ReclaimGuest => O::ReclaimGuest(guest()?),
        K::DiscardRestoredCopy => O::DiscardRestoredCopy(guest()?),
        K::ClearStaleLock => O::ClearStaleLock(guest()?),
        K::ClearLeftovers => O::ClearLeftovers(guest()?),
        K::PruneBackups => O::PruneBackups(read::<PruneParams>(params)?.into()),
        K::AttachDisk => O::AttachDisk(disk()?),
        K::DetachDisk => O::DetachDisk(disk()?),
        K::DecommissionDisk => O::DecommissionDisk(disk()?),
        K::AssignDisk => O::AssignDisk(read::<DiskUseParams>(params)?.into()),
        K::FormatDisk => O::FormatDisk(read::<DiskUseParams>(params)?.into()),
        K::RotateBackupKey => O::RotateBackupKey(guest()?),
        K::ForgetKey => O::ForgetKey(read::<ForgetKeyParams>(params)?.into()),
        K::ReplaceRecoveryCode => O::ReplaceRecoveryCode(guest()?),
        K::RotateOperators => O::RotateOperators(read::<RotateOperatorsParams>(params)?.into()),
        K::ResolveOperation => O::ResolveOperation(read::<ResolveParams>(params)?.into()),
        K::ChangeTunnel => read::<NoParams>(params).map(|NoParams {}| O::ChangeTunnel)?,
        K::UpdateHost => O::UpdateHost(Version(read::<ReleaseParams>(params)?.version)),
        K::UpdateController => O::UpdateController(read::<UpdateControllerParams>(params)?.into()),
        K::DeployApp => O::DeployApp(read::<AppParams>(params)?.into()),
        K::UpdateApp => O::UpdateApp(read::<AppParams>(params)?.into()),
        K::OpenSupportAccess => O::OpenSupportAccess(guest()?),
        K::CollectDiagnostics => O::CollectDiagnostics(guest()?),
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

impl From<CutoverParams> for Cutover {
    fn from(p: CutoverParams) -> Self {
        Self { guest: p.guest, copy: p.copy }
    }
}
impl From<PruneParams> for Prune {
    fn from(p: PruneParams) -> Self {
        Self { guest: p.guest, target: p.target, remove: p.remove }
    }
}
impl From<DiskUseParams> for DiskUse {
    fn from(p: DiskUseParams) -> Self {
        Self { disk: p.disk, role: p.role, guest: p.guest }
    }
}
impl From<ForgetKeyParams> for ForgetKey {
    fn from(p: ForgetKeyParams) -> Self {
        Self { guest: p.guest, key: p.key }
    }
}
impl From<RotateOperatorsParams> for RotateOperators {
    fn from(p: RotateOperatorsParams) -> Self {
        Self { version: p.version, document: p.digest }
    }
}
impl From<ResolveParams> for Resolve {
    fn from(p: ResolveParams) -> Self {
        Self { operation: p.operation, way: p.way }
    }
}
impl From<UpdateControllerParams> for UpdateController {
    fn from(p: UpdateControllerParams) -> Self {
        Self { guest: p.guest, version: Version(p.version) }
    }
}
impl From<AppParams> for App {
    fn from(p: AppParams) -> Self {
        Self { guest: p.guest, app: p.app }
    }
}

/// The wire form of the parameters of an operation that a plan can hold; of others no more than the guest.
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
        Operation::CutoverGuest(p) => serde_json::to_value(CutoverParams { guest: p.guest, copy: p.copy }),
        Operation::PruneBackups(p) => serde_json::to_value(PruneParams {
            guest: p.guest,
            target: p.target.clone(),
            remove: p.remove.clone(),
        }),
        other => match other.guest() {
            Some(guest) => serde_json::to_value(GuestParams { guest }),
            None => Ok(serde_json::json!({})),
        },
    };
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const GUEST: &str = "6b1e8a6e-3c4b-4c7e-9d3a-0a1b2c3d4e5f";

    #[test]
    fn every_kind_can_be_asked_for() {
        for kind in OperationKind::ALL {
            let params = match kind {
                OperationKind::ProvisionGuest => {
                    json!({"name":"a","cores":1,"memory_mib":512,"swap_mib":0,"disk_gib":4})
                }
                OperationKind::BackupGuest => json!({"guest":GUEST,"target":"local"}),
                OperationKind::CutoverGuest => json!({"guest":GUEST,"copy":GUEST}),
                OperationKind::PruneBackups => {
                    json!({"guest":GUEST,"target":"local","remove":["local:backup/a"]})
                }
                OperationKind::AttachDisk | OperationKind::DetachDisk | OperationKind::DecommissionDisk => {
                    json!({"disk":"fs-1"})
                }
                OperationKind::AssignDisk | OperationKind::FormatDisk => {
                    json!({"disk":"fs-1","role":"user_data","guest":GUEST})
                }
                OperationKind::ForgetKey => json!({"guest":GUEST,"key":DIGEST}),
                OperationKind::RotateOperators => {
                    json!({"version":2,"digest":DIGEST,"document":"e30=","signatures":[]})
                }
                OperationKind::ResolveOperation => {
                    json!({"operation":"01J0000000000000000000000A","way":"roll_back"})
                }
                OperationKind::ChangeTunnel => json!({}),
                OperationKind::UpdateHost => json!({"version":3}),
                OperationKind::UpdateController => json!({"guest":GUEST,"version":3}),
                OperationKind::DeployApp | OperationKind::UpdateApp => json!({"guest":GUEST,"app":"notes"}),
                _ => json!({"guest":GUEST}),
            };
            let operation = parse(kind.name(), &params).unwrap();
            assert_eq!(operation.kind(), kind);
            if let Ok(again) = parse(kind.name(), &super::params(&operation)) {
                assert_eq!(again, operation);
            }
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
