//! What can go wrong with an archive.

use std::io;
use std::path::{Path, PathBuf};

use crate::volume::VolumeError;

/// Failure of reading or writing an archive; says what was tried on what.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No `./etc/vzdump/pct.conf` in it.
    #[error("ERROR: archive contains no configuration file: '{0}'")]
    NoConfig(PathBuf),
    /// The file name ends in none of `.tar`, `.tar.zst`, `.tar.gz`, `.tar.lzo`.
    #[error("ERROR: unknown archive format: '{0}' (expected .tar, .tar.zst, .tar.gz or .tar.lzo)")]
    UnknownFormat(PathBuf),
    /// It ends too early or its bytes were altered.
    #[error("archive '{path}' is truncated or damaged: {reason}")]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What was noticed.
        reason: String,
    },
    /// It holds an entry that must not be unpacked.
    #[error("archive '{path}': entry '{entry}' refused: {reason}")]
    Refused {
        /// The archive.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// Why.
        reason: &'static str,
    },
    /// A volume is full; what did not fit is missing.
    #[error("archive '{path}' does not fit: {message}")]
    NoSpace {
        /// The archive.
        path: PathBuf,
        /// What was noticed first, in tar's words.
        message: String,
    },
    /// The list of trees is no valid set of mounts.
    #[error("bad mount list: {0}")]
    BadMounts(String),
    /// An owner side table cannot be read or written.
    #[error(transparent)]
    Volume(#[from] VolumeError),
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

impl ArchiveError {
    /// Adds action and path to an I/O error.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
