//! The link to the box: heartbeats, backups, proofs. The controller asks, nobody asks it.
//!
//! Bootstrap and token are files that the executor pushes at each start of the guest. While they are not there, or the
//! network is down, there is no link, and the apps run without it.

pub mod backup;
pub mod heartbeat;
pub mod proof;
pub mod session;

pub use session::{NoSession, Session, Sessions};
