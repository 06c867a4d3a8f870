//! Extended attributes of guests' files, as far as an archive carries them: `user.*` and `security.capability`, as the `tar` of
//! a real node is told (rec2 1126). Without `user.*` an overlay of Docker in a guest would come back with wrong layers.
//!
//! On disk a container's capability names the id that its root has on this machine; in an archive it does not.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

use super::owners::Ownership;

const CAPABILITY: &[u8] = b"security.capability";
/// `VFS_CAP_REVISION_2` and `_3` of linux/capability.h: without and with the id of root.
const REVISION_2: u8 = 2;
const REVISION_3: u8 = 3;
const LENGTH_2: usize = 20;
/// No value is larger (`XATTR_SIZE_MAX`).
const LARGEST: usize = 65_536;

/// Name and value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// What an archive carries of a file's attributes, as the guest sees them, sorted by name. None where the owners of files are in
/// a table: there a guest's attributes are this machine's.
///
/// # Errors
/// They cannot be read. A file system without them is none.
pub(crate) fn read(path: &Path, ownership: Ownership) -> io::Result<Vec<Xattr>> {
    if ownership == Ownership::Table {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for name in names(path)?.split(|byte| *byte == 0).filter(|name| carried(name)) {
        if let Some(value) = get(path, name)? {
            all.push((name.to_vec(), if name == CAPABILITY { in_archive(value) } else { value }));
        }
    }
    all.sort();
    Ok(all)
}

/// Sets attributes that an archive carries. What the file system does not take is left out, as `--warning=no-xattr-write` says.
///
/// # Errors
/// Another failure than that.
pub(crate) fn write(path: &Path, all: &[Xattr], ownership: Ownership) -> io::Result<()> {
    let Ownership::Shifted(root) = ownership else { return Ok(()) };
    for (name, value) in all.iter().filter(|(name, _)| carried(name)) {
        let on_disk = if name == CAPABILITY { on_disk(value, root) } else { Some(value.clone()) };
        if let Some(value) = on_disk {
            set(path, name, &value)?;
        }
    }
    Ok(())
}

/// Gives a copy all attributes of its original, on this machine.
///
/// # Errors
/// They cannot be read or set.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for name in names(from)?.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if let Some(value) = get(from, name)? {
            set(to, name, &value)?;
        }
    }
    Ok(())
}

fn carried(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == CAPABILITY
}

fn names(path: &Path) -> io::Result<Vec<u8>> {
    Ok(fetch(&mut |buffer| llistxattr(path, buffer))?.unwrap_or_default())
}

fn get(path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    fetch(&mut |buffer| lgetxattr(path, OsStr::from_bytes(name), buffer))
}

/// Most files have none, and most values are short.
fn fetch(call: &mut dyn FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 256];
    let mut result = call(&mut buffer);
    if result == Err(Errno::RANGE) {
        buffer.resize(LARGEST, 0);
        result = call(&mut buffer);
    }
    match result {
        Ok(count) => {
            buffer.truncate(count);
            Ok(Some(buffer))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn set(path: &Path, name: &[u8], value: &[u8]) -> io::Result<()> {
    match lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty()) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Without the id of root.
fn in_archive(mut value: Vec<u8>) -> Vec<u8> {
    if value.get(3) == Some(&REVISION_3) {
        value.truncate(LENGTH_2);
        value[3] = REVISION_2;
    }
    value
}

/// With the id of root; nothing if it is no capability.
fn on_disk(value: &[u8], root: u32) -> Option<Vec<u8>> {
    if value.len() != LENGTH_2 || value.get(3) != Some(&REVISION_2) {
        return None;
    }
    let mut value = value.to_vec();
    value[3] = REVISION_3;
    value.extend_from_slice(&root.to_le_bytes());
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_names_root_on_disk_only() {
        let mut plain = vec![1, 0, 0, REVISION_2];
        plain.resize(LENGTH_2, 0);
        let stored = on_disk(&plain, 100_000).unwrap();
        assert_eq!((stored.len(), stored[3]), (24, REVISION_3));
        assert_eq!(stored[20..], 100_000_u32.to_le_bytes());
        assert_eq!(in_archive(stored), plain);
        assert_eq!(on_disk(b"nonsense", 100_000), None);
    }

    #[test]
    fn only_users_attributes_and_capabilities_are_carried() {
        assert!(carried(b"user.overlay.opaque") && carried(CAPABILITY));
        assert!(!carried(b"trusted.overlay.opaque") && !carried(b"security.selinux") && !carried(b""));
    }

    #[test]
    fn attributes_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        for file in [&one, &two] {
            std::fs::write(file, "x").unwrap();
        }
        let all = vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), b"\0\n=".to_vec())];
        write(&one, &all, Ownership::CONTAINER).unwrap();
        let kept = read(&one, Ownership::CONTAINER).unwrap();
        // A file system without attributes has none.
        assert!(kept == all || kept.is_empty(), "{kept:?}");
        copy(&one, &two).unwrap();
        assert_eq!(read(&two, Ownership::CONTAINER).unwrap(), kept);
        assert!(read(&one, Ownership::Table).unwrap().is_empty());
    }
}
