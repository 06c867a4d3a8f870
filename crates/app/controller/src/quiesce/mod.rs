//! Quiesce: the apps' data stands still, for as short as possible, and surely not for longer than the lease.
//!
//! 1. [`dump`]: databases are dumped while the apps run.
//! 2. [`freeze`]: lease, first sync, pause of all `frozen` apps at one instant, last sync, [`sample`], thaw.
//! 3. [`lease`]: what thaws when this program cannot.
//! 4. [`restored`]: in a restored copy the sample is measured before the apps start.

pub mod dump;
pub mod freeze;
pub mod lease;
pub mod restored;
pub mod sample;

pub use freeze::{Freezer, Frozen};
