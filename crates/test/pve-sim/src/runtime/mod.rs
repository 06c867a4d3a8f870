//! Running guests: as processes of this machine without any isolation ([`process`]), or as its containers ([`lxc`]).
//!
//! Neither depends on the simulator, which may be killed and started again.

mod error;
pub mod lxc;
pub mod process;
mod tree;

pub use error::RuntimeError;
pub use process::{Addresses, Guest, Start, Started, monitor};
pub use tree::{GuestTree, Mount, Resolved};
