//! A clock that somebody else sets, and orders on standard input.

use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use felhom_clock::Clock;
use jiff::{SignedDuration, Timestamp};

/// What time it was said to be, and when that was said.
pub(crate) struct Reins(Mutex<(Timestamp, Instant)>);

impl Reins {
    /// It is `ms` milliseconds after 1970.
    pub(crate) fn new(ms: i64) -> Self {
        Self(Mutex::new((instant(ms), Instant::now())))
    }

    fn set(&self, ms: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (instant(ms), Instant::now());
    }

    fn now(&self) -> Timestamp {
        let (said, at) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::ZERO);
        said.saturating_add(since).unwrap_or(said)
    }

    /// The clock.
    pub(crate) fn clock(self: &Arc<Self>) -> Clock {
        let reins = self.clone();
        Clock::new(move || reins.now())
    }
}

fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Prints one line, whole.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever listened is gone, and this process will be killed.
    let _ = writeln!(out, "{}", line.replace('\n', " "));
    let _ = out.flush();
}

/// Obeys until standard input ends. `order` does what is no order of the clock; `None`: it does not know it.
pub(crate) fn obey_here(reins: &Reins, mut order: impl FnMut(&str) -> Option<anyhow::Result<()>>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let done = match line.strip_prefix("clock ").and_then(|ms| ms.parse().ok()) {
            Some(ms) => {
                reins.set(ms);
                Ok(())
            }
            None => order(&line).unwrap_or_else(|| Err(anyhow::anyhow!("`{line}` is no order"))),
        };
        match done {
            Ok(()) => say("ok"),
            Err(error) => say(&format!("error {error:#}")),
        }
    }
}

/// The same beside everything else that the process does; it ends with standard input.
pub(crate) fn obey(
    reins: Arc<Reins>,
    order: impl FnMut(&str) -> Option<anyhow::Result<()>> + Send + 'static,
) {
    std::thread::spawn(move || {
        obey_here(&reins, order);
        std::process::exit(0);
    });
}
