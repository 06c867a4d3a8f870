//! The record of the running controller: who it is and where the apps' loopback is, for the probe, which is another
//! process. It lies below `/run`: where it is missing, this boot has had no controller yet.

use crate::{engine::proc::ProcessId, files, paths::Paths};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, net::Ipv4Addr, os::fd::OwnedFd, path::PathBuf};

/// A running controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Its process.
    pub process: ProcessId,
    /// Where the apps listen.
    pub lo: Ipv4Addr,
    /// Its version.
    pub version: String,
    /// Why apps do not run, as far as it knows.
    #[serde(default)]
    pub messages: BTreeMap<felhom_model::AppName, String>,
}

fn file(paths: &Paths) -> PathBuf {
    paths.run().join("controller.json")
}

/// Makes sure that this is the only controller of the guest, for as long as the answer lives.
///
/// # Errors
/// When another one runs, or the lock cannot be made.
pub fn lock(paths: &Paths) -> io::Result<OwnedFd> {
    let path = paths.run().join("controller.lock");
    std::fs::create_dir_all(paths.run()).map_err(|e| files::about("making", &paths.run(), &e))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| files::about("opening", &path, &e.into()))?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(fd),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let why = "another felhom-controller runs in this guest; stop it first";
            Err(files::about("locking", &path, &io::Error::new(io::ErrorKind::ResourceBusy, why)))
        }
        Err(e) => Err(files::about("locking", &path, &e.into())),
    }
}

/// Records a controller.
///
/// # Errors
/// When it cannot be written.
pub fn record(paths: &Paths, runtime: &Runtime) -> io::Result<()> {
    files::write_json(&file(paths), runtime)
}

/// The controller that was recorded last in this boot, running or not.
///
/// # Errors
/// When there is a record that cannot be read.
pub fn recorded(paths: &Paths) -> io::Result<Option<Runtime>> {
    files::read_json(&file(paths))
}
