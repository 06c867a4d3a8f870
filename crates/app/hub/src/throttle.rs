//! Slows down those who guess: counts failures per source, refuses when there were too many lately.
//!
//! In memory only: a restart forgives. What is guessed at has at least 128 bits, apart from passwords, whose check costs
//! time and is therefore refused *before* it is made.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that are allowed within [`WINDOW`].
const ALLOWED: u32 = 10;
/// After this without a failure everything is forgiven.
const WINDOW: Duration = Duration::from_secs(60);
/// Sources that are remembered; beyond it the old ones are forgotten.
const REMEMBERED: usize = 10_000;

/// Who failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// An address with an unknown API token.
    Api(IpAddr),
    /// An address with an unknown ticket.
    Enrolment(IpAddr),
    /// An address at the login page.
    Login(IpAddr),
    /// An operator's name at the login page, whoever tries.
    Operator(String),
}

struct Count {
    failures: u32,
    last: Instant,
}

/// The counts.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<HashMap<Source, Count>>);

impl Throttle {
    /// How long the source has to wait, if it failed too often.
    pub(crate) fn blocked(&self, source: &Source, now: Instant) -> Option<Duration> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(source)?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(count.last))?;
        (count.failures >= ALLOWED && !left.is_zero()).then_some(left)
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, source: Source, now: Instant) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= REMEMBERED {
            counts.retain(|_, count| now.saturating_duration_since(count.last) < WINDOW);
        }
        let count = counts.entry(source).or_insert(Count { failures: 0, last: now });
        if now.saturating_duration_since(count.last) >= WINDOW {
            count.failures = 0;
        }
        *count = Count { failures: count.failures.saturating_add(1), last: now };
    }
}

/// The part of an address that one subscriber holds: all of IPv4, the first 64 bits of IPv6.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_block_for_a_minute() {
        let throttle = Throttle::default();
        let source = Source::Login(subscriber("2001:db8::1".parse().unwrap()));
        let start = Instant::now();
        for _ in 0..ALLOWED {
            assert_eq!(throttle.blocked(&source, start), None);
            throttle.failed(source.clone(), start);
        }
        let neighbour = Source::Login(subscriber("2001:db8::2".parse().unwrap()));
        assert!(throttle.blocked(&neighbour, start).is_some());
        assert_eq!(throttle.blocked(&Source::Operator("ada".into()), start), None);
        assert_eq!(throttle.blocked(&source, start + WINDOW), None);
        throttle.failed(source.clone(), start + WINDOW);
        assert_eq!(throttle.blocked(&source, start + WINDOW), None);
    }
}
