//! What the enforcing program observed itself, as far as the rows read it.

use felhom_model::observed::Observed;
use felhom_model::{Digest, GuestUuid, OperationId, StorageId, Vmid, Volid};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// Everything that a verdict may depend on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Read from the real system just now, joined with the ledger.
    pub observed: Observed,
    /// From the box's own configuration; nothing from the hub changes them.
    pub limits: BoxLimits,
    /// The box's clock.
    pub now: Timestamp,
    /// The operation that is judged, or on whose behalf a step is judged.
    pub within: OperationId,
    /// First judgement, or the one right before the act.
    pub stage: Stage,
    /// What only this kind of operation needs to know.
    pub concerning: Concerning,
}

/// When the gate is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the operation is journaled as running: what costs time may be unknown.
    Begin,
    /// Immediately before an act that cannot be taken back (the restore's POST, a destroy): nothing may be unknown.
    BeforeAct,
}

/// A fact that costs time to observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<T> {
    /// Not observed so far; good enough at [`Stage::Begin`] only.
    NotYet,
    /// Observed now.
    Is(T),
}

/// Facts that only some operations need. A row that does not get its own refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concerning {
    /// Start, stop, reboot, configure, reclaim, and everything that is not built.
    Nothing,
    /// For `provision_guest`.
    Provision(ProvisionFacts),
    /// For `backup_guest`.
    Backup(BackupFacts),
    /// For `restore_guest` and `restore_test`.
    Restore(RestoreFacts),
    /// For `destroy_scratch`.
    Destroy(DestroyFacts),
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
}

/// About the archive and the place for what is restored from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreFacts {
    /// The archive that was chosen; its row is looked up in [`Observed::archives`].
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

/// VMIDs from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmidRange {
    /// The lowest.
    pub first: u32,
    /// The highest.
    pub last: u32,
}

impl VmidRange {
    /// Whether `vmid` lies in it.
    pub fn contains(self, vmid: Vmid) -> bool {
        (self.first..=self.last).contains(&u32::from(vmid))
    }
}

impl fmt::Display for VmidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Where each purpose lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmidRanges {
    /// Customers' guests.
    pub tenants: VmidRange,
    /// Restored copies.
    pub copies: VmidRange,
    /// Scratch guests of restore tests.
    pub scratch: VmidRange,
}

/// Limits from the box's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxLimits {
    /// Tenants that need no operator; each one above needs one.
    pub max_guests: u32,
    /// Bytes that must stay free on a storage after a guest was made there.
    pub reserve_bytes: u64,
    /// Percent of a target that may be used before a new backup is refused.
    pub target_full_percent: u8,
    /// The least cores of a guest.
    pub min_cores: u16,
    /// The least memory of a guest in MiB.
    pub min_memory_mib: u32,
    /// The smallest root disk in GiB.
    pub min_disk_gib: u32,
    /// The least time between two successful backups of a guest to one target.
    pub backup_interval: SignedDuration,
    /// VMIDs by purpose.
    pub vmids: VmidRanges,
}

impl Default for BoxLimits {
    fn default() -> Self {
        Self {
            max_guests: 1,
            reserve_bytes: 2 << 30,
            target_full_percent: 95,
            min_cores: 1,
            min_memory_mib: 64,
            min_disk_gib: 1,
            backup_interval: SignedDuration::from_mins(10),
            vmids: VmidRanges {
                tenants: VmidRange { first: 2000, last: 2799 },
                copies: VmidRange { first: 2800, last: 2899 },
                scratch: VmidRange { first: 2900, last: 2999 },
            },
        }
    }
}
