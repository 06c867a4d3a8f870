//! The node's file systems, as far as `control/disks.json` in the state directory says something about them (never the API).
//!
//! ```json
//! {"/": {"size": 270553174016},
//!  "/mnt/small": {"size": 190770176, "taken": 110000000, "mounted": false},
//!  "/mnt/usb": {"offline": true}}
//! ```
//! A key is a mount point of the node; a volume group is `/dev/NAME`. All fields are optional:
//!
//! | field | means |
//! |---|---|
//! | `size` | bytes of the file system: writes really run out; without it, as much as this machine has |
//! | `taken` | bytes of it that something else uses |
//! | `mounted` | `false`: the directory is an empty one of the file system above, where new files then land |
//! | `offline` | `true`: the directory cannot be reached |
//! | `loop` | `true`: an image file, not a disk, so that the list of disks does not have it |
//!
//! A path of the node is the same path below the state directory. What is written while a disk is not mounted is in `unmounted/`
//! there. The file is read anew at each use, so it acts from when it is there until it is not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{Host, atomic};
use crate::error::ApiError;

/// What the control file says of one file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    taken: u64,
    #[serde(default)]
    mounted: Option<bool>,
    #[serde(default)]
    offline: bool,
    #[serde(default, rename = "loop")]
    image: bool,
}

/// All file systems of the control file, by mount point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disks(BTreeMap<String, Entry>);

/// The file system below a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Where it is mounted on the node.
    pub(crate) at: String,
    /// Bytes, if it is limited.
    size: Option<u64>,
    /// Bytes that something else uses.
    taken: u64,
    /// Its own directory on this machine, and those in it that are other file systems.
    root: PathBuf,
    except: Vec<PathBuf>,
}

/// Where a path of the node is on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The directory.
    pub(crate) path: PathBuf,
    /// The file system it is on.
    pub(crate) disk: Disk,
    /// Whether the control file says that it cannot be reached.
    pub(crate) offline: bool,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Size of the file system.
    pub(crate) total: u64,
    /// Free for use.
    pub(crate) avail: u64,
    /// In use.
    pub(crate) used: u64,
}

impl Disks {
    /// Reads the control file.
    ///
    /// # Errors
    /// If it is no such JSON.
    pub(crate) fn load(host: &Host) -> Result<Self, ApiError> {
        let Some(text) = atomic::read_optional(&host.dir.disks())? else { return Ok(Self::default()) };
        let all: BTreeMap<String, Entry> =
            serde_json::from_str(&text).map_err(|e| ApiError::die(format!("control/disks.json: {e}")))?;
        // A path of this machine means the node's.
        let root = host.dir.root().to_string_lossy();
        let named = |at: String| match at.strip_prefix(&*root).filter(|at| at.starts_with('/')) {
            Some(inside) => inside.to_owned(),
            None => at,
        };
        let all = all.into_iter().map(|(at, entry)| (named(at), entry)).collect();
        Ok(Self(all))
    }

    /// Where a path of the node is.
    pub(crate) fn place(&self, host: &Host, path: &str) -> Place {
        let root = host.dir.root();
        let offline = self.above(path).any(|(_, entry)| entry.offline);
        let taken_away = self.above(path).any(|(_, entry)| entry.mounted == Some(false));
        let real = match taken_away {
            true => below(&root.join("unmounted"), path),
            false if Path::new(path).starts_with(root) => PathBuf::from(path),
            false => below(root, path),
        };
        Place { path: real, disk: self.disk(host, path), offline }
    }

    /// Whether something is mounted at exactly this path of the node: says the control file, or is so on this machine.
    pub(crate) fn mounted(&self, host: &Host, path: &str) -> bool {
        match self.0.get(path) {
            Some(entry) => entry.mounted != Some(false),
            None => {
                let real = self.place(host, path).path;
                let device = |p: &Path| fs::metadata(p).ok().map(|m| m.dev());
                real.parent().is_some_and(|parent| {
                    device(&real).is_some_and(|mine| device(parent).is_some_and(|above| above != mine))
                })
            }
        }
    }

    /// The node's disks, the one of `/` first: whether it is mounted, and how large it is.
    pub(crate) fn sizes(&self, host: &Host) -> Vec<(bool, u64)> {
        let size_of = |path: &str, entry: &Entry| {
            entry.size.unwrap_or_else(|| self.disk(host, path).capacity(&below(host.dir.root(), path)).total)
        };
        let root = Entry::default();
        let first = self.0.get("/").unwrap_or(&root);
        let others = self.0.iter().filter(|(path, entry)| path.as_str() != "/" && !entry.image);
        std::iter::once((true, size_of("/", first)))
            .chain(others.map(|(path, entry)| (entry.mounted != Some(false), size_of(path, entry))))
            .collect()
    }

    /// Entries of this path and of those it is in, the deepest first.
    fn above(&self, path: &str) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.iter().rev().filter(move |(at, _)| Path::new(path).starts_with(at))
    }

    fn disk(&self, host: &Host, path: &str) -> Disk {
        let real = |at: &str| below(host.dir.root(), at);
        let mounted = || self.0.iter().filter(|(_, entry)| entry.mounted != Some(false));
        let own = self.above(path).find(|(_, entry)| entry.mounted != Some(false));
        let (at, entry) = own.map_or(("/", Entry::default()), |(at, entry)| (at.as_str(), entry.clone()));
        Disk {
            at: at.to_owned(),
            size: entry.size,
            taken: entry.taken,
            root: real(at),
            except: mounted()
                .filter(|(other, _)| other.as_str() != at)
                .map(|(other, _)| real(other))
                .collect(),
        }
    }
}

/// A path of the node below a directory of this machine, out of which no `..` leads.
fn below(root: &Path, path: &str) -> PathBuf {
    let normal = |part: &Component<'_>| matches!(part, Component::Normal(_));
    root.join(Path::new(path).components().filter(normal).collect::<PathBuf>())
}

impl Disk {
    /// Sizes of the file system that `path` is on.
    pub(crate) fn capacity(&self, path: &Path) -> Capacity {
        let Some(size) = self.size else {
            let Ok(fs) = rustix::fs::statvfs(path) else { return Capacity::default() };
            let (total, avail) = (fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize);
            return Capacity { total, avail, used: (fs.f_blocks - fs.f_bfree) * fs.f_frsize };
        };
        let used = (self.taken + self.in_use()).min(size);
        Capacity { total: size, avail: size - used, used }
    }

    /// How many bytes can still be written, if that is limited.
    pub(crate) fn room(&self) -> Option<u64> {
        self.size.map(|size| size.saturating_sub(self.taken + self.in_use()))
    }

    /// Allocated bytes of every file on it. (Extents that files share count once for each.)
    fn in_use(&self) -> u64 {
        let (mut sum, mut open) = (0, vec![self.root.clone()]);
        while let Some(dir) = open.pop() {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if !metadata.is_dir() {
                    sum += metadata.blocks() * 512;
                } else if !self.except.contains(&entry.path()) {
                    open.push(entry.path());
                }
            }
        }
        sum
    }
}
