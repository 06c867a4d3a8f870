//! What tests of several crates stand on: the programs of the workspace, a simulated host in a process, an archive, and the numbers
//! of a seed. It knows no crate of ours.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod archive;
mod random;
mod simulator;

pub use archive::golden;
pub use random::Random;
pub use simulator::{Ready, program, serve};
