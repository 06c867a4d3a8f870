//! Writing a file so that a reader sees the old bytes or the new ones, also after SIGKILL or a power cut:
//! temporary file in the same directory, fsync, rename, fsync of the directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt};
use std::path::Path;

/// Replaces `path` by `bytes`, mode 0640. Parent directories are made.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_mode(path, bytes, 0o640)
}

/// As [`write()`], readable by the owner only: for secrets.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_mode(path, bytes, 0o600)
}

fn write_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().ok_or_else(|| io::Error::other("no parent directory"))?;
    fs::create_dir_all(dir)?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = dir.join(format!(".{name}.tmp.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// Which bytes a file has, without reading them: each write makes a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u64, u64, i64, i64);

/// The file's version, or `None` if there is no such file.
pub(crate) fn version(path: &Path) -> Option<Version> {
    let found = fs::metadata(path).ok()?;
    Some(Version(found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

/// Removes what writers left below a directory that were killed before they renamed their file.
pub(crate) fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            sweep(&entry.path())?;
        } else if let Some((_, pid)) = name.rsplit_once(".tmp.").filter(|_| name.starts_with('.'))
            && !Path::new("/proc").join(pid).exists()
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The file's text, or `None` if there is no such file.
pub(crate) fn read_optional(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lxc")).unwrap();
        let own = format!(".100.conf.tmp.{}", std::process::id());
        for name in [".100.conf.tmp.999999999", "100.conf", "a.tmp.999999999", own.as_str()] {
            fs::write(dir.path().join("lxc").join(name), "x").unwrap();
        }
        sweep(dir.path()).unwrap();
        let entries = fs::read_dir(dir.path().join("lxc")).unwrap().flatten();
        let mut left: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [own.as_str(), "100.conf", "a.tmp.999999999"]);
    }
}
