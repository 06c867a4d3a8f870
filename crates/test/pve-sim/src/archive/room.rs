//! What still fits into a volume while an archive is unpacked into it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::volume::ext4::Ext4;

/// The free blocks of one volume.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room(Option<(Ext4, u64)>);

impl Room {
    /// Of a volume with `size` bytes at `tree`, which may hold something already; without a size, there is no limit.
    pub(super) fn of(tree: &Path, size: Option<u64>) -> Self {
        Self(size.filter(|size| *size > 0).map(|size| {
            let fs = Ext4::of(size);
            (fs, fs.room().saturating_sub(used(tree, fs)))
        }))
    }

    /// Takes room for `bytes`; answers how many of them fit.
    pub(super) fn take(&mut self, bytes: u64) -> u64 {
        let Some((fs, left)) = &mut self.0 else { return bytes };
        let wanted = fs.blocks_of(bytes);
        if wanted <= *left {
            *left -= wanted;
            return bytes;
        }
        std::mem::take(left) * fs.block
    }

    /// Takes a block for a directory; answers whether there is one.
    pub(super) fn take_directory(&mut self) -> bool {
        self.take(1) == 1
    }
}

fn used(tree: &Path, fs: Ext4) -> u64 {
    let Ok(entries) = fs::read_dir(tree) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => 1 + used(&entry.path(), fs),
        Ok(found) if found.is_file() => fs.blocks_of(found.len()) / found.nlink().max(1),
        _ => 0,
    };
    entries.flatten().map(of).sum()
}
