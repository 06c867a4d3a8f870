//! The launcher: `felhom-controller launch FILE`, a process that becomes a service.
//!
//! 1. A session of its own: what befalls the controller does not befall the service.
//! 2. The lock, which stays with the service and all that it starts: never twice.
//! 3. The record (pid, start time, nonce): a controller that was killed in between finds the service again.
//! 4. `exec`: same process, same lock, the service's own environment and nothing else.

use super::{instance::Instance, proc::ProcessId};
use crate::files;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The exit status when another instance still holds the lock (sysexits' EX_TEMPFAIL).
pub const LOCKED: i32 = 75;

/// What to start and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The program's file.
    pub program: PathBuf,
    /// Its name for itself and its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Where it starts.
    pub directory: PathBuf,
    /// The lock.
    pub lock: PathBuf,
    /// The record.
    pub record: PathBuf,
    /// The nonce for the record.
    pub nonce: String,
}

/// Why a service was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Another instance, or something that it left, holds the lock.
    #[error("another instance of this service still runs (it holds {0})")]
    Locked(PathBuf),
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Becomes the service that `file` describes; returns only if it cannot.
///
/// # Errors
/// [`LaunchError`].
pub fn become_service(file: &Path) -> Result<std::convert::Infallible, LaunchError> {
    let fail = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source: io::Error| LaunchError::Io { action, path, source }
    };
    let launch: Launch = files::read_json(file)
        .and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(fail("reading", file))?;
    rustix::process::setsid().map_err(|e| fail("making a session for", &launch.program)(e.into()))?;
    // Without CLOEXEC on purpose: the lock lives as long as any process of the service.
    let lock = rustix::fs::open(&launch.lock, OFlags::RDWR | OFlags::CREATE, Mode::RUSR | Mode::WUSR)
        .map_err(|e| fail("opening", &launch.lock)(e.into()))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(LaunchError::Locked(launch.lock)),
        Err(e) => return Err(fail("locking", &launch.lock)(e.into())),
    }
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    let process = ProcessId::of(pid).ok_or_else(|| {
        fail("reading", Path::new("/proc/self/stat"))(io::Error::other("this process is not in /proc"))
    })?;
    files::write_json(&launch.record, &Instance { process, nonce: launch.nonce })
        .map_err(fail("recording", &launch.record))?;
    let mut words = launch.arguments.iter();
    let error = Command::new(&launch.program)
        .arg0(words.next().map_or("service", String::as_str))
        .args(words)
        .env_clear()
        .envs(&launch.environment)
        .current_dir(&launch.directory)
        .exec();
    Err(fail("starting", &launch.program)(error))
}
