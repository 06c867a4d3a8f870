//! HTTP clients of our own APIs.
//!
//! | module | speaks with | proves itself by | pins |
//! |---|---|---|---|
//! | [`hub`] | the hub, as an operator | bearer token | TLS certificate |
//! | [`sync`] | the hub, as a box | device key (RFC 9421), or a one-time token | TLS certificate and the hub's key |
//! | [`local`] | the agent's local API, as a guest | bearer token of the guest | TLS certificate |
//! | [`executor`] | the executor, on its unix socket | peer uid | – |
//!
//! All errors are [`Error`]: what was tried on what, why it failed, and what to do where that is known.

mod error;
pub mod executor;
pub mod hub;
pub mod local;
pub mod sync;
mod tls;
mod transport;

pub use error::{Error, ErrorKind};
