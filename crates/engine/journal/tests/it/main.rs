//! Tests of the journal and its runner, by enumeration of failures and crashes over a toy domain.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)] // one test binary: its modules share helpers
mod cancel;
mod crash;
mod fold;
mod legal;
mod people;
mod progress;
mod resolve;
mod sqlite;
mod toy;
