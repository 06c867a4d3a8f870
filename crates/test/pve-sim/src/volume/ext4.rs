//! The file system that a container's volume gets: what `mkfs.ext4` prints for its size, and how much fits into it. Pure.

/// Sizes of an ext4 file system as mke2fs chooses them by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ext4 {
    /// Bytes of a block.
    pub(crate) block: u64,
    /// Number of blocks.
    pub(crate) blocks: u64,
    /// Number of inodes.
    pub(crate) inodes: u64,
}

/// Bytes of an inode.
const INODE: u64 = 256;

impl Ext4 {
    /// The file system of a volume with so many bytes. Below 512 MiB blocks and inodes are small (`small` in mke2fs.conf).
    pub(crate) fn of(size: u64) -> Self {
        let (block, ratio) = if size < 512 << 20 { (1024, 4096) } else { (4096, 16384) };
        let blocks = size / block;
        let groups = blocks.div_ceil(block * 8).max(1);
        let fill = INODE * (size / ratio).div_ceil(groups);
        // An inode table fills whole blocks, and its bitmap whole bytes.
        let each = fill.div_ceil(block) * block / INODE / 8 * 8;
        Self { block, blocks, inodes: each * groups }
    }

    /// The text `N 4k blocks and M inodes`.
    pub(crate) fn sizes(&self) -> String {
        format!("{} {}k blocks and {} inodes", self.blocks, self.block / 1024, self.inodes)
    }

    /// Blocks with copies of the superblock: groups 1 and powers of 3, 5 and 7; none with two groups only (rec 594).
    pub(crate) fn backups(&self) -> Vec<u64> {
        let (group, first) = (self.block * 8, u64::from(self.block == 1024));
        if self.blocks <= 2 * group {
            return Vec::new();
        }
        let power = |group: u64| {
            [3, 5, 7]
                .iter()
                .any(|base| std::iter::successors(Some(1), |n| Some(n * base)).take(20).any(|n| n == group))
        };
        (1..self.blocks.div_ceil(group)).filter(|n| power(*n)).map(|n| n * group + first).collect()
    }

    /// Blocks that an ordinary user can fill: without journal, inode tables and the reserve of 5 %.
    pub(crate) fn room(&self) -> u64 {
        let journal = match self.blocks {
            0..2048 => 0,
            2048..32768 => 1024,
            32768..0x4_0000 => 4096,
            0x4_0000..0x8_0000 => 8192,
            0x8_0000..0x40_0000 => 16384,
            _ => 32768,
        };
        let tables = self.inodes * INODE / self.block;
        let used = journal + tables + self.blocks / 200 + self.blocks / 20;
        self.blocks.saturating_sub(used)
    }

    /// Blocks that a file of so many bytes takes.
    pub(crate) fn blocks_of(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rec 113, 126, 545, 698, 712: what mkfs printed.
    #[test]
    fn sizes_are_those_of_mkfs() {
        for (size, text) in [
            (1 << 30, "262144 4k blocks and 65536 inodes"),
            (4 << 30, "1048576 4k blocks and 262144 inodes"),
            (536_870_912, "131072 4k blocks and 32768 inodes"),
            (307 << 20, "314368 1k blocks and 78624 inodes"),
            (204 << 20, "208896 1k blocks and 52208 inodes"),
            (409 << 20, "418816 1k blocks and 104832 inodes"),
            (102 << 20, "104448 1k blocks and 26104 inodes"),
            (51 << 20, "52224 1k blocks and 13048 inodes"),
            (10 << 20, "10240 1k blocks and 2560 inodes"),
        ] {
            assert_eq!(Ext4::of(size).sizes(), text);
        }
        assert_eq!(Ext4::of(1 << 30).backups(), [32768, 98304, 163_840, 229_376]);
        assert_eq!(
            Ext4::of(409 << 20).backups(),
            [8193, 24577, 40961, 57345, 73729, 204_801, 221_185, 401_409]
        );
        assert!(Ext4::of(10 << 20).backups().is_empty());
    }

    /// rec2 822: 51 MiB held 38 MB of two files and 4 MB of a small system; rec 595: 10 MiB held 4.6 MB.
    #[test]
    fn room_is_less_than_the_size() {
        let bytes = |size: u64| Ext4::of(size).room() * Ext4::of(size).block;
        assert!((41_000_000..45_000_000).contains(&bytes(51 << 20)), "{}", bytes(51 << 20));
        assert!(bytes(10 << 20) > 6_000_000);
        assert!((900 << 20..1000 << 20).contains(&bytes(1 << 30)));
    }
}
