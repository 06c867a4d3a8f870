//! Facts that only some operations are judged by.

use super::Seen;
use felhom_model::operation::{DiskRole, WayOut};
use felhom_model::{Digest, GuestUuid, OperationId, StorageId, Vmid, Volid};
use jiff::Timestamp;

/// Facts that only some operations need. A row that does not get its own refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concerning {
    /// Start, stop, reboot, heal, retire, and what is judged by the guest alone.
    Nothing,
    /// For `provision_guest`.
    Provision(ProvisionFacts),
    /// For `backup_guest`.
    Backup(BackupFacts),
    /// For `restore_guest` and `restore_test`.
    Restore(RestoreFacts),
    /// For `destroy_scratch`.
    Destroy(DestroyFacts),
    /// For `discard_restored_copy`.
    Discard {
        /// Its volumes.
        volumes: DestroyFacts,
        /// It was handed to somebody: its link was up, or it got a token.
        served: bool,
    },
    /// For `cutover_guest` and `reverse_cutover_guest`.
    Cutover(CutoverFacts),
    /// For `reclaim_guest`.
    Reclaim(ReclaimFacts),
    /// For `prune_backups`.
    Prune(PruneFacts),
    /// For `clear_stale_lock` and `clear_leftovers`.
    Leftovers(LeftoverFacts),
    /// For `configure_guest`: the storage of the guest's root disk, which may grow.
    Grow {
        /// It.
        storage: StorageId,
    },
    /// For everything that concerns a disk.
    Disk(DiskFacts),
    /// For `rotate_backup_key` and `forget_key`.
    Key(KeyFacts),
    /// For `rotate_operators`.
    Rotation(RotationFacts),
    /// For `resolve_operation`.
    Resolve(ResolveFacts),
    /// For `update_host` and `update_controller`.
    Release(ReleaseFacts),
    /// For `deploy_app` and `update_app`.
    App(AppFacts),
    /// For `collect_diagnostics`: whether it asks for more than the allow-list names.
    Diagnostics {
        /// It does.
        beyond_allow_list: bool,
    },
}

/// A VMID that was chosen for a new guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmidFact {
    /// The VMID.
    pub vmid: Vmid,
    /// Whether a guest or a configuration stands there, ours or not.
    pub taken: bool,
    /// Archives that any storage still holds under it: a VMID with backups is not used again.
    pub archives_under_it: u32,
}

/// About the golden archive and the place for the new guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionFacts {
    /// The operation that first used the name on this box, by the ledger; the same operation may go on with it.
    pub name_first_used_by: Option<OperationId>,
    /// The golden archive that was chosen; it must be one that a signed release names and that was imported.
    pub golden: Digest,
    /// SHA-256 of the file that would be unpacked.
    pub digest: Seen<Digest>,
    /// Lines of the archive's configuration that are not on the allow-list ([`crate::archive_config`]).
    pub forbidden_config: Seen<Vec<String>>,
    /// The VMID for it.
    pub vmid: Seen<VmidFact>,
    /// Where its root disk goes.
    pub storage: StorageId,
    /// Bytes that the new guest may come to need there.
    pub projected_bytes: u64,
}

/// What a target's storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory on this box.
    Directory,
    /// Anything off the box: not built yet.
    OffTheBox,
}

/// About the target and the last backups to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// What the target is, by the box's own record.
    pub target_kind: TargetKind,
    /// When the newest successful backup of this guest to this target was taken, by the ledger.
    pub last_success: Option<Timestamp>,
    /// When the guest last stopped, by the ledger or the host's task list.
    pub last_stopped: Option<Timestamp>,
    /// Effective vzdump defaults of the host that would change our archive unseen (`exclude-path`, `script`, prune
    /// rules), as the line to change.
    pub foreign_settings: Seen<Vec<String>>,
    /// What the archive may take on the target: as much as the largest one of this guest there; bytes.
    pub projected_bytes: u64,
}

/// About the archive and the place for what is restored from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreFacts {
    /// The archive that was chosen; its row is looked up in [`felhom_model::observed::Observed::archives`].
    pub archive: Volid,
    /// The guest that the archive's own notes name.
    pub notes_guest: Seen<GuestUuid>,
    /// SHA-256 of the file that would be unpacked.
    pub digest: Seen<Digest>,
    /// Lines of the archive's configuration that are not on the allow-list ([`crate::archive_config`]).
    pub forbidden_config: Seen<Vec<String>>,
    /// The VMID for it.
    pub vmid: Seen<VmidFact>,
    /// Where the restored volumes go.
    pub storage: StorageId,
    /// Bytes that they will take there.
    pub projected_bytes: u64,
}

/// About the volumes of a guest that is to be destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestroyFacts {
    /// Volumes that its configuration references, mounted or unused.
    pub referenced: Vec<Volid>,
    /// Volumes that the operation which made the guest made, by the ledger.
    pub made: Vec<Volid>,
}

/// About the pair that changes places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutoverFacts {
    /// The guest that the ledger's row of the successor's archive names; nobody where there is no such row.
    pub archive_of: Option<GuestUuid>,
}

/// About a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReclaimFacts {
    /// Its volumes, and those that the ledger says were made for it.
    pub volumes: DestroyFacts,
    /// Configuration keys of its bulk volumes: mount points outside the backup, and bind mounts.
    pub bulk: Vec<String>,
    /// When it stopped for good, by the ledger.
    pub stopped_at: Option<Timestamp>,
    /// Days of this box's running time since its customer was told and did not answer.
    pub unanswered_days: u32,
}

/// About a guest's backups on one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneFacts {
    /// Archives that carry Proxmox's `protected` mark, whoever set it.
    pub protected: Vec<Volid>,
    /// Much more of the guest changed before its newest backup than usual.
    pub churned: bool,
}

/// What a dead worker left, or is suspected to have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftoverFacts {
    /// The operation whose task left it, by the journal.
    pub maker: Option<OperationId>,
    /// That task is over: judged by its status, not by the list (F90).
    pub task_over: bool,
    /// Tasks that hold the guest now.
    pub running_tasks: Vec<String>,
    /// What would be removed.
    pub parts: Vec<Part>,
    /// Why the guest carries no mark, if that is known.
    pub unmarked: Unmarked,
}

/// Why a guest carries no mark although it is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmarked {
    /// No reason is known: without its mark it is not ours.
    NoReason,
    /// The maker was still restoring it: its VMID was absent when the intent was written, its configuration names no other uuid,
    /// and only volumes that were absent then.
    WhileMade,
    /// The maker was destroying it, with the gate's permit: what stands there has the lock `destroyed` and nothing else.
    WhileDestroyed,
}

/// One thing that would be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is, e.g. a volume id, a mount, a process.
    pub what: String,
    /// Ledger and journal say that the maker made it.
    pub own: bool,
}

/// About a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFacts {
    /// What it is used for now; `None` for a disk without a role.
    pub role: Option<DiskRole>,
    /// Something of the host lies on it: its root, swap, boot, or a storage that is not ours.
    pub of_the_host: bool,
    /// Apps and guests that still use it.
    pub consumers: Vec<String>,
    /// The guest that it is assigned to.
    pub assigned_to: Option<GuestUuid>,
    /// The guest that the executor formatted it for.
    pub formatted_for: Option<GuestUuid>,
    /// The guest that its marker file names.
    pub marker_names: Option<GuestUuid>,
}

/// About a backup key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// When the guest's key was rotated last.
    pub rotated_at: Option<Timestamp>,
    /// An L1 failed since, and no rotation followed it yet.
    pub failed_since: bool,
    /// The new key's envelope was read back equal from the local target or from PBS.
    pub envelope_read_back: Seen<bool>,
    /// Backups under the key.
    pub backups_under_it: u32,
}

/// About a new version of the operators' file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationFacts {
    /// The version in force.
    pub current: u64,
    /// The document at hand.
    pub document: Digest,
    /// Its version.
    pub version: u64,
    /// The thresholds of both versions signed these bytes.
    pub signed: bool,
}

/// About an operation that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveFacts {
    /// The ways out that its journal offers.
    pub offered: Vec<WayOut>,
    /// What it is, for people: kind and guest. Nothing if no operation of this id is known.
    pub what: Option<String>,
    /// Why it stands.
    pub reason: Option<String>,
    /// The guest that it holds.
    pub guest: Option<GuestUuid>,
}

/// About a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// The release keys signed it.
    pub signed: bool,
    /// Its version, from the signed bytes.
    pub version: u64,
    /// The lowest version that may still be installed.
    pub floor: u64,
    /// An operation is past its point of no return.
    pub past_no_return: bool,
}

/// About an app's catalogue entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppFacts {
    /// The release keys signed the entry.
    pub signed: bool,
    /// Its serial number.
    pub serial: u64,
    /// The serial number of the installed one, if it is installed.
    pub installed: Option<u64>,
    /// It takes images from a source that the installed entry did not have.
    pub new_source: bool,
    /// A field's value came from the hub.
    pub value_from_hub: bool,
}
