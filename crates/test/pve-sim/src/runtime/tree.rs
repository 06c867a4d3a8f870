//! Paths inside a guest: resolved as the guest's own kernel would, links included, and never outside its volumes.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RuntimeError;

/// A mount point of a guest: a volume's tree or a bind-mounted directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Path in the guest, absolute, not `/`.
    pub path: String,
    /// Directory on this machine.
    pub source: PathBuf,
    /// A storage volume has an owner side table, a bind mount has none.
    pub volume: bool,
}

/// As in the kernel.
const MAX_LINKS: u32 = 40;

/// A guest's root file system with its mount points.
#[derive(Debug, Clone)]
pub struct GuestTree {
    rootfs: PathBuf,
    /// Mount path relative to the root, directory on this machine, volume or not.
    mounts: Vec<(PathBuf, PathBuf, bool)>,
}

/// Where a guest path is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The path inside the guest without links, relative to its root.
    pub guest: PathBuf,
    /// The path on this machine.
    pub host: PathBuf,
    /// Tree of the volume that holds it; `None` in a bind mount, which is no volume.
    pub volume: Option<PathBuf>,
    /// The path inside that tree (or bind mount).
    pub inside: PathBuf,
    /// Whether something is there.
    pub exists: bool,
}

impl GuestTree {
    /// The tree of a guest with root volume `rootfs`.
    #[must_use]
    pub fn new(rootfs: &Path, mounts: &[Mount]) -> Self {
        let mut mounts: Vec<_> =
            mounts.iter().map(|mount| (normal(&mount.path), mount.source.clone(), mount.volume)).collect();
        mounts.sort();
        Self { rootfs: rootfs.to_path_buf(), mounts }
    }

    /// Resolves `path`; a relative one starts at the root. All directories on the way must exist, the last part need not.
    /// `follow` also follows a link in the last part.
    ///
    /// # Errors
    /// [`RuntimeError::BadPath`].
    pub fn resolve(&self, path: &OsStr, follow: bool) -> Result<Resolved, RuntimeError> {
        let bad =
            |reason: String| RuntimeError::BadPath { path: path.to_string_lossy().into_owned(), reason };
        let mut todo: VecDeque<OsString> = parts(Path::new(path)).collect();
        let mut current = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                current.pop();
                continue;
            }
            let next = current.join(&part);
            let last = todo.is_empty();
            let place = self.place(&next);
            if place.inside.as_os_str().is_empty() {
                current = next;
                continue;
            }
            let found = match fs::symlink_metadata(&place.host) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound && last => {
                    return Ok(Resolved { exists: false, ..place });
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(bad(format!("no such directory: '/{}'", next.display())));
                }
                Err(error) => return Err(bad(format!("'/{}': {error}", next.display()))),
            };
            if found.is_symlink() && (follow || !last) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(bad("too many levels of symbolic links".to_owned()));
                }
                let target =
                    fs::read_link(&place.host).map_err(|e| bad(format!("'/{}': {e}", next.display())))?;
                if target.is_absolute() {
                    current.clear();
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    todo.push_front(part);
                }
            } else if !last && !found.is_dir() {
                return Err(bad(format!("not a directory: '/{}'", next.display())));
            } else {
                current = next;
            }
        }
        Ok(self.place(&current))
    }

    /// Where a guest path without links is on this machine.
    fn place(&self, guest: &Path) -> Resolved {
        let mount = self.mounts.iter().rev().find_map(|(mount, source, volume)| {
            let inside = guest.strip_prefix(mount).ok()?;
            Some((inside, source, *volume))
        });
        let (inside, root, volume) = mount.unwrap_or((guest, &self.rootfs, true));
        // Joining the empty path would add a slash.
        let host = if inside.as_os_str().is_empty() { root.clone() } else { root.join(inside) };
        Resolved {
            guest: guest.to_path_buf(),
            host,
            volume: volume.then(|| root.clone()),
            inside: inside.to_path_buf(),
            exists: true,
        }
    }
}

/// `/data/` as `data`.
fn normal(path: &str) -> PathBuf {
    parts(Path::new(path)).collect()
}

/// Names and `..` of a path; the rest means nothing here.
fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Fixture {
        _dir: tempfile::TempDir,
        tree: GuestTree,
        root: PathBuf,
        data: PathBuf,
    }

    /// `/data` is a volume of its own, linked into the rootfs by its path on this machine as the runtime does.
    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let (root, data) = (dir.path().join("root"), dir.path().join("data"));
        for made in ["usr/bin", "etc"] {
            fs::create_dir_all(root.join(made)).unwrap();
        }
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::write(root.join("usr/bin/tool"), "x").unwrap();
        symlink(&data, root.join("data")).unwrap();
        let mount = Mount { path: "/data".to_owned(), source: data.clone(), volume: true };
        Fixture { tree: GuestTree::new(&root, &[mount]), _dir: dir, root, data }
    }

    fn host(fixture: &Fixture, path: &str) -> Result<PathBuf, RuntimeError> {
        fixture.tree.resolve(OsStr::new(path), true).map(|found| found.host)
    }

    #[test]
    fn absolute_links_start_at_the_guests_root() {
        let f = fixture();
        symlink("/usr/bin", f.root.join("bin")).unwrap();
        symlink("/bin/tool", f.root.join("etc/tool")).unwrap();
        assert_eq!(host(&f, "/etc/tool").unwrap(), f.root.join("usr/bin/tool"));
    }

    #[test]
    fn dot_dot_ends_at_the_guests_root() {
        let f = fixture();
        symlink("../../../../../../etc", f.root.join("usr/up")).unwrap();
        assert_eq!(host(&f, "/../../usr/bin/tool").unwrap(), f.root.join("usr/bin/tool"));
        assert_eq!(host(&f, "/usr/up/new").unwrap(), f.root.join("etc/new"));
    }

    #[test]
    fn a_link_to_a_path_of_this_machine_does_not_leave_the_guest() {
        let f = fixture();
        let outside = f.root.parent().unwrap().join("outside");
        fs::write(&outside, "secret").unwrap();
        symlink(&outside, f.root.join("etc/leak")).unwrap();
        assert!(host(&f, "/etc/leak").is_err());
    }

    #[test]
    fn a_mount_point_leads_into_its_volume_also_through_links_inside_it() {
        let f = fixture();
        symlink("/usr/bin/tool", f.data.join("sub/tool")).unwrap();
        assert_eq!(host(&f, "/data/sub/tool").unwrap(), f.root.join("usr/bin/tool"));
        let found = f.tree.resolve(OsStr::new("/data/sub/new"), true).unwrap();
        assert_eq!((found.volume, found.inside), (Some(f.data.clone()), PathBuf::from("sub/new")));
        assert_eq!(host(&f, "/data/../usr/bin/tool").unwrap(), f.root.join("usr/bin/tool"));
        assert_eq!(host(&f, "/data").unwrap(), f.data);
    }

    #[test]
    fn loops_and_missing_directories_are_errors() {
        let f = fixture();
        symlink("loop", f.root.join("etc/loop")).unwrap();
        assert!(host(&f, "/etc/loop").unwrap_err().to_string().contains("too many levels"));
        assert!(host(&f, "/nothing/here").unwrap_err().to_string().contains("no such directory: '/nothing'"));
        assert!(host(&f, "/usr/bin/tool/x").unwrap_err().to_string().contains("not a directory"));
        assert!(!f.tree.resolve(OsStr::new("/etc/new"), true).unwrap().exists);
    }
}
