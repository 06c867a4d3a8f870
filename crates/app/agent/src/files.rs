//! Files of the state directory: private, and written as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What could not be done with a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}")]
pub(crate) struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { doing, path, source }
}

/// Makes a directory, 0700, with its parents.
///
/// # Errors
/// [`FileError`].
pub(crate) fn make_private_dir(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

/// Writes a file, 0600: temporary file, fsync, rename, fsync of the directory.
///
/// # Errors
/// [`FileError`].
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = path.with_extension(format!("new.{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(failed("write", path))
}

/// Reads a file that nobody else may read; `None` if there is none.
///
/// # Errors
/// [`FileError`]; also if group or others have rights on it.
pub(crate) fn read_private(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.mode(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("read", path)(e)),
    };
    if mode & 0o077 != 0 {
        let why = format!("its mode is {:o}, others can read it; run `chmod 600` on it", mode & 0o777);
        return Err(failed("accept", path)(io::Error::other(why)));
    }
    fs::read(path).map(Some).map_err(failed("read", path))
}

/// Takes the lock file, or says who is in the way. The lock ends with the returned file.
///
/// # Errors
/// [`FileError`] if another process holds it.
pub(crate) fn lock(path: &Path) -> Result<File, FileError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(failed("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let why = "another felhom-agent runs with this state directory; stop it first";
            Err(failed("lock", path)(io::Error::other(why)))
        }
        Err(fs::TryLockError::Error(e)) => Err(failed("lock", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_stay_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert_eq!(read_private(&path).unwrap(), None);
        write_private(&path, b"x").unwrap();
        assert_eq!(read_private(&path).unwrap(), Some(b"x".to_vec()));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(read_private(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn only_one_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(lock(&path).unwrap_err().to_string().contains("another felhom-agent"));
        drop(held);
        lock(&path).unwrap();
    }
}
