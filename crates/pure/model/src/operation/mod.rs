//! Operations: the closed list of what can be asked for, the same words in journal, wire, CLI and screens.

mod params;
mod state;

pub use params::{
    App, Backup, Configure, Cutover, DiskRole, DiskUse, ForgetKey, Limits, Provision, Prune, Resolve,
    Restore, RestoreTest, RotateOperators, UpdateController, Version, WayOut,
};
pub use state::OperationState;

use crate::id::{DurableId, GuestUuid};
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is named as its kind")]
pub enum Operation {
    ProvisionGuest(Provision),
    StartGuest(GuestUuid),
    StopGuest(GuestUuid),
    RebootGuest(GuestUuid),
    ConfigureGuest(Configure),
    HealGuest(GuestUuid),
    BackupGuest(Backup),
    RestoreGuest(Restore),
    CutoverGuest(Cutover),
    ReverseCutoverGuest(GuestUuid),
    RetireGuest(GuestUuid),
    ReclaimGuest(GuestUuid),
    RestoreTest(RestoreTest),
    DiscardRestoredCopy(GuestUuid),
    DestroyScratch(GuestUuid),
    ClearStaleLock(GuestUuid),
    ClearLeftovers(GuestUuid),
    PruneBackups(Prune),
    AttachDisk(DurableId),
    DetachDisk(DurableId),
    DecommissionDisk(DurableId),
    AssignDisk(DiskUse),
    FormatDisk(DiskUse),
    RotateBackupKey(GuestUuid),
    ForgetKey(ForgetKey),
    ReplaceRecoveryCode(GuestUuid),
    RotateOperators(RotateOperators),
    ResolveOperation(Resolve),
    ChangeTunnel,
    UpdateHost(Version),
    UpdateController(UpdateController),
    DeployApp(App),
    UpdateApp(App),
    OpenSupportAccess(GuestUuid),
    CollectDiagnostics(GuestUuid),
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
            Self::ChangeTunnel => OperationKind::ChangeTunnel,
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
            Self::StartGuest(guest)
            | Self::StopGuest(guest)
            | Self::RebootGuest(guest)
            | Self::HealGuest(guest)
            | Self::ReverseCutoverGuest(guest)
            | Self::RetireGuest(guest)
            | Self::ReclaimGuest(guest)
            | Self::DiscardRestoredCopy(guest)
            | Self::DestroyScratch(guest)
            | Self::ClearStaleLock(guest)
            | Self::ClearLeftovers(guest)
            | Self::RotateBackupKey(guest)
            | Self::ReplaceRecoveryCode(guest)
            | Self::OpenSupportAccess(guest)
            | Self::CollectDiagnostics(guest)
            | Self::ConfigureGuest(Configure { guest, .. })
            | Self::BackupGuest(Backup { guest, .. })
            | Self::RestoreGuest(Restore { guest, .. })
            | Self::RestoreTest(RestoreTest { guest, .. })
            | Self::CutoverGuest(Cutover { guest, .. })
            | Self::PruneBackups(Prune { guest, .. })
            | Self::ForgetKey(ForgetKey { guest, .. })
            | Self::UpdateController(UpdateController { guest, .. })
            | Self::DeployApp(App { guest, .. })
            | Self::UpdateApp(App { guest, .. }) => Some(*guest),
            Self::AssignDisk(ask) | Self::FormatDisk(ask) => ask.guest,
            Self::ProvisionGuest(_)
            | Self::AttachDisk(_)
            | Self::DetachDisk(_)
            | Self::DecommissionDisk(_)
            | Self::RotateOperators(_)
            | Self::ResolveOperation(_)
            | Self::ChangeTunnel
            | Self::UpdateHost(_) => None,
        }
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
