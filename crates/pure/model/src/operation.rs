//! Operations: the closed list of what can be asked for, the same words in journal, wire, CLI and screens.

use crate::backup::Level;
use crate::id::{AppName, Digest, GuestName, GuestUuid, StorageId, Volid};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of an operation. Anything that is not one of these is refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the documentation; each has its row in the gate")]
pub enum OperationKind {
    ProvisionGuest,
    StartGuest,
    StopGuest,
    RebootGuest,
    ConfigureGuest,
    HealGuest,
    BackupGuest,
    RestoreGuest,
    CutoverGuest,
    ReverseCutoverGuest,
    RetireGuest,
    ReclaimGuest,
    RestoreTest,
    DiscardRestoredCopy,
    DestroyScratch,
    ClearStaleLock,
    ClearLeftovers,
    PruneBackups,
    AttachDisk,
    DetachDisk,
    DecommissionDisk,
    AssignDisk,
    FormatDisk,
    RotateBackupKey,
    ForgetKey,
    ReplaceRecoveryCode,
    RotateOperators,
    ResolveOperation,
    ChangeTunnel,
    UpdateHost,
    UpdateController,
    DeployApp,
    UpdateApp,
    OpenSupportAccess,
    CollectDiagnostics,
}

/// A name that is no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an operation that Felhom knows")]
pub struct UnknownOperation(pub String);

impl OperationKind {
    /// All of them, in the order of the gate's table.
    pub const ALL: [Self; 35] = [
        Self::ProvisionGuest,
        Self::StartGuest,
        Self::StopGuest,
        Self::RebootGuest,
        Self::ConfigureGuest,
        Self::HealGuest,
        Self::BackupGuest,
        Self::RestoreGuest,
        Self::CutoverGuest,
        Self::ReverseCutoverGuest,
        Self::RetireGuest,
        Self::ReclaimGuest,
        Self::RestoreTest,
        Self::DiscardRestoredCopy,
        Self::DestroyScratch,
        Self::ClearStaleLock,
        Self::ClearLeftovers,
        Self::PruneBackups,
        Self::AttachDisk,
        Self::DetachDisk,
        Self::DecommissionDisk,
        Self::AssignDisk,
        Self::FormatDisk,
        Self::RotateBackupKey,
        Self::ForgetKey,
        Self::ReplaceRecoveryCode,
        Self::RotateOperators,
        Self::ResolveOperation,
        Self::ChangeTunnel,
        Self::UpdateHost,
        Self::UpdateController,
        Self::DeployApp,
        Self::UpdateApp,
        Self::OpenSupportAccess,
        Self::CollectDiagnostics,
    ];

    /// The name, as it stands in journal, wire, CLI and screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProvisionGuest => "provision_guest",
            Self::StartGuest => "start_guest",
            Self::StopGuest => "stop_guest",
            Self::RebootGuest => "reboot_guest",
            Self::ConfigureGuest => "configure_guest",
            Self::HealGuest => "heal_guest",
            Self::BackupGuest => "backup_guest",
            Self::RestoreGuest => "restore_guest",
            Self::CutoverGuest => "cutover_guest",
            Self::ReverseCutoverGuest => "reverse_cutover_guest",
            Self::RetireGuest => "retire_guest",
            Self::ReclaimGuest => "reclaim_guest",
            Self::RestoreTest => "restore_test",
            Self::DiscardRestoredCopy => "discard_restored_copy",
            Self::DestroyScratch => "destroy_scratch",
            Self::ClearStaleLock => "clear_stale_lock",
            Self::ClearLeftovers => "clear_leftovers",
            Self::PruneBackups => "prune_backups",
            Self::AttachDisk => "attach_disk",
            Self::DetachDisk => "detach_disk",
            Self::DecommissionDisk => "decommission_disk",
            Self::AssignDisk => "assign_disk",
            Self::FormatDisk => "format_disk",
            Self::RotateBackupKey => "rotate_backup_key",
            Self::ForgetKey => "forget_key",
            Self::ReplaceRecoveryCode => "replace_recovery_code",
            Self::RotateOperators => "rotate_operators",
            Self::ResolveOperation => "resolve_operation",
            Self::ChangeTunnel => "change_tunnel",
            Self::UpdateHost => "update_host",
            Self::UpdateController => "update_controller",
            Self::DeployApp => "deploy_app",
            Self::UpdateApp => "update_app",
            Self::OpenSupportAccess => "open_support_access",
            Self::CollectDiagnostics => "collect_diagnostics",
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OperationKind {
    type Err = UnknownOperation;
    fn from_str(text: &str) -> Result<Self, UnknownOperation> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownOperation(text.to_owned()))
    }
}

/// A typed request for one operation, with what it needs to be judged.
///
/// Operations that are not built yet carry the guest they were asked for, if any: enough to refuse them with evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is named as its kind")]
pub enum Operation {
    ProvisionGuest(Provision),
    StartGuest(GuestUuid),
    StopGuest(GuestUuid),
    RebootGuest(GuestUuid),
    ConfigureGuest(Configure),
    HealGuest(Option<GuestUuid>),
    BackupGuest(Backup),
    RestoreGuest(Restore),
    CutoverGuest(Option<GuestUuid>),
    ReverseCutoverGuest(Option<GuestUuid>),
    RetireGuest(Option<GuestUuid>),
    ReclaimGuest(GuestUuid),
    RestoreTest(RestoreTest),
    DiscardRestoredCopy(Option<GuestUuid>),
    DestroyScratch(GuestUuid),
    ClearStaleLock(Option<GuestUuid>),
    ClearLeftovers(Option<GuestUuid>),
    PruneBackups(Option<GuestUuid>),
    AttachDisk(Option<GuestUuid>),
    DetachDisk(Option<GuestUuid>),
    DecommissionDisk(Option<GuestUuid>),
    AssignDisk(Option<GuestUuid>),
    FormatDisk(Option<GuestUuid>),
    RotateBackupKey(Option<GuestUuid>),
    ForgetKey(Option<GuestUuid>),
    ReplaceRecoveryCode(Option<GuestUuid>),
    RotateOperators(Option<GuestUuid>),
    ResolveOperation(Option<GuestUuid>),
    ChangeTunnel(Option<GuestUuid>),
    UpdateHost(Option<GuestUuid>),
    UpdateController(Option<GuestUuid>),
    DeployApp(Option<GuestUuid>),
    UpdateApp(Option<GuestUuid>),
    OpenSupportAccess(Option<GuestUuid>),
    CollectDiagnostics(Option<GuestUuid>),
}

impl Operation {
    /// Its kind.
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::ProvisionGuest(_) => OperationKind::ProvisionGuest,
            Self::StartGuest(_) => OperationKind::StartGuest,
            Self::StopGuest(_) => OperationKind::StopGuest,
            Self::RebootGuest(_) => OperationKind::RebootGuest,
            Self::ConfigureGuest(_) => OperationKind::ConfigureGuest,
            Self::HealGuest(_) => OperationKind::HealGuest,
            Self::BackupGuest(_) => OperationKind::BackupGuest,
            Self::RestoreGuest(_) => OperationKind::RestoreGuest,
            Self::CutoverGuest(_) => OperationKind::CutoverGuest,
            Self::ReverseCutoverGuest(_) => OperationKind::ReverseCutoverGuest,
            Self::RetireGuest(_) => OperationKind::RetireGuest,
            Self::ReclaimGuest(_) => OperationKind::ReclaimGuest,
            Self::RestoreTest(_) => OperationKind::RestoreTest,
            Self::DiscardRestoredCopy(_) => OperationKind::DiscardRestoredCopy,
            Self::DestroyScratch(_) => OperationKind::DestroyScratch,
            Self::ClearStaleLock(_) => OperationKind::ClearStaleLock,
            Self::ClearLeftovers(_) => OperationKind::ClearLeftovers,
            Self::PruneBackups(_) => OperationKind::PruneBackups,
            Self::AttachDisk(_) => OperationKind::AttachDisk,
            Self::DetachDisk(_) => OperationKind::DetachDisk,
            Self::DecommissionDisk(_) => OperationKind::DecommissionDisk,
            Self::AssignDisk(_) => OperationKind::AssignDisk,
            Self::FormatDisk(_) => OperationKind::FormatDisk,
            Self::RotateBackupKey(_) => OperationKind::RotateBackupKey,
            Self::ForgetKey(_) => OperationKind::ForgetKey,
            Self::ReplaceRecoveryCode(_) => OperationKind::ReplaceRecoveryCode,
            Self::RotateOperators(_) => OperationKind::RotateOperators,
            Self::ResolveOperation(_) => OperationKind::ResolveOperation,
            Self::ChangeTunnel(_) => OperationKind::ChangeTunnel,
            Self::UpdateHost(_) => OperationKind::UpdateHost,
            Self::UpdateController(_) => OperationKind::UpdateController,
            Self::DeployApp(_) => OperationKind::DeployApp,
            Self::UpdateApp(_) => OperationKind::UpdateApp,
            Self::OpenSupportAccess(_) => OperationKind::OpenSupportAccess,
            Self::CollectDiagnostics(_) => OperationKind::CollectDiagnostics,
        }
    }

    /// The existing guest that it concerns; `None` where it makes a new one or concerns the box.
    pub fn guest(&self) -> Option<GuestUuid> {
        match self {
            Self::ProvisionGuest(_) => None,
            Self::StartGuest(guest)
            | Self::StopGuest(guest)
            | Self::RebootGuest(guest)
            | Self::ReclaimGuest(guest)
            | Self::DestroyScratch(guest) => Some(*guest),
            Self::ConfigureGuest(Configure { guest, .. })
            | Self::BackupGuest(Backup { guest, .. })
            | Self::RestoreGuest(Restore { guest, .. })
            | Self::RestoreTest(RestoreTest { guest, .. }) => Some(*guest),
            Self::HealGuest(guest)
            | Self::CutoverGuest(guest)
            | Self::ReverseCutoverGuest(guest)
            | Self::RetireGuest(guest)
            | Self::DiscardRestoredCopy(guest)
            | Self::ClearStaleLock(guest)
            | Self::ClearLeftovers(guest)
            | Self::PruneBackups(guest)
            | Self::AttachDisk(guest)
            | Self::DetachDisk(guest)
            | Self::DecommissionDisk(guest)
            | Self::AssignDisk(guest)
            | Self::FormatDisk(guest)
            | Self::RotateBackupKey(guest)
            | Self::ForgetKey(guest)
            | Self::ReplaceRecoveryCode(guest)
            | Self::RotateOperators(guest)
            | Self::ResolveOperation(guest)
            | Self::ChangeTunnel(guest)
            | Self::UpdateHost(guest)
            | Self::UpdateController(guest)
            | Self::DeployApp(guest)
            | Self::UpdateApp(guest)
            | Self::OpenSupportAccess(guest)
            | Self::CollectDiagnostics(guest) => *guest,
        }
    }
}

/// What a guest may use. Sizes in MiB; the root disk in GiB, as Proxmox counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// CPU cores, at least 1.
    pub cores: u16,
    /// Memory in MiB, at least 64.
    pub memory_mib: u32,
    /// Swap in MiB.
    pub swap_mib: u32,
}

/// Restore the golden archive into a free VMID as a new tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision {
    /// The guest's name, a DNS label, never used on this box before.
    pub name: GuestName,
    /// Which golden archive; `None` is the newest imported one.
    pub golden: Option<Digest>,
    /// CPU and memory.
    pub limits: Limits,
    /// Size of the root disk in GiB.
    pub disk_gib: u32,
    /// Apps to run, each already held by the golden archive.
    pub apps: Vec<AppName>,
}

/// Change a guest's limits; an absent value stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configure {
    /// The guest.
    pub guest: GuestUuid,
    /// CPU cores.
    pub cores: Option<u16>,
    /// Memory in MiB.
    pub memory_mib: Option<u32>,
    /// Swap in MiB.
    pub swap_mib: Option<u32>,
    /// Size of the root disk in GiB; a disk only ever grows.
    pub disk_gib: Option<u32>,
}

/// Back a guest up to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The guest.
    pub guest: GuestUuid,
    /// A target from the box's own configuration.
    pub target: StorageId,
    /// Whether the guest's controller takes part (freeze and digests) or nobody freezes.
    pub quiesced: bool,
}

/// Restore an archive of a guest into a new VMID, as a copy whose link stays down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The guest whose archive it is.
    pub guest: GuestUuid,
    /// The archive; `None` is the newest good one.
    pub archive: Option<Volid>,
}

/// Prove an archive by restoring it into a scratch guest that is destroyed afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreTest {
    /// The guest whose archive it is.
    pub guest: GuestUuid,
    /// The archive; `None` is the newest good one.
    pub archive: Option<Volid>,
    /// How far to test.
    pub level: Level,
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Recorded, not yet judged or begun.
    Pending,
    /// The gate said no; final.
    Refused,
    /// Waits for signatures of operators or the customer.
    PendingAuthorization,
    /// Nobody signed in time; final.
    Expired,
    /// Authorized, in its period of grace.
    Waiting,
    /// The customer or an operator stopped it in the grace; final.
    Vetoed,
    /// Its steps run.
    Running,
    /// Verified and over; final.
    Done,
    /// A step failed; what was made is being taken back.
    RollingBack,
    /// Everything that it made is gone; final.
    RolledBack,
    /// Neither forward nor back without a person; the reason says what is offered.
    NeedsOperator,
}

impl OperationState {
    /// The name on wire and screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::PendingAuthorization => "pending_authorization",
            Self::Expired => "expired",
            Self::Waiting => "waiting",
            Self::Vetoed => "vetoed",
            Self::Running => "running",
            Self::Done => "done",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::NeedsOperator => "needs_operator",
        }
    }

    /// Whether nothing follows any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Refused | Self::Expired | Self::Vetoed | Self::Done | Self::RolledBack => true,
            Self::Pending
            | Self::PendingAuthorization
            | Self::Waiting
            | Self::Running
            | Self::RollingBack
            | Self::NeedsOperator => false,
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_on_the_wire_alike() {
        for kind in OperationKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert_eq!("destroy_guest".parse::<OperationKind>(), Err(UnknownOperation("destroy_guest".into())));
    }
}
