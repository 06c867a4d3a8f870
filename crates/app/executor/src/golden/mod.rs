//! `felhom-executor golden import FILE`: brings a golden archive onto this box.
//!
//! 1. [`release`]: the release document is signed by a release key of the configuration, and not older than what is here;
//! 2. the file's SHA-256 and size are those of a golden archive in it;
//! 3. [`archive`]: the guest configuration inside holds nothing that must not reach the host;
//! 4. the record is kept (before the archive exists), then the archive is placed into the storage's `dump/`;
//! 5. read back: Proxmox lists it and reads the same configuration out of it.
//!
//! Any other file is refused by the name of the reason. Importing twice changes nothing the second time.

mod archive;
pub mod command;
mod error;
mod import;
mod release;

pub use error::GoldenError;
pub use import::{ImportFiles, Imported, import};
