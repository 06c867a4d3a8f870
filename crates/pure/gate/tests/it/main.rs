//! The gate's table: each row by example, and what holds for every row whatever the facts.
#![allow(clippy::unwrap_used, reason = "builders of tests may panic")]

mod arbitrary;
mod archive_config;
mod build;
mod consents;
mod invariants;
mod oracle;
mod properties;
mod reach;
mod rows;
mod sign;
mod undo;
mod undo_archive;
mod words;
