//! `vzdump-lxc-*.tar` and `.tar.zst`, as `vzdump` writes and a restore reads them.
//!
//! Order of a written archive: `./etc/vzdump/pct.conf`, `./etc/vzdump/pct.fw`, then `./` with the root file system, then each
//! backed-up mount point under its mount path. Not in it: contents of mount points that are not backed up (bind mounts
//! never are), of `/run` and, by default, of `/tmp` and `/var/tmp`; `lost+found`; sockets. Owners are container ids.
//!
//! ```text
//! archive::write(&request, File::create(temporary)?, &mut |bytes| …)?   the caller renames and makes side files
//! archive::read_config(path)?                                          stops after the configuration
//! archive::unpack(path, &targets, &mut |bytes| …)?                     any damage is an error
//! ```

mod emit;
mod error;
mod exclude;
mod input;
pub(crate) mod lzo;
mod mounts;
mod read;
mod room;
mod unpack;
mod write;

pub use error::ArchiveError;
pub(crate) use exclude::Excludes;
pub use read::{ArchiveConfig, Limits, Outcome, Unpacked, read_config, unpack, unpack_as_tar};
pub(crate) use write::zstd_encoder;
pub use write::{Compression, WriteRequest, Written, write};

use std::path::PathBuf;

/// A volume (or its snapshot, or a copy of it) and where the guest mounts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Mount path in the guest, `/` for the root file system, otherwise absolute without `..`, such as `/data`.
    pub mount: String,
    /// Directory tree of the volume; its owner side table stands beside it.
    pub path: PathBuf,
}
