//! Root acts with stand-ins for `pct` and `pvesm`, and with real files.

#![allow(clippy::unwrap_used, reason = "test helpers may panic; the lint spares test functions only")]

mod archive;
mod programs;
