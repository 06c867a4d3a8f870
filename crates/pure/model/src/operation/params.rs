//! What each operation needs to be judged and run.

use crate::backup::Level;
use crate::id::{AppName, Digest, DurableId, GuestName, GuestUuid, OperationId, StorageId, Volid};
use serde::{Deserialize, Serialize};

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

/// Let a restored copy take over from the guest that its archive is of; that one becomes a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutover {
    /// The customer's guest; this identity goes over to the copy.
    pub guest: GuestUuid,
    /// The restored copy.
    pub copy: GuestUuid,
}

/// Remove backups that retention no longer keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// Whose backups.
    pub guest: GuestUuid,
    /// On which target.
    pub target: StorageId,
    /// What retention marks *remove*.
    pub remove: Vec<Volid>,
}

/// What a disk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskRole {
    /// The host's own.
    System,
    /// Holds backups.
    Backup,
    /// Holds a customer's data.
    UserData,
}

/// Give a disk a role, and a guest where it is for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUse {
    /// The disk.
    pub disk: DurableId,
    /// What for.
    pub role: DiskRole,
    /// Whose data it will hold.
    pub guest: Option<GuestUuid>,
}

/// Forget an old backup key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForgetKey {
    /// Whose key.
    pub guest: GuestUuid,
    /// The key's fingerprint.
    pub key: Digest,
}

/// Put the next version of the operators' file into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotateOperators {
    /// The version of the new file.
    pub version: u64,
    /// SHA-256 of its bytes.
    pub document: Digest,
}

/// How an operation that needs an operator can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayOut {
    /// Forward again; the step asks the real system first.
    Retry,
    /// Take back what was made.
    RollBack,
    /// A person has cleared up by hand.
    Accept,
}

impl WayOut {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Retry, Self::RollBack, Self::Accept];

    /// The word on wire and screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RollBack => "roll_back",
            Self::Accept => "accept",
        }
    }
}

/// Lead an operation out of `needs_operator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolve {
    /// The operation that stands.
    pub operation: OperationId,
    /// How it goes on.
    pub way: WayOut,
}

/// A release, by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// Bring a guest's controller to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateController {
    /// The guest.
    pub guest: GuestUuid,
    /// The release.
    pub version: Version,
}

/// An app of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The guest.
    pub guest: GuestUuid,
    /// The app.
    pub app: AppName,
}
