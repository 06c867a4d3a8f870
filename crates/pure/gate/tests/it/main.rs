//! The gate's table: each row by example, and what holds for every row whatever the facts.
#![allow(clippy::unwrap_used, reason = "builders of tests may panic")]

mod build;
mod properties;
mod rows;
mod undo;
mod undo_archive;
