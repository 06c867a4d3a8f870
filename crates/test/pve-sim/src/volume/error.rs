//! What can go wrong with a volume.

use std::io;
use std::path::{Path, PathBuf};

/// Failure of a volume operation; says what was tried on what.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The text is no volume name.
    #[error("unable to parse volume name '{0}': expected VMID/vm-VMID-disk-N.raw")]
    BadName(String),
    /// The volume (or snapshot) is not there.
    #[error("volume '{0}' does not exist")]
    Missing(String),
    /// The volume (or snapshot) is already there.
    #[error("volume '{0}' already exists")]
    Exists(String),
    /// No free disk number for the guest.
    #[error("unable to allocate a volume for VM {0}: all disk numbers are taken")]
    NoFreeNumber(u32),
    /// The storage cannot snapshot.
    #[error("snapshot feature is not available")]
    NoSnapshots,
    /// A line of an owner side table cannot be read.
    #[error("owner table '{path}', line {line}: {reason}")]
    BadOwners {
        /// The table.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused.
    #[error("{action} '{path}': {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl VolumeError {
    /// Adds action and path to an I/O error: `.map_err(VolumeError::io("read", path))`.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source: source.into() }
    }
}
