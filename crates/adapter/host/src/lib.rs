//! felhom-host: the closed list of what Felhom does as root on a Proxmox host besides calling its API.
//!
//! Each act is a method here and an entry of [`RootAct`] with its reason; anything that is not in the list cannot be done.
//! Programs are run by absolute path from configuration, with an empty environment, without a shell.
//!
//! | act | method |
//! |---|---|
//! | run a program inside a guest | [`Host::exec`] |
//! | write a file inside a guest | [`Host::push`] |
//! | ask where a volume lies | [`Host::volume_path`] |
//! | read a file's digest | [`digest_file`] |
//! | put a golden archive into a storage's `dump/` | [`place_archive`] |
//!
//! **Architecture invariant:** no HTTP here, and no secret on a command line: secrets go by a file's content or by standard
//! input.
//!
//! **Architecture invariant:** nothing here destroys or overwrites; an archive that is placed twice is left as it is.

mod act;
mod archive;
mod error;
mod guest;
mod run;

pub use act::RootAct;
pub use archive::{FileDigest, Placed, digest_file, place_archive};
pub use error::HostError;
pub use guest::{FilePush, GuestCommand, Host, Programs};
pub use run::Output;
