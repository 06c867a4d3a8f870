//! A file that only takes up room, so that there is some when the disk is full.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::files::beside;

/// Bytes of the ballast unless another size is asked for: more than the write-ahead log needs between two checkpoints.
pub const BALLAST: u64 = 8 << 20;

const CHUNK: usize = 64 << 10;

/// The ballast of one database: `NAME.ballast` beside it, 0600.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(super) fn at(database: &Path, bytes: u64) -> Self {
        Self { path: beside(database, ".ballast"), bytes }
    }

    /// Fills it up to its size. A disk without room is no error: it is tried again at the next opening.
    pub(super) fn fill(&self) {
        if let Err(e) = self.try_fill() {
            tracing::warn!(file = %self.path.display(), error = %e, "no room is kept for a full disk");
            // A part of it would only make the disk fuller.
            self.release();
        }
    }

    fn try_fill(&self) -> io::Result<()> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&self.path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        if file.metadata()?.len() == self.bytes {
            return Ok(());
        }
        file.set_len(0)?;
        write_dense(&mut file, self.bytes)?;
        file.sync_all()
    }

    /// Gives the room back. True if there was some.
    pub(super) fn release(&self) -> bool {
        let emptied = OpenOptions::new().write(true).open(&self.path).and_then(|file| {
            let had = file.metadata()?.len() > 0;
            file.set_len(0)?;
            // Some file systems give blocks back only when the change itself is on disk.
            file.sync_all()?;
            Ok(had)
        });
        match emptied {
            Ok(had) => {
                if had {
                    tracing::warn!(file = %self.path.display(), "the disk is full: room that was kept is used now");
                }
                had
            }
            Err(e) => {
                tracing::warn!(file = %self.path.display(), error = %e, "no room was kept for a full disk");
                false
            }
        }
    }
}

/// Bytes that do not compress: ZFS and btrfs keep zeros as holes, which take up no room.
fn write_dense(file: &mut File, bytes: u64) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(&chunk[..now])?;
        left -= now as u64;
    }
    Ok(())
}
