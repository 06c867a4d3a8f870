//! Desired state: what the operator wants of a box. Absence means nothing at all; it never means delete.

use crate::id::{AppName, Digest, GuestName, StorageId};
use crate::operation::Limits;

/// What should be, as far as it was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredState {
    /// Guests by name, each name once.
    pub guests: Vec<DesiredGuest>,
}

/// How a guest should stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DesiredPower {
    /// Made if missing, and running.
    Running,
    /// Made if missing, and stopped.
    Stopped,
    /// To become a tombstone: nothing happens without an authorization.
    Retired,
}

/// One guest as it should be. `None` keeps what was said last; what was never said has the default that stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredGuest {
    /// Its name.
    pub name: GuestName,
    /// Running (default), stopped or retired.
    pub power: Option<DesiredPower>,
    /// Which golden archive a new guest is made from; the default is the newest imported one.
    pub golden: Option<Digest>,
    /// CPU cores; default 2 for a new guest.
    pub cores: Option<u16>,
    /// Memory in MiB; default 2048 for a new guest.
    pub memory_mib: Option<u32>,
    /// Swap in MiB; default 0 for a new guest.
    pub swap_mib: Option<u32>,
    /// Size of the root disk in GiB, when it is made; default 8.
    pub disk_gib: Option<u32>,
    /// Apps that run in it, each already held by the golden archive; default none.
    pub apps: Option<Vec<AppName>>,
    /// When and where to it is backed up; default never.
    pub backup: Option<BackupPolicy>,
    /// When its backups are proven; a new backup is proven in any case.
    pub restore_test: Option<RestoreTestPolicy>,
}

impl DesiredGuest {
    /// A guest of which nothing but the name was said.
    pub fn named(name: GuestName) -> Self {
        Self {
            name,
            power: None,
            golden: None,
            cores: None,
            memory_mib: None,
            swap_mib: None,
            disk_gib: None,
            apps: None,
            backup: None,
            restore_test: None,
        }
    }

    /// How it should stand.
    pub fn power(&self) -> DesiredPower {
        self.power.unwrap_or(DesiredPower::Running)
    }

    /// CPU and memory of a new guest.
    pub fn limits(&self) -> Limits {
        Limits {
            cores: self.cores.unwrap_or(2),
            memory_mib: self.memory_mib.unwrap_or(2048),
            swap_mib: self.swap_mib.unwrap_or(0),
        }
    }

    /// Size of a new guest's root disk in GiB.
    pub fn disk_gib(&self) -> u32 {
        self.disk_gib.unwrap_or(8)
    }

    /// Apps that should run in it.
    pub fn apps(&self) -> &[AppName] {
        self.apps.as_deref().unwrap_or_default()
    }
}

/// A backup schedule to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupPolicy {
    /// Cron expression of five fields in the box's time zone.
    pub schedule: String,
    /// A target that the box itself knows.
    pub target: StorageId,
}

/// A schedule of restore tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreTestPolicy {
    /// Cron expression of five fields in the box's time zone. A backup that was never tested is due at once.
    pub schedule: String,
}
