//! What can go wrong with a running guest.

use std::io;
use std::path::{Path, PathBuf};

/// Failure of a runtime operation; says what was tried on what.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Start of a running guest.
    #[error("CT {0} already running")]
    AlreadyRunning(u32),
    /// Something that needs a running guest.
    #[error("CT {0} not running")]
    NotRunning(u32),
    /// The program is not inside the guest; the host's own is never taken.
    #[error("'{program}': {reason} (only programs inside the guest's root file system '{rootfs}' can run)")]
    NoProgram {
        /// The program as it was asked for.
        program: String,
        /// What was found instead.
        reason: String,
        /// The guest's rootfs.
        rootfs: PathBuf,
    },
    /// A path does not lead to anything inside the guest.
    #[error("path '{path}' in the guest: {reason}")]
    BadPath {
        /// The path inside the guest.
        path: String,
        /// Why it was refused.
        reason: String,
    },
    /// Init did not start, or ended at once.
    #[error("startup for container '{vmid}' failed: {reason}")]
    StartFailed {
        /// The guest.
        vmid: u32,
        /// What the monitor said.
        reason: String,
    },
    /// The node has no bridge of that name.
    #[error("bridge '{0}' does not exist")]
    NoBridge(String),
    /// A program of this machine failed.
    #[error("command '{program}' failed: {reason} ({status})")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it complained about.
        reason: String,
        /// How it ended.
        status: String,
    },
    /// Processes that did not end, stop or continue in time.
    #[error("CT {vmid}: {count} processes did not {what} in time")]
    Timeout {
        /// The guest.
        vmid: u32,
        /// How many are left.
        count: usize,
        /// What they were asked to do.
        what: &'static str,
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

impl RuntimeError {
    /// Adds action and path to an I/O error.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source: source.into() }
    }
}
