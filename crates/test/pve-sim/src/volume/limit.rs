//! Running out of room: a file system that takes only so many bytes more, and what becomes of a volume on one that is full.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A writer that is told `No space left on device` after so many bytes.
#[derive(Debug)]
pub(crate) struct Limited<W> {
    inner: W,
    left: Option<u64>,
}

impl<W: Write> Limited<W> {
    /// `left` is how many bytes fit; `None` is no limit.
    pub(crate) fn new(inner: W, left: Option<u64>) -> Self {
        Self { inner, left }
    }
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = &mut self.left else { return self.inner.write(bytes) };
        if *left == 0 && !bytes.is_empty() {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        let fits = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        let written = self.inner.write(&bytes[..fits])?;
        *left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// The file systems below some volumes while an archive is unpacked into these.
///
/// A volume is a sparse image: the writer inside it sees its own free space only. When the file system below is full, what the
/// writer wrote is lost later, without an error for anybody, and with it the image's file system (F69).
#[derive(Debug, Clone, Default)]
pub(crate) struct Below {
    /// Bytes left on each file system.
    rooms: Vec<u64>,
    /// The file system of each volume, by the volume's number; `None` for one without limit.
    of: Vec<Option<usize>>,
    lost: Vec<bool>,
}

impl Below {
    /// For each volume the name of its file system and what is left there, if that is limited.
    pub(crate) fn new(volumes: &[Option<(String, u64)>]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut all = Self { lost: vec![false; volumes.len()], ..Self::default() };
        for volume in volumes {
            all.of.push(volume.as_ref().map(|(name, room)| {
                names.iter().position(|known| known == name).unwrap_or_else(|| {
                    names.push(name);
                    all.rooms.push(*room);
                    names.len() - 1
                })
            }));
        }
        all
    }

    /// Takes whole blocks for `bytes` of a new file in a volume; answers how many of the bytes survive.
    pub(crate) fn take(&mut self, volume: usize, bytes: u64) -> u64 {
        let Some(room) = self.of.get(volume).copied().flatten().and_then(|at| self.rooms.get_mut(at)) else {
            return bytes;
        };
        let wanted = bytes.div_ceil(BLOCK) * BLOCK;
        if wanted <= *room {
            *room -= wanted;
            return bytes;
        }
        self.lost[volume] = true;
        std::mem::take(room)
    }

    /// Notes that data of a volume were lost.
    pub(crate) fn lose(&mut self, volume: usize) {
        if let Some(lost) = self.lost.get_mut(volume) {
            *lost = true;
        }
    }

    /// Whether data of a volume were lost.
    pub(crate) fn lost(&self, volume: usize) -> bool {
        self.lost.get(volume).copied().unwrap_or(false)
    }
}

/// Where it is marked that a volume's file system is destroyed: `<tree>.destroyed`.
pub(crate) fn destroyed_path(tree: &Path) -> PathBuf {
    let mut path = tree.as_os_str().to_owned();
    path.push(".destroyed");
    path.into()
}

/// Marks a volume whose file system is destroyed.
pub(crate) fn mark_destroyed(tree: &Path) -> io::Result<()> {
    fs::write(destroyed_path(tree), "")
}

/// Whether a volume's file system is destroyed, so that it can neither be checked nor mounted.
pub(crate) fn is_destroyed(tree: &Path) -> bool {
    destroyed_path(tree).exists()
}

/// Whether an error is that of a full file system.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_writer_takes_what_fits_and_then_fails() {
        let mut writer = Limited::new(Vec::new(), Some(5));
        assert!(is_full(&writer.write_all(b"1234567").unwrap_err()));
        assert_eq!(writer.inner, b"12345");
    }

    #[test]
    fn volumes_of_one_file_system_share_its_room() {
        let disk = |room| Some(("/mnt/small".to_owned(), room));
        let mut below = Below::new(&[disk(8192), None, disk(8192)]);
        assert_eq!(below.take(0, 100), 100);
        assert_eq!(below.take(1, 1 << 40), 1 << 40);
        assert_eq!(below.take(2, 5000), 4096);
        assert_eq!(below.take(2, 1), 0);
        assert_eq!((below.lost(0), below.lost(1), below.lost(2)), (false, false, true));
    }
}
