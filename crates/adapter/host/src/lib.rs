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
//! | set a bind mount, take it away | [`Host::set_bind_mount`], [`Host::remove_bind_mount`] |
//! | take off a lock, enter volumes, thaw | [`Host::unlock`], [`Host::rescan`], [`Host::unfreeze`] |
//! | give our token a role, take it away | [`Host::grant`], [`Host::revoke`] |
//! | read its settings, what its kernel can do, what its storages promise | [`Host::survey`], [`Host::space`] |
//! | ask whether the clock is kept right | [`Host::clock_is_synchronised`] |
//! | put our programs, units and settings there, and take them away | [`Host::place_own`], [`Host::link_own`], [`Host::remove_own`] |
//! | make and remove our users and directories | [`Host::make_users`], [`Host::make_directories`], [`Host::remove_user`] |
//! | read our units anew, stop and disable them | [`Host::reload_units`], [`Host::disable_unit`] |
//! | clear what a dead task left | [`Host::end_processes`], [`Host::unmount_guest`], [`Host::remove_dump_files`] |
//!
//! **Architecture invariant:** no HTTP here, and no secret on a command line: secrets go by a file's content or by standard
//! input.
//!
//! **Architecture invariant:** nothing here destroys or overwrites what a guest, a volume or a finished backup holds; an
//! archive that is placed twice is left as it is. What is removed is a dead backup's half-written files, by exact name, and our
//! own programs, units and settings, at a closed list of places.
//!
//! **Architecture invariant:** every act that changes something goes through `Host::seen`, where a [`Hook`] can watch it.
//!
//! **Architecture invariant:** nothing here decides whose something is; the caller does. What is checked here is that the thing
//! is the one that the caller named.

mod act;
mod archive;
mod error;
mod guest;
mod install;
mod leftovers;
mod mountinfo;
mod repair;
mod rights;
mod run;
mod survey;

pub use act::{Hook, RootAct};
pub use archive::{FileDigest, Placed, digest_file, place_archive};
pub use error::HostError;
pub use guest::{FilePush, GuestCommand, Host, Programs};
pub use install::UserIds;
pub use leftovers::{DeadBackup, DeadWorker, DumpName, NoDumpName, Process, Roots};
pub use mountinfo::Mounted;
pub use repair::{BindMount, Changed, Unlocked};
pub use rights::{AclGrant, AclPlace};
pub use run::Output;
pub use survey::{IdRange, Space, Survey};
