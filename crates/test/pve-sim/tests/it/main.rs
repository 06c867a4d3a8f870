//! Integration tests of the simulator.
#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception for tests does not reach helpers of integration tests"
)]

mod archive;
mod pct;
mod runtime;
mod server;
mod support;
mod volume;
mod walk;
