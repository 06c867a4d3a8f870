//! Desired state: what the operator wants of a box. Absence means nothing at all; it never means delete.

use crate::id::{AppName, Digest, GuestName, StorageId};
use crate::operation::Limits;
use serde::{Deserialize, Serialize};

/// What should be, as far as it was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredState {
    /// Guests by name, each name once.
    pub guests: Vec<DesiredGuest>,
    /// Limits of the box that should be stricter than its own.
    pub limits: Tightening,
}

/// What the operator wishes a box's limits to be; only what is stricter than the box's own has an effect. `None` wishes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Tightening {
    /// At most so many tenants without an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_guests: Option<u32>,
    /// At least so many bytes stay free on a storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 17_592_186_044_416_u64))]
    pub reserve_bytes: Option<u64>,
    /// No new backup once a target is full to so many percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 50, maximum = 100))]
    pub target_full_percent: Option<u8>,
    /// At least so many seconds between the signatures and what outlives a guest's reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 31_536_000))]
    pub grace_s: Option<u64>,
    /// At most so many operations that one key authorizes in a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub signatures_per_day: Option<u32>,
    /// At least so many backups of a guest stay on a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 1000))]
    pub keep_backups: Option<u32>,
    /// Hours that lie at least between the oldest and the newest of those that stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 87_600))]
    pub keep_spread_h: Option<u32>,
}

/// A wished limit that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limits: {field} = {value} is outside {limits}")]
pub struct LimitError {
    field: &'static str,
    value: u64,
    limits: &'static str,
}

impl Tightening {
    /// Whether it leaves the box able to work: signatures can be given, graces and spreads end, a target that is half empty takes
    /// a backup.
    ///
    /// # Errors
    /// [`LimitError`] with the first field that does not.
    pub fn check(&self) -> Result<(), LimitError> {
        let check = |field, value: Option<u64>, range: std::ops::RangeInclusive<u64>, limits| match value {
            Some(value) if !range.contains(&value) => Err(LimitError { field, value, limits }),
            Some(_) | None => Ok(()),
        };
        check("target_full_percent", self.target_full_percent.map(u64::from), 50..=100, "50 to 100 percent")?;
        check("reserve_bytes", self.reserve_bytes, 0..=1 << 44, "0 to 17592186044416 bytes (16 TiB)")?;
        check("grace_s", self.grace_s, 0..=31_536_000, "0 to 31536000 s (a year)")?;
        check("signatures_per_day", self.signatures_per_day.map(u64::from), 1..=1000, "1 to 1000")?;
        check("keep_backups", self.keep_backups.map(u64::from), 0..=1000, "0 to 1000")?;
        check("keep_spread_h", self.keep_spread_h.map(u64::from), 0..=87_600, "0 to 87600 h (ten years)")
    }

    /// This wish on top of an earlier one: what it does not name stays wished.
    #[must_use]
    pub fn over(self, earlier: Self) -> Self {
        Self {
            max_guests: self.max_guests.or(earlier.max_guests),
            reserve_bytes: self.reserve_bytes.or(earlier.reserve_bytes),
            target_full_percent: self.target_full_percent.or(earlier.target_full_percent),
            grace_s: self.grace_s.or(earlier.grace_s),
            signatures_per_day: self.signatures_per_day.or(earlier.signatures_per_day),
            keep_backups: self.keep_backups.or(earlier.keep_backups),
            keep_spread_h: self.keep_spread_h.or(earlier.keep_spread_h),
        }
    }
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
