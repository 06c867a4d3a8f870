//! The client on the wire: TLS, connections, errors and tasks against scripted answers, byte for byte as recorded.

#![allow(clippy::unwrap_used, reason = "test helpers may panic; the lint spares test functions only")]

mod calls;
mod scripted;
mod sim;
mod tasks;
mod transport;
mod volumes;
