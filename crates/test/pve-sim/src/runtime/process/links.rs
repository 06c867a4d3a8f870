//! Mount points of a running guest: symbolic links in the rootfs to the volumes' trees.
//!
//! A directory that stands at the mount path is taken away while the link is there: an empty one is made again afterwards,
//! one with contents waits in `<rootfs>.hidden/`, as a real mount would hide it.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::tree::GuestTree;
use super::{Mount, RuntimeError};
use crate::volume::{hidden_name, hidden_path};

/// Links all mount points into the rootfs, outer ones first.
pub(super) fn attach(rootfs: &Path, mounts: &[Mount]) -> Result<(), RuntimeError> {
    let mut sorted: Vec<&Mount> = mounts.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut done: Vec<Mount> = Vec::new();
    for mount in sorted {
        attach_one(rootfs, &done, mount)?;
        done.push(mount.clone());
    }
    Ok(())
}

/// Takes all links out again, inner ones first. What is no link any more is left alone.
pub(super) fn detach(rootfs: &Path, mounts: &[Mount]) -> Result<(), RuntimeError> {
    let mut sorted: Vec<Mount> = mounts.to_vec();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    while let Some(mount) = sorted.pop() {
        let Ok(place) = GuestTree::new(rootfs, &sorted).resolve(OsStr::new(&mount.path), false) else {
            continue;
        };
        if !fs::symlink_metadata(&place.host).is_ok_and(|found| found.is_symlink()) {
            continue;
        }
        fs::remove_file(&place.host).map_err(RuntimeError::io("unlink mount point", &place.host))?;
        let hidden = hidden_place(rootfs, &mount);
        match fs::rename(&hidden, &place.host) {
            Ok(()) => drop(fs::remove_dir(hidden_path(rootfs))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir(&place.host).map_err(RuntimeError::io("create", &place.host))?;
            }
            Err(error) => return Err(RuntimeError::io("show again", &hidden)(error)),
        }
    }
    Ok(())
}

/// Links one mount point in, with `done` already there.
pub(super) fn attach_one(rootfs: &Path, done: &[Mount], mount: &Mount) -> Result<(), RuntimeError> {
    let bad = |reason: &str| RuntimeError::BadPath { path: mount.path.clone(), reason: reason.to_owned() };
    if !mount.path.starts_with('/') || mount.path.trim_matches('/').is_empty() {
        return Err(bad("a mount path is absolute and not '/'"));
    }
    if !mount.source.is_dir() {
        let error = std::io::Error::from(ErrorKind::NotFound);
        return Err(RuntimeError::io("mount", &mount.source)(error));
    }
    let place = make_parents(rootfs, done, &mount.path)?;
    match fs::symlink_metadata(&place) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(RuntimeError::io("read", &place)(error)),
        Ok(found) if found.is_symlink() => {
            fs::remove_file(&place).map_err(RuntimeError::io("remove", &place))?;
        }
        Ok(found) if found.is_dir() => take_away(rootfs, mount, &place)?,
        Ok(_) => return Err(bad("something that is no directory stands at the mount path")),
    }
    symlink(&mount.source, &place).map_err(RuntimeError::io("link mount point", &place))
}

fn take_away(rootfs: &Path, mount: &Mount, place: &Path) -> Result<(), RuntimeError> {
    match fs::remove_dir(place) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
        Err(error) => return Err(RuntimeError::io("mount over", place)(error)),
    }
    let hidden = hidden_place(rootfs, mount);
    let folder = hidden_path(rootfs);
    fs::create_dir_all(&folder).map_err(RuntimeError::io("create", &folder))?;
    fs::rename(place, &hidden).map_err(RuntimeError::io("hide", place))
}

/// Makes the directories above a mount path, as Proxmox does, and returns where the mount point itself is.
fn make_parents(rootfs: &Path, done: &[Mount], path: &str) -> Result<PathBuf, RuntimeError> {
    let tree = GuestTree::new(rootfs, done);
    let mut parts = path.trim_matches('/').split('/').peekable();
    let mut guest = String::new();
    loop {
        let part = parts.next().unwrap_or_default();
        if matches!(part, "" | "." | "..") {
            return Err(RuntimeError::BadPath {
                path: path.to_owned(),
                reason: "'.', '..' or '//' in it".to_owned(),
            });
        }
        guest.push('/');
        guest.push_str(part);
        let last = parts.peek().is_none();
        let place = tree.resolve(OsStr::new(&guest), !last)?;
        if last {
            return Ok(place.host);
        }
        if !place.exists {
            fs::create_dir(&place.host).map_err(RuntimeError::io("create", &place.host))?;
        }
    }
}

fn hidden_place(rootfs: &Path, mount: &Mount) -> PathBuf {
    hidden_path(rootfs).join(hidden_name(&mount.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str, source: &Path) -> Mount {
        Mount { path: path.to_owned(), source: source.to_path_buf(), volume: true }
    }

    #[test]
    fn mounts_are_linked_in_and_taken_out_again_also_one_below_another() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outer, inner) = (dir.path().join("r"), dir.path().join("o"), dir.path().join("i"));
        for made in [&root, &outer, &inner] {
            fs::create_dir(made).unwrap();
        }
        fs::write(inner.join("file"), "inner").unwrap();
        let mounts = [mount("/srv/data/deep", &inner), mount("/srv/data", &outer)];
        attach(&root, &mounts).unwrap();
        assert_eq!(fs::read_to_string(root.join("srv/data/deep/file")).unwrap(), "inner");
        attach(&root, &mounts).unwrap();
        detach(&root, &mounts).unwrap();
        assert!(root.join("srv/data").is_dir() && !root.join("srv/data").is_symlink());
        assert!(outer.join("deep").is_dir() && !outer.join("deep").is_symlink());
        assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), "inner");
    }

    #[test]
    fn what_stands_below_a_mount_is_hidden_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (root, data) = (dir.path().join("r"), dir.path().join("d"));
        fs::create_dir_all(root.join("data")).unwrap();
        fs::create_dir(&data).unwrap();
        fs::write(root.join("data/below"), "x").unwrap();
        let mounts = [mount("/data", &data)];
        attach(&root, &mounts).unwrap();
        assert!(!root.join("data/below").exists());
        detach(&root, &mounts).unwrap();
        assert_eq!(fs::read_to_string(root.join("data/below")).unwrap(), "x");
    }

    #[test]
    fn a_missing_source_and_a_file_in_the_way_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("r");
        fs::create_dir(&root).unwrap();
        assert!(attach(&root, &[mount("/data", &dir.path().join("no"))]).is_err());
        fs::write(root.join("data"), "file").unwrap();
        assert!(attach(&root, &[mount("/data", dir.path())]).is_err());
        assert!(attach(&root, &[mount("/a/../b", dir.path())]).is_err());
        assert!(attach(&root, &[mount("/", dir.path())]).is_err());
    }
}
