//! Small files that must be whole or absent: JSON documents and secrets.
//!
//! Written beside (0600), synced, renamed, and the directory synced.

use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Writes `bytes` to `path`, mode 0600; its directory is made if missing.
///
/// # Errors
/// The operating system's, with the path in its text; the old content then still stands.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let inner = || {
        let dir = path.parent().ok_or_else(|| io::Error::other("has no directory"))?;
        fs::create_dir_all(dir)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = dir.join(format!(".{name}.{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    };
    inner().map_err(|e| about("writing", path, &e))
}

/// Writes a value as JSON, see [`write()`].
///
/// # Errors
/// As [`write()`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|e| about("writing", path, &e.into()))?;
    write(path, &bytes)
}

/// Reads a value from JSON; `None` if the file is not there.
///
/// # Errors
/// When it is there and cannot be read or is not such a value.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| about("reading", path, &e.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(about("reading", path, &e)),
    }
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// The operating system's, with the path in its text.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(about("removing", path, &e)),
    }
}

/// An error that names what was tried on which file.
pub fn about(action: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{action} {}: {error}", path.display()))
}
