//! Files of the host: a digest while streaming, and a golden archive put into a storage's `dump/`.
//!
//! Placing: 1. is it there already? 2. enough space? 3. copy into a hidden name while computing the digest, 4. compare,
//! 5. fsync, 6. rename without replacing, 7. fsync the directory. A crash leaves at most a hidden file, which the next
//! placing of the same name removes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use felhom_model::Digest;
use rustix::fs::{CWD, RenameFlags, renameat_with, statvfs};
use sha2::{Digest as _, Sha256};

use crate::act::RootAct;
use crate::error::HostError;

const CHUNK: usize = 1 << 20;

/// A file's digest and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDigest {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// How many bytes.
    pub bytes: u64,
}

/// How placing ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// The archive was written.
    New(PathBuf),
    /// A file of that name with that digest was there already.
    AlreadyThere(PathBuf),
}

impl Placed {
    /// Where the archive lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::New(path) | Self::AlreadyThere(path) => path,
        }
    }
}

fn problem(act: RootAct, doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostError {
    let path = path.to_owned();
    move |source| HostError::File { act, doing, path, source }
}

/// Reads a regular file to its end and computes its digest. `progress` is called with the bytes read so far.
///
/// # Errors
/// [`HostError::File`] if it cannot be read, [`HostError::Refused`] if it is no regular file.
pub async fn digest_file(
    path: &Path,
    progress: impl FnMut(u64) + Send + 'static,
) -> Result<FileDigest, HostError> {
    let path = path.to_owned();
    blocking(RootAct::DigestFile, path.clone(), move || {
        let source = open_regular(RootAct::DigestFile, &path)?;
        stream(RootAct::DigestFile, &path, source, io::sink(), progress)
    })
    .await
}

/// Copies an archive into `dump_dir` under `name`, if its bytes have the expected digest. Never replaces a file.
///
/// # Errors
/// [`HostError::OtherBytes`] for another digest, [`HostError::Refused`] for a bad name, a lack of space or another file of
/// that name, [`HostError::File`] for anything that cannot be read or written.
pub async fn place_archive(
    source: &Path,
    dump_dir: &Path,
    name: &str,
    expected: Digest,
) -> Result<Placed, HostError> {
    let (source, dump_dir, name) = (source.to_owned(), dump_dir.to_owned(), name.to_owned());
    blocking(RootAct::PlaceArchive, dump_dir.clone(), move || place(&source, &dump_dir, &name, expected))
        .await
}

pub(crate) async fn blocking<T: Send + 'static>(
    act: RootAct,
    path: PathBuf,
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    tracing::debug!(%act, path = %path.display(), "root act");
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => Err(problem(act, "finish with", &path)(io::Error::other(join))),
    }
}

fn open_regular(act: RootAct, path: &Path) -> Result<File, HostError> {
    // NONBLOCK: opening a named pipe must not wait for its writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(problem(act, "open", path))?;
    let metadata = file.metadata().map_err(problem(act, "inspect", path))?;
    if metadata.is_file() {
        return Ok(file);
    }
    let reason = "it is no regular file".to_owned();
    Err(HostError::Refused { act, target: path.display().to_string(), reason })
}

fn stream(
    act: RootAct,
    path: &Path,
    mut source: File,
    mut sink: impl io::Write,
    mut progress: impl FnMut(u64),
) -> Result<FileDigest, HostError> {
    let (mut hasher, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let n = match source.read(&mut chunk) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(problem(act, "read", path))?,
        };
        if n == 0 {
            let digest = Digest::from_bytes(hasher.finalize().into());
            return Ok(FileDigest { digest, bytes });
        }
        hasher.update(&chunk[..n]);
        sink.write_all(&chunk[..n]).map_err(problem(act, "copy", path))?;
        bytes += n as u64;
        progress(bytes);
    }
}

fn place(source: &Path, dump_dir: &Path, name: &str, expected: Digest) -> Result<Placed, HostError> {
    let act = RootAct::PlaceArchive;
    let refused = |reason: String| HostError::Refused { act, target: name.to_owned(), reason };
    if !name.starts_with("vzdump-") || name.contains('/') {
        return Err(refused("the name of an archive starts with `vzdump-` and has no `/`".to_owned()));
    }
    let target = dump_dir.join(name);
    if target.symlink_metadata().is_ok() {
        let there = stream(act, &target, open_regular(act, &target)?, io::sink(), |_| ())?;
        if there.digest == expected {
            return Ok(Placed::AlreadyThere(target));
        }
        return Err(refused(format!("a file of that name with the digest {} lies there", there.digest)));
    }
    let input = open_regular(act, source)?;
    let size = input.metadata().map_err(problem(act, "inspect", source))?.size();
    let free = statvfs(dump_dir).map_err(|e| problem(act, "inspect", dump_dir)(e.into()))?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    if size >= free {
        return Err(refused(format!("{} has {free} bytes free, it needs {size}", dump_dir.display())));
    }
    let partial = dump_dir.join(format!(".{name}.partial"));
    let result = write_and_rename(source, input, &partial, &target, expected);
    if result.is_err() {
        // It may not exist; the error that counts is the first one.
        let _ = std::fs::remove_file(&partial);
    }
    result
}

fn write_and_rename(
    source: &Path,
    input: File,
    partial: &Path,
    target: &Path,
    expected: Digest,
) -> Result<Placed, HostError> {
    let act = RootAct::PlaceArchive;
    let mut options = OpenOptions::new();
    let mut output = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(partial)
        .map_err(problem(act, "write", partial))?;
    let read = stream(act, source, input, &mut output, |_| ())?;
    if read.digest != expected {
        return Err(HostError::OtherBytes { path: source.to_owned(), expected, seen: read.digest });
    }
    output.flush().and_then(|()| output.sync_all()).map_err(problem(act, "sync", partial))?;
    renameat_with(CWD, partial, CWD, target, RenameFlags::NOREPLACE)
        .map_err(|e| problem(act, "name", target)(e.into()))?;
    let directory = target.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|d| d.sync_all()).map_err(problem(act, "sync", directory))?;
    Ok(Placed::New(target.to_owned()))
}
