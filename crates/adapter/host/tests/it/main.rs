//! Root acts with stand-ins for the host's programs, and with real files and processes.

#![allow(clippy::unwrap_used, reason = "test helpers may panic; the lint spares test functions only")]

mod archive;
mod install;
mod leftovers;
mod programs;
mod repair;
mod survey;
