//! Limits from the box's own configuration. What comes from outside can only make them stricter.

use felhom_model::Vmid;
use felhom_model::desired::Tightening;
use jiff::SignedDuration;
use std::fmt;

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
    /// Seconds between the signatures and the act of what outlives a guest's reach: reclaiming, new operators, keys.
    pub grace_s: u64,
    /// Operations that one key may authorize in a day.
    pub signatures_per_day: u32,
    /// Days of unanswered notices after which two operators suffice without the customer.
    pub unanswered_days: u32,
    /// Backups of a guest that stay on a target whatever retention says.
    pub keep_backups: u32,
    /// How far apart the oldest and the newest of those that stay must lie.
    pub keep_spread: SignedDuration,
    /// A newest backup smaller than so many percent of the one before it has shrunk abnormally.
    pub shrunk_percent: u8,
    /// The least time between two rotations of a guest's key.
    pub rotation_interval: SignedDuration,
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
            grace_s: 7 * 24 * 3600,
            signatures_per_day: 10,
            unanswered_days: 90,
            keep_backups: 2,
            keep_spread: SignedDuration::from_hours(3 * 24),
            shrunk_percent: 50,
            rotation_interval: SignedDuration::from_hours(7 * 24),
        }
    }
}

impl BoxLimits {
    /// These limits, made stricter where `wish` is.
    #[must_use]
    pub fn tightened(&self, wish: &Tightening) -> Self {
        let mut limits = self.clone();
        let least = |own: &mut u32, other: Option<u32>| *own = other.map_or(*own, |other| (*own).min(other));
        least(&mut limits.max_guests, wish.max_guests);
        least(&mut limits.signatures_per_day, wish.signatures_per_day);
        let full = &mut limits.target_full_percent;
        *full = wish.target_full_percent.map_or(*full, |other| (*full).min(other));
        limits.reserve_bytes = limits.reserve_bytes.max(wish.reserve_bytes.unwrap_or(0));
        limits.grace_s = limits.grace_s.max(wish.grace_s.unwrap_or(0));
        limits.keep_backups = limits.keep_backups.max(wish.keep_backups.unwrap_or(0));
        limits.keep_spread =
            limits.keep_spread.max(SignedDuration::from_hours(wish.keep_spread_h.unwrap_or(0).into()));
        limits
    }
}
