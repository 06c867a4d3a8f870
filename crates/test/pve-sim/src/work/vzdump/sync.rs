//! The second copy of suspend mode: only what changed since the first one, so that the guest is frozen for a moment (as `rsync`
//! does it for Proxmox VE).

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::volume::VolumeError;
use crate::volume::copy::{copy_leaf, finish, remove_tree};
use crate::volume::owners::table_path;

/// What is left out, by its path inside the tree.
pub(super) type LeftOut<'a> = &'a dyn Fn(&Path) -> bool;

/// Makes `to`, an earlier copy that was begun at `since`, equal to `from`. Answers the bytes copied.
///
/// # Errors
/// [`VolumeError`]; also for a file that vanishes meanwhile, for the guest is frozen.
pub(super) fn bring_up_to_date(
    from: &Path,
    to: &Path,
    since: SystemTime,
    left_out: LeftOut<'_>,
) -> Result<u64, VolumeError> {
    let since = since
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    let walk = Walk { root: from, since, left_out };
    let bytes = walk.directory(from, to)?;
    let (table, target) = (table_path(from), table_path(to));
    match fs::copy(&table, &target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let _ = fs::remove_file(&target);
        }
        other => drop(other.map_err(VolumeError::io("copy", &table))?),
    }
    Ok(bytes)
}

struct Walk<'a> {
    root: &'a Path,
    since: i64,
    left_out: LeftOut<'a>,
}

impl Walk<'_> {
    fn directory(&self, from: &Path, to: &Path) -> Result<u64, VolumeError> {
        let mut bytes = 0;
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir(from).map_err(VolumeError::io("list", from))? {
            let name = entry.map_err(VolumeError::io("list", from))?.file_name();
            let source = from.join(&name);
            if (self.left_out)(source.strip_prefix(self.root).unwrap_or(&source)) {
                continue;
            }
            bytes += self.one(&source, &to.join(&name))?;
            seen.insert(name);
        }
        for entry in fs::read_dir(to).map_err(VolumeError::io("list", to))? {
            let entry = entry.map_err(VolumeError::io("list", to))?;
            if !seen.contains(&entry.file_name()) {
                remove(&entry.path())?;
            }
        }
        let metadata = fs::symlink_metadata(from).map_err(VolumeError::io("read", from))?;
        finish(from, to, &metadata)?;
        Ok(bytes)
    }

    fn one(&self, from: &Path, to: &Path) -> Result<u64, VolumeError> {
        let new = fs::symlink_metadata(from).map_err(VolumeError::io("read", from))?;
        let old = fs::symlink_metadata(to).ok();
        if new.is_dir() {
            if !old.as_ref().is_some_and(Metadata::is_dir) {
                remove(to)?;
                fs::create_dir(to).map_err(VolumeError::io("create", to))?;
            }
            return self.directory(from, to);
        }
        if old.is_some_and(|old| same(&new, &old, self.since)) {
            return Ok(0);
        }
        remove(to)?;
        copy_leaf(from, to, &new)
    }
}

/// A file that was touched after the first copy began is copied again, whatever its times say.
fn same(new: &Metadata, old: &Metadata, since: i64) -> bool {
    new.file_type() == old.file_type()
        && new.ctime() < since
        && (new.is_symlink()
            || (new.len(), new.mode(), owner(new), new.mtime(), new.mtime_nsec())
                == (old.len(), old.mode(), owner(old), old.mtime(), old.mtime_nsec()))
}

fn owner(metadata: &Metadata) -> (u32, u32) {
    (metadata.uid(), metadata.gid())
}

fn remove(path: &Path) -> Result<(), VolumeError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path).map_err(VolumeError::io("remove", path)),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::volume::copy::set_times;
    use crate::volume::copy_tree;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn only_what_changed_is_copied_and_the_result_is_equal() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir_all(from.join("gone")).unwrap();
        for (name, text) in
            [("a", "old"), ("b", "same"), ("sub/c", "old"), ("d", "becomes a directory"), ("e", "vanishes")]
        {
            fs::write(from.join(name), text).unwrap();
        }
        symlink("a", from.join("link")).unwrap();
        copy_tree(&from, &to).unwrap();
        // "b" was last touched before the first copy began; everything else changes afterwards.
        let since = SystemTime::now() + std::time::Duration::from_secs(3600);
        for (name, text) in [("a", "newer"), ("sub/c", "newer")] {
            fs::write(from.join(name), text).unwrap();
        }
        fs::remove_file(from.join("d")).unwrap();
        fs::create_dir(from.join("d")).unwrap();
        fs::write(from.join("d/inside"), "x").unwrap();
        fs::remove_file(from.join("e")).unwrap();
        fs::remove_dir(from.join("gone")).unwrap();
        let bytes = bring_up_to_date(&from, &to, since, &|_| false).unwrap();
        assert_eq!(bytes, "newer".len() as u64 * 2 + 1);
        assert_eq!(
            (read(&to.join("a")), read(&to.join("sub/c")), read(&to.join("b"))),
            ("newer".into(), "newer".into(), "same".into())
        );
        assert_eq!(
            (read(&to.join("d/inside")), to.join("e").exists(), to.join("gone").exists()),
            ("x".into(), false, false)
        );
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("a"));
    }

    /// Written in the same instant, with the same length and the old times put back: still noticed.
    #[test]
    fn a_file_touched_since_the_first_copy_is_copied_whatever_its_times_say() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("a"), "one").unwrap();
        let since = SystemTime::now();
        copy_tree(&from, &to).unwrap();
        let metadata = fs::metadata(from.join("a")).unwrap();
        fs::write(from.join("a"), "two").unwrap();
        set_times(&from.join("a"), metadata.mtime(), metadata.mtime_nsec()).unwrap();
        bring_up_to_date(&from, &to, since, &|_| false).unwrap();
        assert_eq!(read(&to.join("a")), "two");
    }
}
