//! Observed state: facts that the executor read from the real system just now, joined with its ledger.

use crate::backup::Archive;
use crate::id::{AppName, Digest, GuestName, GuestUuid, OperationId, StorageId, Vmid};
use crate::operation::{Limits, OperationKind};

/// Everything that planner and gate may rely on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Guests in our pool and those that the ledger says should exist.
    pub guests: Vec<ObservedGuest>,
    /// Archives of the ledger that are present.
    pub archives: Vec<Archive>,
    /// Storages of the box's configuration.
    pub storages: Vec<ObservedStorage>,
    /// Golden archives that were imported, newest first.
    pub golden: Vec<Golden>,
    /// Operations that are not over yet.
    pub active: Vec<ActiveOperation>,
    /// Names that were ever used on this box.
    pub used_names: Vec<GuestName>,
}

impl Observed {
    /// The guest with this uuid.
    pub fn guest(&self, uuid: GuestUuid) -> Option<&ObservedGuest> {
        self.guests.iter().find(|guest| guest.uuid == Some(uuid))
    }
    /// The tenant with this name.
    pub fn tenant(&self, name: &GuestName) -> Option<&ObservedGuest> {
        self.guests.iter().find(|guest| guest.name.as_ref() == Some(name) && guest.purpose == Purpose::Tenant)
    }
}

/// What a guest was made for, by the ledger. It is given at creation and nothing can be turned into scratch or copy later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A customer's guest.
    Tenant,
    /// Restored from a backup; its link stays down.
    Copy,
    /// Made by a restore test, to be destroyed by it.
    Scratch,
    /// Replaced or retired, everything kept.
    Tombstone,
    /// Not ours: no row in the ledger, or a row without its mark.
    Foreign,
}

impl Purpose {
    /// The word on wire and screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Copy => "copy",
            Self::Scratch => "scratch",
            Self::Tombstone => "tombstone",
            Self::Foreign => "foreign",
        }
    }
}

/// Whether a guest runs, as Proxmox says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Power {
    /// Its init runs.
    Running,
    /// It does not run.
    Stopped,
    /// The ledger has it, Proxmox has not.
    Missing,
    /// Proxmox has it, and does not know just now whether it runs.
    Unknown,
}

/// How well a guest's origin is shown: provenance needs the ledger's row *and* the mark read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provenance {
    /// Row and mark agree.
    Proven,
    /// A row whose guest carries no mark or another one.
    RowOnly,
    /// A mark without a row.
    MarkOnly,
    /// Neither.
    None,
}

/// One guest as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedGuest {
    /// From the ledger's row; `None` for a foreign guest.
    pub uuid: Option<GuestUuid>,
    /// Its VMID.
    pub vmid: Vmid,
    /// Its name in the ledger, else its host name where that is a valid one.
    pub name: Option<GuestName>,
    /// By the ledger.
    pub purpose: Purpose,
    /// Row and mark.
    pub provenance: Provenance,
    /// Running, stopped or missing.
    pub power: Power,
    /// Proxmox's `lock`, e.g. `backup`.
    pub lock: Option<String>,
    /// Proxmox's `protection`.
    pub protection: bool,
    /// CPU and memory as configured.
    pub limits: Limits,
    /// Size of the root disk in GiB, rounded up; `None` where the configuration does not tell.
    pub disk_gib: Option<u32>,
    /// Apps that it was told to run.
    pub apps: Vec<AppName>,
    /// The operation that made it.
    pub made_by: Option<OperationId>,
    /// For a copy or scratch guest: the guest whose archive it was restored from.
    pub restored_from: Option<GuestUuid>,
    /// For a tombstone: the guest that took over from it, if one did.
    pub succeeded_by: Option<GuestUuid>,
}

/// A storage with its free space in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedStorage {
    /// Its id.
    pub id: StorageId,
    /// Whether Proxmox can use it now.
    pub active: bool,
    /// Free bytes.
    pub free: u64,
    /// Size in bytes.
    pub total: u64,
    /// Whether the box's own configuration lists it as a backup target.
    pub is_target: bool,
}

/// A golden archive of a signed release, imported on this box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// SHA-256 of the archive.
    pub digest: Digest,
    /// The release that named it.
    pub release: u64,
    /// Apps that it holds.
    pub apps: Vec<AppName>,
    /// Size in bytes.
    pub bytes: u64,
}

/// An operation that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveOperation {
    /// Its id.
    pub id: OperationId,
    /// Its kind.
    pub kind: OperationKind,
    /// The guest it holds, or is making.
    pub guest: Option<GuestUuid>,
    /// The name of the guest that it is making.
    pub name: Option<GuestName>,
}
