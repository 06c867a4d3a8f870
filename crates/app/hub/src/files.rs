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

/// Makes an empty file, 0600, if there is none.
///
/// # Errors
/// [`FileError`].
pub(crate) fn make_private_file(path: &Path) -> Result<(), FileError> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    file.map(drop).map_err(failed("make", path))
}

/// Writes a file, 0600: temporary file, fsync, rename, fsync of the directory.
///
/// # Errors
/// [`FileError`].
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
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

/// Reads a file that nobody else may read.
///
/// # Errors
/// [`FileError`]; also if group or others have rights on it.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, FileError> {
    let mode = fs::metadata(path).map_err(failed("read", path))?.mode();
    if mode & 0o077 != 0 {
        let why = format!("its mode is {:o}, others can read it; run `chmod 600` on it", mode & 0o777);
        return Err(failed("accept", path)(io::Error::other(why)));
    }
    fs::read(path).map_err(failed("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn private_files_stay_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep").join("secret");
        make_private_dir(file.parent().unwrap()).unwrap();
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!(read_private(&file).unwrap(), b"two");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_private(&file).unwrap_err().to_string().contains("chmod 600"));
    }
}
