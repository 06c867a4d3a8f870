//! Time that nobody can set: the kernel's clock since the boot, and how long this box ran in all.

use felhom_journal::JournalError;
use rustix::time::{ClockId, clock_gettime};

use crate::ledger::Ledger;

const SETTING: &str = "ran_s";

/// Counts seconds while this program runs; what was kept before is the beginning.
#[derive(Debug)]
pub struct RunningClock {
    before_s: u64,
    began_ms: u64,
}

impl RunningClock {
    /// Goes on from what the ledger kept.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub fn resume(ledger: &Ledger) -> Result<Self, JournalError> {
        Ok(Self { before_s: ledger.setting(SETTING)?.unwrap_or(0), began_ms: boottime_ms() })
    }

    /// `CLOCK_BOOTTIME` in milliseconds: it goes on while the machine sleeps, and cannot be set.
    #[must_use]
    pub fn boottime_ms(&self) -> u64 {
        boottime_ms()
    }

    /// Seconds that this program ran on this box, in all its lives.
    #[must_use]
    pub fn ran_s(&self) -> u64 {
        self.before_s + boottime_ms().saturating_sub(self.began_ms) / 1000
    }

    /// Keeps what was counted; a crash loses what came after.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn keep(&self, ledger: &Ledger) -> Result<(), JournalError> {
        ledger.set_setting(SETTING, &self.ran_s())
    }
}

fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let whole = u64::try_from(now.tv_sec).unwrap_or_default().saturating_mul(1000);
    whole + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000
}
