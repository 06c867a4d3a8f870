//! Snapshots of volumes: copies beside them, and back again.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use super::copy::{CopyMethod, CopyReport, copy_tree, remove_tree};
use super::limit::{destroyed_path, is_destroyed, mark_destroyed};
use super::store::{ImageStore, Layout, busy_path, hidden_path, mount_path, names_in, size_path};
use super::{VolumeError, VolumeName, subvolume};

/// The temporary name of a rollback's copy. No snapshot is called so: it would have to begin with a letter.
pub(super) const ROLLBACK: &str = "-rollback";

impl ImageStore {
    /// Snapshots a volume: a btrfs snapshot of its subvolume, a reflink copy of its tree, or a plain copy where the file
    /// system has no reflinks (the report says which). Until it is complete it stands under a temporary name that [`ImageStore::list`] does not show.
    ///
    /// # Errors
    /// [`VolumeError::NoSnapshots`] on [`Layout::Dir`], [`VolumeError::Missing`], [`VolumeError::Exists`], [`VolumeError::Io`].
    pub fn snapshot(&self, name: &VolumeName, snapshot: &str) -> Result<CopyReport, VolumeError> {
        if self.layout == Layout::Dir {
            return Err(VolumeError::NoSnapshots);
        }
        self.require(name)?;
        let target = self.snapshot_tree(name, snapshot);
        let place = target.parent().unwrap_or(&target).to_path_buf();
        if place.exists() {
            return Err(VolumeError::Exists(format!("{name}@{snapshot}")));
        }
        let temporary = self.temporary(name, snapshot);
        let report = copy_volume(&self.tree(name), &temporary)?;
        fs::rename(&temporary, &place).map_err(VolumeError::io("rename", &temporary))?;
        Ok(report)
    }

    /// Puts a copy of a snapshot in the volume's place, with the size it had then. The snapshot stays.
    ///
    /// # Errors
    /// [`VolumeError::NoSnapshots`] on [`Layout::Dir`], [`VolumeError::Missing`] for volume or snapshot, [`VolumeError::Io`].
    pub fn rollback(&self, name: &VolumeName, snapshot: &str) -> Result<CopyReport, VolumeError> {
        if self.layout == Layout::Dir {
            return Err(VolumeError::NoSnapshots);
        }
        self.require(name)?;
        let source = self.snapshot_tree(name, snapshot);
        if !source.is_dir() {
            return Err(VolumeError::Missing(format!("{name}@{snapshot}")));
        }
        let tree = self.tree(name);
        let place = tree.parent().unwrap_or(&tree);
        let temporary = self.temporary(name, ROLLBACK);
        let report = copy_volume(&source, &temporary)?;
        let flags = RenameFlags::EXCHANGE;
        if rustix::fs::renameat_with(CWD, &temporary, CWD, place, flags).is_err() {
            // A file system without exchange: for a moment there is no volume.
            remove_tree(place)?;
            fs::rename(&temporary, place).map_err(VolumeError::io("rename", &temporary))?;
        }
        remove_tree(&temporary)?;
        Ok(report)
    }

    /// Copies a volume, or a snapshot of it, to a new volume of another guest (a linked clone shares its blocks where the
    /// file system can).
    ///
    /// # Errors
    /// [`VolumeError::Missing`], [`VolumeError::NoFreeNumber`], [`VolumeError::Io`].
    pub fn duplicate(
        &self,
        name: &VolumeName,
        snapshot: Option<&str>,
        to_vmid: u32,
    ) -> Result<VolumeName, VolumeError> {
        self.require(name)?;
        let target = self.allocate(to_vmid, self.size(name)?)?;
        let source = snapshot.map_or_else(|| self.tree(name), |s| self.snapshot_tree(name, s));
        if let Err(error) = self.fill(&target, &source) {
            fs::create_dir_all(self.tree(&target)).map_err(VolumeError::io("create", &source))?;
            self.free(&target)?;
            return Err(error);
        }
        if is_destroyed(&source) {
            let tree = self.tree(&target);
            mark_destroyed(&tree).map_err(VolumeError::io("mark", &tree))?;
        }
        Ok(target)
    }

    /// Removes a snapshot, also a half-made one. No error if there is none.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn remove_snapshot(&self, name: &VolumeName, snapshot: &str) -> Result<(), VolumeError> {
        let tree = self.snapshot_tree(name, snapshot);
        remove_tree(&self.temporary(name, snapshot))?;
        remove_tree(tree.parent().unwrap_or(&tree))
    }

    /// Names of a volume's complete snapshots, sorted.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn snapshots(&self, name: &VolumeName) -> Result<Vec<String>, VolumeError> {
        let prefix = format!("{}@", name.stem());
        let mut found: Vec<String> = names_in(&self.folder(name.vmid))?
            .iter()
            .filter_map(|n| n.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect();
        found.sort();
        Ok(found)
    }
}

/// Copies a tree with its side files to `to/disk.raw`.
fn copy_volume(from: &Path, to: &Path) -> Result<CopyReport, VolumeError> {
    remove_tree(to)?;
    let tree = to.join("disk.raw");
    if from.parent().is_some_and(|volume| subvolume::snapshot(volume, to)) {
        uncover(&tree)?;
        return Ok(CopyReport { method: CopyMethod::Reflink, files: 0, bytes: 0 });
    }
    fs::create_dir(to).map_err(VolumeError::io("create", to))?;
    let report = copy_tree(from, &tree)?;
    if hidden_path(from).is_dir() {
        copy_tree(&hidden_path(from), &hidden_path(&tree))?;
        uncover(&tree)?;
    }
    for side_of in [size_path, busy_path, destroyed_path] {
        let (side, copy) = (side_of(from), side_of(&tree));
        match fs::copy(&side, copy) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(VolumeError::io("copy", &side)(error));
            }
            _ => {}
        }
    }
    Ok(report)
}

/// Mounts are no part of a volume, but what they hide is: it comes back to its place in the copy of a running guest's volume.
fn uncover(tree: &Path) -> Result<(), VolumeError> {
    let folder = hidden_path(tree);
    for name in names_in(&folder)? {
        let place = tree.join(mount_path(&name));
        if fs::symlink_metadata(&place).is_ok_and(|found| found.is_symlink()) {
            fs::remove_file(&place).map_err(VolumeError::io("uncover", &place))?;
            fs::rename(folder.join(&name), &place).map_err(VolumeError::io("uncover", &place))?;
        }
    }
    remove_tree(&folder)
}
