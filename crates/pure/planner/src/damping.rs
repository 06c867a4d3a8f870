//! Holding back what was tried before: each repetition waits longer, a change of the wish starts anew.
//!
//! A *wish* is named by what it asks for ([`wish`]), so another content is another wish. Its tries are numbered; number
//! and wish together are the idempotency key, so a crash between asking and noting asks for the same operation again.

use felhom_model::Digest;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// What became of earlier tries of one wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// All tries that are over.
    pub tries: u32,
    /// Those that ended within the last hour.
    pub recent: u32,
    /// When the newest ended.
    pub last_ended: Timestamp,
}

/// The past of all wishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damping(BTreeMap<String, Past>);

/// The first wait in seconds; it doubles with each recent try up to [`LONGEST_S`].
pub const FIRST_S: i64 = 15;
/// The longest wait in seconds.
pub const LONGEST_S: i64 = 3600;

impl FromIterator<(String, Past)> for Damping {
    fn from_iter<T: IntoIterator<Item = (String, Past)>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Damping {
    /// The key for the next try, or until when it is held back.
    ///
    /// # Errors
    /// The time at which it may be tried again. A time of the last try that lies in the future (the clock went back)
    /// holds nothing.
    pub fn next(&self, wish: &str, now: Timestamp) -> Result<String, Timestamp> {
        let Some(past) = self.0.get(wish) else { return Ok(format!("{wish}#0")) };
        let until = hold_until(past);
        if now < until && past.last_ended <= now { Err(until) } else { Ok(format!("{wish}#{}", past.tries)) }
    }
}

fn hold_until(past: &Past) -> Timestamp {
    let doublings = past.recent.saturating_sub(1).min(16);
    let seconds = if past.recent == 0 { 0 } else { (FIRST_S << doublings).min(LONGEST_S) };
    past.last_ended.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// The name of a wish: kind and subject for people, and a digest of all that it asks for.
pub fn wish(kind: &str, subject: &str, content: &str) -> String {
    let digest = Digest::of(content.as_bytes()).hex();
    format!("{kind}:{subject}:{}", &digest[..12])
}
