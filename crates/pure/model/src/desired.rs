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

/// One guest as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredGuest {
    /// Its name.
    pub name: GuestName,
    /// Running, stopped or retired.
    pub power: DesiredPower,
    /// Which golden archive a new guest is made from; `None` is the newest imported one.
    pub golden: Option<Digest>,
    /// CPU and memory.
    pub limits: Limits,
    /// Size of the root disk in GiB, when it is made.
    pub disk_gib: u32,
    /// Apps that run in it, each already held by the golden archive.
    pub apps: Vec<AppName>,
    /// When and where to it is backed up; `None` keeps what was said last.
    pub backup: Option<BackupPolicy>,
    /// When its backups are proven; `None` keeps what was said last.
    pub restore_test: Option<RestoreTestPolicy>,
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
