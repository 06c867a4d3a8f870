//! Copying a directory tree as a snapshot does: file data as reflinks where the file system can, else byte by byte; kinds,
//! modes, modification times, symbolic and hard links are kept; for root also owners and extended attributes. Sockets are left out. The source is only read, so it does
//! not matter whether the processes that use it run or are stopped.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use super::{VolumeError, owners, xattr};

/// How the data of files was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMethod {
    /// Shared extents (`FICLONE`): takes the same time whatever the size.
    Reflink,
    /// Bytes were copied.
    Plain,
}

/// What a copy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyReport {
    /// [`CopyMethod::Reflink`] only if every file was.
    pub method: CopyMethod,
    /// Regular files copied.
    pub files: u64,
    /// Their sizes together, in bytes.
    pub bytes: u64,
}

/// Copies the tree at `from` to the new directory `to`, with its owner side table if it has one.
///
/// A file that vanishes while the copy runs (the guest may run on) is left out.
///
/// # Errors
/// [`VolumeError::Io`]; also if `to` exists. What was copied until then is left for the caller to remove.
pub fn copy_tree(from: &Path, to: &Path) -> Result<CopyReport, VolumeError> {
    copy_tree_without(from, to, &|_| false)
}

/// As [`copy_tree`], without what `left_out` answers true for, asked with paths inside the tree.
pub(crate) fn copy_tree_without(
    from: &Path,
    to: &Path,
    left_out: &dyn Fn(&Path) -> bool,
) -> Result<CopyReport, VolumeError> {
    let mut copy = Copy::new(from, left_out);
    let metadata = fs::symlink_metadata(from).map_err(VolumeError::io("read", from))?;
    copy.directory(from, to, &metadata)?;
    let (table, target) = (owners::table_path(from), owners::table_path(to));
    match fs::copy(&table, &target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(VolumeError::io("copy", &table)(error)),
        _ => Ok(copy.report),
    }
}

/// Removes a tree, also one whose directories their owner cannot write. No error if it is not there.
///
/// # Errors
/// [`VolumeError::Io`].
pub fn remove_tree(path: &Path) -> Result<(), VolumeError> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => return Ok(()),
        Err(_) => {}
    }
    open_up(path)?;
    fs::remove_dir_all(path).map_err(VolumeError::io("remove", path))
}

fn open_up(dir: &Path) -> Result<(), VolumeError> {
    let io = |path: &Path| VolumeError::io("make writable", path);
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(io(dir))?;
    for entry in fs::read_dir(dir).map_err(io(dir))? {
        let entry = entry.map_err(io(dir))?;
        if entry.file_type().map_err(io(dir))?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Copies what is no directory; a socket is left out. Answers the bytes of a file.
pub(crate) fn copy_leaf(from: &Path, to: &Path, metadata: &Metadata) -> Result<u64, VolumeError> {
    let mut copy = Copy::new(from, &|_| false);
    copy.leaf(from, to, metadata)?;
    Ok(copy.report.bytes)
}

/// Gives a copy owner, mode and time of its original.
pub(crate) fn finish(from: &Path, to: &Path, metadata: &Metadata) -> Result<(), VolumeError> {
    keep_owner(from, to, metadata).map_err(VolumeError::io("set owner of", to))?;
    if !metadata.is_symlink() {
        // After the owner: a change of owner takes set-id bits away.
        fs::set_permissions(to, metadata.permissions()).map_err(VolumeError::io("set mode of", to))?;
    }
    set_times(to, metadata.mtime(), metadata.mtime_nsec()).map_err(VolumeError::io("set time of", to))
}

struct Copy<'a> {
    root: &'a Path,
    left_out: &'a dyn Fn(&Path) -> bool,
    /// First copy of each file with several names, by (device, inode).
    links: HashMap<(u64, u64), PathBuf>,
    report: CopyReport,
    buffer: Vec<u8>,
}

impl<'a> Copy<'a> {
    fn new(root: &'a Path, left_out: &'a dyn Fn(&Path) -> bool) -> Self {
        let report = CopyReport { method: CopyMethod::Reflink, files: 0, bytes: 0 };
        Self { root, left_out, links: HashMap::new(), report, buffer: Vec::new() }
    }

    fn directory(&mut self, from: &Path, to: &Path, metadata: &Metadata) -> Result<(), VolumeError> {
        fs::create_dir(to).map_err(VolumeError::io("create", to))?;
        for entry in fs::read_dir(from).map_err(VolumeError::io("list", from))? {
            let entry = entry.map_err(VolumeError::io("list", from))?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            if (self.left_out)(source.strip_prefix(self.root).unwrap_or(&source)) {
                continue;
            }
            let metadata = match fs::symlink_metadata(&source) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(VolumeError::io("read", &source))?,
            };
            if metadata.is_dir() {
                self.directory(&source, &target, &metadata)?;
            } else {
                self.leaf(&source, &target, &metadata)?;
            }
        }
        finish(from, to, metadata)
    }

    fn leaf(&mut self, from: &Path, to: &Path, metadata: &Metadata) -> Result<(), VolumeError> {
        let key = (metadata.dev(), metadata.ino());
        if metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&key) {
                return fs::hard_link(first, to).map_err(VolumeError::io("link", to));
            }
            self.links.insert(key, to.to_path_buf());
        }
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(from).map_err(VolumeError::io("read link", from))?;
            std::os::unix::fs::symlink(target, to).map_err(VolumeError::io("link", to))?;
        } else if kind.is_file() {
            match self.file(from, to, metadata) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !from.exists() => return Ok(()),
                other => other.map_err(VolumeError::io("copy", from))?,
            }
        } else if kind.is_fifo() {
            make_fifo(to, metadata.mode()).map_err(VolumeError::io("create", to))?;
        } else if kind.is_char_device() && metadata.rdev() == 0 {
            make_whiteout(to).map_err(VolumeError::io("create", to))?;
        } else {
            return Ok(());
        }
        finish(from, to, metadata)
    }

    fn file(&mut self, from: &Path, to: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut source = File::open(from)?;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        if !(metadata.len() == 0 || reflink(&source, &target)?) {
            self.report.method = CopyMethod::Plain;
            if self.buffer.is_empty() {
                self.buffer = vec![0; 1 << 20];
            }
            copy_bytes(&mut source, &mut target, &mut self.buffer)?;
        }
        self.report.files += 1;
        self.report.bytes += metadata.len();
        Ok(())
    }
}

/// Tries `FICLONE`. False if this pair of files cannot share extents.
fn reflink(source: &File, target: &File) -> io::Result<bool> {
    use rustix::io::Errno;
    match rustix::fs::ioctl_ficlone(target, source) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::PERM) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn copy_bytes(source: &mut File, target: &mut File, buffer: &mut [u8]) -> io::Result<()> {
    use std::io::{Read as _, Write as _};
    loop {
        let count = match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            return Ok(());
        }
        target.write_all(&buffer[..count])?;
    }
}

/// Makes a named pipe.
pub(crate) fn make_fifo(path: &Path, mode: u32) -> io::Result<()> {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(mode & 0o777), 0)
        .map_err(io::Error::from)
}

/// Makes what an overlay hides a file with: the one device that a container may make.
pub(crate) fn make_whiteout(path: &Path) -> io::Result<()> {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).map_err(io::Error::from)
}

/// Only root can give files away; for others everything is theirs already.
fn keep_owner(from: &Path, to: &Path, metadata: &Metadata) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    xattr::copy(from, to)
}

/// Sets access and modification time of `path` itself, never of what a link points to.
pub(crate) fn set_times(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
}
