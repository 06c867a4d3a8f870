//! Tests of the journal and its runner, by enumeration of failures and crashes over a toy domain.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)] // one test binary: its modules share helpers
mod api;
mod cancel;
mod crash;
mod fold;
mod full;
mod legal;
mod old;
mod people;
mod power;
mod progress;
mod resolve;
mod sqlite;
mod toy;
