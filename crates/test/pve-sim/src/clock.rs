//! What time it is on the host: this machine's time and what the control file adds to it (a clock that jumped). Nothing else in the
//! simulator asks for the time of day; durations are measured with [`std::time::Instant`].

use std::time::{SystemTime, UNIX_EPOCH};

use crate::fault;
use crate::state::Host;
use crate::task::process;

/// Seconds since 1970.
pub(crate) fn now(host: &Host) -> u64 {
    machine().saturating_add_signed(fault::clock_shift(host))
}

/// Seconds since 1970 on this machine, whatever the host's clock says.
pub(crate) fn machine() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default()
}

/// A file's time as the host sees it, in seconds since 1970.
pub(crate) fn since_epoch(host: &Host, time: SystemTime) -> u64 {
    let real = time.duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default();
    real.saturating_add_signed(fault::clock_shift(host))
}

/// The node's local time.
pub(crate) fn local(host: &Host) -> jiff::Zoned {
    let real = jiff::Timestamp::now();
    let shifted = real.checked_add(jiff::SignedDuration::from_secs(fault::clock_shift(host)));
    shifted.unwrap_or(real).to_zoned(jiff::tz::TimeZone::system())
}

/// Seconds since the host was booted: since its last simulated reboot, or else this machine's.
pub(crate) fn uptime(host: &Host) -> u64 {
    let machine = process::uptime();
    // Written in seconds of this machine's uptime; a larger one is from before this machine's own boot.
    let booted: u64 = boot(host).split(' ').next().and_then(|t| t.parse().ok()).unwrap_or_default();
    if booted <= machine { machine - booted } else { machine }
}

/// Which boot of the host this is; empty before the first simulated one.
pub(crate) fn boot(host: &Host) -> String {
    std::fs::read_to_string(host.dir.boot_record()).unwrap_or_default()
}

/// Notes that the host boots now.
pub(crate) fn booted(host: &Host) -> std::io::Result<()> {
    let number = boot(host).split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or_default() + 1;
    let text = format!("{} {number}", process::uptime());
    crate::state::atomic::write(&host.dir.boot_record(), text.as_bytes())
}
