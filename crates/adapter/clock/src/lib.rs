//! The wall clock, as something that is handed in.
//!
//! **Architecture invariant:** what hub, agent and executor do while they serve is dated by the clock that they were given, so
//! that a simulation can set the clock of each of them. `cargo xtask tidy` finds whoever reads another one.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Says what time it is.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::new(Timestamp::now)
    }

    /// One that is read by `read`.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
