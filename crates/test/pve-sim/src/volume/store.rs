//! One storage's `images/` folder: allocate, list, snapshot and free volumes.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::copy::{CopyReport, copy_tree, remove_tree};
use super::limit::destroyed_path;
use super::{VolumeError, VolumeName, owners, subvolume};

/// How a storage type lays its volumes out on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `dir`: `images/V/vm-V-disk-N.raw`; no snapshots.
    Dir,
    /// `btrfs`: `images/V/vm-V-disk-N/disk.raw`, snapshots `images/V/vm-V-disk-N@NAME/disk.raw`.
    Btrfs,
}

/// A volume as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Which volume.
    pub name: VolumeName,
    /// Nominal size in bytes, as allocated or resized.
    pub size: u64,
    /// Names of its snapshots, sorted.
    pub snapshots: Vec<String>,
}

/// The volumes of one storage.
#[derive(Debug, Clone)]
pub struct ImageStore {
    root: PathBuf,
    pub(super) layout: Layout,
}

impl ImageStore {
    /// The storage whose `path` is `root`. Nothing is touched.
    #[must_use]
    pub fn new(root: &Path, layout: Layout) -> Self {
        Self { root: root.to_path_buf(), layout }
    }

    /// The volume's directory tree: what `pvesm path` prints. Exists or not.
    #[must_use]
    pub fn tree(&self, name: &VolumeName) -> PathBuf {
        let folder = self.folder(name.vmid);
        match self.layout {
            Layout::Dir => folder.join(format!("{}.raw", name.stem())),
            Layout::Btrfs => folder.join(name.stem()).join("disk.raw"),
        }
    }

    /// The tree of a snapshot of the volume (meaningful for [`Layout::Btrfs`] only). Exists or not.
    #[must_use]
    pub fn snapshot_tree(&self, name: &VolumeName, snapshot: &str) -> PathBuf {
        self.folder(name.vmid).join(format!("{}@{snapshot}", name.stem())).join("disk.raw")
    }

    /// Makes an empty volume under the guest's first free disk number. `size` is the nominal size in bytes, only recorded.
    ///
    /// # Errors
    /// [`VolumeError::NoFreeNumber`] after disk 999, [`VolumeError::Io`].
    pub fn allocate(&self, vmid: u32, size: u64) -> Result<VolumeName, VolumeError> {
        let folder = self.folder(vmid);
        fs::create_dir_all(&folder).map_err(VolumeError::io("create", &folder))?;
        for disk in 0..1000 {
            let name = VolumeName::new(vmid, disk);
            if self.claim(&name)? {
                self.set_size(&name, size)?;
                return Ok(name);
            }
        }
        Err(VolumeError::NoFreeNumber(vmid))
    }

    /// Makes an empty volume with a given name; false if the name is taken.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn allocate_as(&self, name: &VolumeName, size: u64) -> Result<bool, VolumeError> {
        let folder = self.folder(name.vmid);
        fs::create_dir_all(&folder).map_err(VolumeError::io("create", &folder))?;
        let made = self.claim(name)?;
        if made {
            self.set_size(name, size)?;
        }
        Ok(made)
    }

    /// Records another nominal size, in bytes.
    ///
    /// # Errors
    /// [`VolumeError::Missing`], [`VolumeError::Io`].
    pub fn set_size(&self, name: &VolumeName, size: u64) -> Result<(), VolumeError> {
        self.require(name)?;
        let path = size_path(&self.tree(name));
        fs::write(&path, format!("{size}\n")).map_err(VolumeError::io("write", &path))
    }

    /// Whether the volume is there.
    #[must_use]
    pub fn exists(&self, name: &VolumeName) -> bool {
        self.tree(name).is_dir()
    }

    /// Removes a volume with its side files and snapshots.
    ///
    /// # Errors
    /// [`VolumeError::Missing`], [`VolumeError::Io`].
    pub fn free(&self, name: &VolumeName) -> Result<(), VolumeError> {
        self.require(name)?;
        for snapshot in self.snapshots(name)? {
            self.remove_snapshot(name, &snapshot)?;
        }
        let tree = self.tree(name);
        for path in side_files(&tree) {
            remove_file_if_there(&path)?;
        }
        remove_tree(&hidden_path(&tree))?;
        remove_tree(&self.temporary(name, super::snapshots::ROLLBACK))?;
        remove_tree(&tree)?;
        if self.layout == Layout::Btrfs {
            remove_dir_if_empty(tree.parent().unwrap_or(&tree));
        }
        remove_dir_if_empty(&self.folder(name.vmid));
        Ok(())
    }

    /// All volumes, of one guest or of all, sorted by name.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn list(&self, vmid: Option<u32>) -> Result<Vec<VolumeInfo>, VolumeError> {
        let mut found = Vec::new();
        for folder in names_in(&self.root.join("images"))? {
            let Ok(owner) = folder.parse::<u32>() else { continue };
            if vmid.is_some_and(|wanted| wanted != owner) {
                continue;
            }
            for entry in names_in(&self.folder(owner))? {
                let stem = match self.layout {
                    Layout::Dir => entry.strip_suffix(".raw").unwrap_or_default(),
                    Layout::Btrfs => &entry,
                };
                let Some(name) = VolumeName::from_stem(stem) else { continue };
                if name.vmid == owner && self.exists(&name) {
                    found.push(VolumeInfo {
                        name,
                        size: self.size(&name)?,
                        snapshots: self.snapshots(&name)?,
                    });
                }
            }
        }
        found.sort_by_key(|info| info.name);
        Ok(found)
    }

    /// The nominal size in bytes; 0 if none was recorded.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn size(&self, name: &VolumeName) -> Result<u64, VolumeError> {
        let path = size_path(&self.tree(name));
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(VolumeError::io("read", &path)(error)),
        }
    }

    /// Bytes that the volume's files occupy; what cannot be read counts nothing.
    #[must_use]
    pub fn used(&self, name: &VolumeName) -> u64 {
        occupied(&self.tree(name))
    }

    /// Renames a volume to the first free disk number of another guest, as moving it there does. Data is not touched. A missing
    /// volume of [`Layout::Btrfs`] is "renamed" all the same: the result names nothing (F84).
    ///
    /// # Errors
    /// [`VolumeError::Missing`] on [`Layout::Dir`], [`VolumeError::NoFreeNumber`], [`VolumeError::Io`].
    pub fn rename(&self, name: &VolumeName, to_vmid: u32) -> Result<VolumeName, VolumeError> {
        let missing = !self.exists(name);
        if missing && self.layout == Layout::Dir {
            return Err(VolumeError::Missing(name.to_string()));
        }
        let folder = self.folder(to_vmid);
        fs::create_dir_all(&folder).map_err(VolumeError::io("create", &folder))?;
        loop {
            let target = self.first_free(to_vmid)?;
            if missing || self.take_over(name, &target)? {
                return Ok(target);
            }
        }
    }

    /// The first free disk number of a guest; nothing is taken.
    ///
    /// # Errors
    /// [`VolumeError::NoFreeNumber`] after disk 999.
    pub fn first_free(&self, vmid: u32) -> Result<VolumeName, VolumeError> {
        let names = (0..1000).map(|disk| VolumeName::new(vmid, disk));
        let absent = |name: &VolumeName| self.first(name).symlink_metadata().is_err();
        let free = |name: &VolumeName| absent(name) && absent(&name.as_base());
        names.into_iter().find(free).ok_or(VolumeError::NoFreeNumber(vmid))
    }

    /// Gives a volume another name in one step, side files after it on [`Layout::Dir`]; false if the name is taken.
    fn take_over(&self, name: &VolumeName, target: &VolumeName) -> Result<bool, VolumeError> {
        let (from, to) = (self.first(name), self.first(target));
        match rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(false),
            Err(error) => return Err(VolumeError::io("rename", &from)(error)),
        }
        if self.layout == Layout::Dir {
            for (side, target_side) in side_files(&from).iter().zip(side_files(&to)) {
                match fs::rename(side, &target_side) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(VolumeError::io("rename", side)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    /// Fills an empty volume with a copy of a tree and its owner table. What was copied before a failure stays.
    ///
    /// # Errors
    /// [`VolumeError::Missing`], [`VolumeError::Io`].
    pub fn fill(&self, name: &VolumeName, source: &Path) -> Result<CopyReport, VolumeError> {
        self.require(name)?;
        let tree = self.tree(name);
        fs::remove_dir(&tree).map_err(VolumeError::io("replace", &tree))?;
        copy_tree(source, &tree)
    }

    /// Renames a volume to a template's (`base-…`).
    ///
    /// # Errors
    /// [`VolumeError::Missing`], [`VolumeError::Exists`], [`VolumeError::Io`].
    pub fn make_base(&self, name: &VolumeName) -> Result<VolumeName, VolumeError> {
        self.require(name)?;
        let base = name.as_base();
        if self.take_over(name, &base)? { Ok(base) } else { Err(VolumeError::Exists(base.to_string())) }
    }

    pub(super) fn folder(&self, vmid: u32) -> PathBuf {
        self.root.join("images").join(vmid.to_string())
    }

    /// The entry of the guest's folder that is the volume: its tree, or on [`Layout::Btrfs`] the folder around it.
    fn first(&self, name: &VolumeName) -> PathBuf {
        match self.layout {
            Layout::Dir => self.tree(name),
            Layout::Btrfs => self.folder(name.vmid).join(name.stem()),
        }
    }

    /// Where a copy is made until it is complete; lists do not show it.
    pub(super) fn temporary(&self, name: &VolumeName, what: &str) -> PathBuf {
        self.folder(name.vmid).join(format!(".{}@{what}.tmp", name.stem()))
    }

    pub(super) fn require(&self, name: &VolumeName) -> Result<(), VolumeError> {
        if self.exists(name) { Ok(()) } else { Err(VolumeError::Missing(name.to_string())) }
    }

    /// Makes the volume's directory; false if the name is taken (also by something that is no directory).
    fn claim(&self, name: &VolumeName) -> Result<bool, VolumeError> {
        if self.exists(&name.as_base()) {
            return Ok(false);
        }
        let (tree, first) = (self.tree(name), self.first(name));
        let made = self.layout == Layout::Btrfs && subvolume::create(&first);
        match if made { Ok(()) } else { fs::create_dir(&first) } {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(VolumeError::io("create", &first)(error)),
        }
        if self.layout == Layout::Btrfs {
            fs::create_dir(&tree).map_err(VolumeError::io("create", &tree))?;
        }
        Ok(true)
    }
}

/// Where the process runtime keeps what a mount point hides in this tree while the guest runs: `<tree>.hidden`.
#[must_use]
pub fn hidden_path(tree: &Path) -> PathBuf {
    let mut path = tree.as_os_str().to_owned();
    path.push(".hidden");
    path.into()
}

/// Under which name the directory at a mount path waits there.
#[must_use]
pub fn hidden_name(mount_path: &str) -> String {
    mount_path.trim_matches('/').replace('%', "%25").replace('/', "%2F")
}

/// Undoes [`hidden_name`].
pub(super) fn mount_path(hidden_name: &str) -> PathBuf {
    hidden_name.replace("%2F", "/").replace("%25", "%").into()
}

pub(super) fn size_path(tree: &Path) -> PathBuf {
    owners::beside(tree, "size")
}

/// Marks a volume, or a snapshot of one, that was not unmounted when it was copied: its first mount has to wait until ext4's
/// multiple mount protection believes that nobody else has it.
#[must_use]
pub fn busy_path(tree: &Path) -> PathBuf {
    owners::beside(tree, "busy")
}

fn side_files(tree: &Path) -> [PathBuf; 4] {
    [owners::table_path(tree), size_path(tree), busy_path(tree), destroyed_path(tree)]
}

fn occupied(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    metadata.blocks() * 512 + inside.map(|entry| occupied_entry(&entry)).sum::<u64>()
}

fn occupied_entry(entry: &fs::DirEntry) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => occupied(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    }
}

pub(super) fn names_in(dir: &Path) -> Result<Vec<String>, VolumeError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(VolumeError::io("list", dir)(error)),
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(VolumeError::io("list", dir))
}

fn remove_file_if_there(path: &Path) -> Result<(), VolumeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(VolumeError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A folder that is still in use stays; any other failure shows at its next use.
fn remove_dir_if_empty(dir: &Path) {
    drop(fs::remove_dir(dir));
}
