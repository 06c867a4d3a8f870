//! btrfs subvolumes, made with the `btrfs` program as Proxmox VE does it. Everywhere else, and without the program, the caller makes
//! directories and copies. A subvolume goes as a directory does: by removing what is in it and then itself.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// `BTRFS_SUPER_MAGIC`.
const MAGIC: u64 = 0x9123_683E;
/// The inode number of every subvolume's top directory.
const TOP: u64 = 256;

fn on_btrfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|kind| kind == MAGIC))
}

/// Whether this is a subvolume's top directory.
pub(super) fn is_subvolume(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.is_dir() && m.ino() == TOP) && on_btrfs(path)
}

/// Makes a subvolume, where that is possible; answers whether it did.
pub(super) fn create(path: &Path) -> bool {
    !path.exists() && path.parent().is_some_and(on_btrfs) && btrfs(&["create"], &[path])
}

/// Makes a writable snapshot of a subvolume, where that is possible; answers whether it did.
pub(super) fn snapshot(from: &Path, to: &Path) -> bool {
    is_subvolume(from) && !to.exists() && btrfs(&["snapshot"], &[from, to])
}

fn btrfs(verb: &[&str], paths: &[&Path]) -> bool {
    let mut command = Command::new("btrfs");
    command.arg("subvolume").args(verb).arg("--").args(paths);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
