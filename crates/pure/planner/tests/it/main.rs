//! Plans by example, and what holds for every desired state.
#![allow(clippy::unwrap_used, reason = "builders of tests may panic")]

mod build;
mod properties;
mod reconcile;
mod schedule;
