//! A user of the app who never stops asking: measures from outside how long it did not answer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::http;
use crate::run;

const EVERY: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Answers with status 200.
    pub(crate) answers: u64,
    /// Requests without one.
    pub(crate) failures: u64,
    /// The longest time between two good answers.
    pub(crate) longest_gap: Duration,
}

/// Asks until it is told to end.
pub(crate) struct Meter {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Meter {
    /// Begin to ask this address for its health.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || measure(&ended, || healthy(address)));
        Self { end, thread }
    }

    /// End, and say what was seen.
    pub(crate) fn stop(self) -> Seen {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn healthy(address: SocketAddr) -> bool {
    http::ask(address, "GET", "/health", b"", PATIENCE).is_ok_and(|answer| answer.status == 200)
}

fn measure(end: &AtomicBool, ask: impl Fn() -> bool) -> Seen {
    let mut seen = Seen::default();
    let mut last = Instant::now();
    while !end.load(Ordering::Relaxed) {
        if ask() {
            seen.longest_gap = seen.longest_gap.max(last.elapsed());
            seen.answers += 1;
            last = Instant::now();
        } else {
            seen.failures += 1;
        }
        run::pause(EVERY);
    }
    seen.longest_gap = seen.longest_gap.max(last.elapsed());
    seen
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn a_gap_is_measured_also_at_the_end() {
        let end = AtomicBool::new(false);
        let asked = AtomicU32::new(0);
        let seen = measure(&end, || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => true,
            1 => {
                run::pause(Duration::from_millis(60));
                true
            }
            2 => false,
            _ => {
                end.store(true, Ordering::Relaxed);
                true
            }
        });
        assert_eq!((seen.answers, seen.failures), (3, 1));
        assert!(seen.longest_gap >= Duration::from_millis(60), "{seen:?}");
    }
}
