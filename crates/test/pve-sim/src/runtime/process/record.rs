//! What is recorded of a running guest, in `STATE/run/guests/VMID/`.
//!
//! | file | what |
//! |---|---|
//! | `request.json` | how it is to be started, for the monitor |
//! | `guest.json` | the running guest; there from the start of init until its end was noticed |
//! | `frozen.json` | processes that were stopped already when the guest was frozen; there while it is frozen |
//! | `console.log` | standard output and error of init |
//! | `lock` | held (flock) by whoever starts or ends the guest or changes a record; a start hands it on to its monitor |

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::proc::{Process, boot_id};
use super::{Mount, RuntimeError};

/// A running guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// VMID.
    pub vmid: u32,
    /// Tree of its root volume, absolute, without links.
    pub rootfs: PathBuf,
    /// Process id of init.
    pub pid: i32,
    /// Start time of init in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Host name it was started with.
    pub hostname: String,
    /// Its loopback address.
    pub lo: Ipv4Addr,
    /// net0's address, absent while the link is down.
    pub net0: Option<Ipv4Addr>,
    /// Mount points that are linked into the rootfs.
    pub mounts: Vec<Mount>,
}

impl Started {
    /// Init's process.
    pub(super) fn init(&self) -> Process {
        Process { pid: self.pid, start_time: self.start_time }
    }

    /// Whether init is there: not ended, not of an earlier boot, not another process with its id.
    #[must_use]
    pub fn alive(&self) -> bool {
        boot_id().is_ok_and(|id| id == self.boot_id) && self.init().stat().is_some()
    }
}

/// `request.json`.
pub(super) fn request_path(dir: &Path) -> PathBuf {
    dir.join("request.json")
}

/// `guest.json`.
pub(super) fn guest_path(dir: &Path) -> PathBuf {
    dir.join("guest.json")
}

/// `frozen.json`.
pub(super) fn frozen_path(dir: &Path) -> PathBuf {
    dir.join("frozen.json")
}

/// `console.log`.
pub(super) fn console_path(dir: &Path) -> PathBuf {
    dir.join("console.log")
}

/// Takes the lock on a guest's records, waiting for it. It is free when the file is closed everywhere.
pub(super) fn lock(dir: &Path) -> Result<File, RuntimeError> {
    fs::create_dir_all(dir).map_err(RuntimeError::io("create", dir))?;
    let path = lock_path(dir);
    let file = File::create(&path).map_err(RuntimeError::io("open", &path))?;
    file.lock().map_err(RuntimeError::io("lock", &path))?;
    Ok(file)
}

/// As [`lock`]; `None` if the records are gone.
pub(super) fn lock_existing(dir: &Path) -> Result<Option<File>, RuntimeError> {
    let path = lock_path(dir);
    let file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RuntimeError::io("open", &path)(error)),
    };
    file.lock().map_err(RuntimeError::io("lock", &path))?;
    Ok(Some(file))
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// Reads a record; `None` if there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RuntimeError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RuntimeError::io("read", path)(error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(RuntimeError::io("parse", path))
}

/// Writes a record so that a reader sees the old or the new one.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), RuntimeError> {
    let bytes = serde_json::to_vec(value).map_err(RuntimeError::io("encode", path))?;
    replace(path, &bytes).map_err(RuntimeError::io("write", path))
}

/// Replaces a file atomically.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Removes a record; no error if there is none.
pub(super) fn remove(path: &Path) -> Result<(), RuntimeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(RuntimeError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
