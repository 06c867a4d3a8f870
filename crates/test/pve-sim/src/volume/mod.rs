//! Volumes of a directory storage: each volume is a directory tree instead of a disk image.
//!
//! A volid `STORE:260/vm-260-disk-1.raw` names the tree at the very path that Proxmox prints for the image:
//! `ROOT/images/260/vm-260-disk-1.raw` on a `dir` storage, `ROOT/images/260/vm-260-disk-1/disk.raw` on `btrfs`, whose
//! snapshots are `ROOT/images/260/vm-260-disk-1@NAME/disk.raw`. Beside each tree stand `<tree>.owners` (owner side
//! table, see [`owners`]) and `<tree>.size` (the volume's nominal size in bytes).

pub mod copy;
mod error;
pub(crate) mod ext4;
pub(crate) mod limit;
mod name;
pub mod owners;
mod snapshots;
mod store;
mod subvolume;
pub(crate) mod xattr;

pub use copy::{CopyMethod, CopyReport, copy_tree, remove_tree};
pub use error::VolumeError;
pub use name::VolumeName;
pub use store::{ImageStore, Layout, VolumeInfo, busy_path, hidden_name, hidden_path};
