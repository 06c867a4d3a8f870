//! Guest paths, and which tree a guest path belongs to.

use std::path::{Path, PathBuf};

use super::{ArchiveError, Tree};

/// Trees ordered by mount path: `/` first, a mount below another one after it.
#[derive(Debug)]
pub(super) struct Mounts<'a> {
    trees: Vec<(PathBuf, &'a Path)>,
}

impl<'a> Mounts<'a> {
    /// Checks and orders `trees`: exactly one `/`, no path twice, all without `.` and `..`.
    pub(super) fn new(trees: &'a [Tree]) -> Result<Self, ArchiveError> {
        let mut list = Vec::new();
        for tree in trees {
            list.push((relative(&tree.mount)?, tree.path.as_path()));
        }
        list.sort();
        if list.first().is_none_or(|(mount, _)| !mount.as_os_str().is_empty()) {
            return Err(ArchiveError::BadMounts("no root file system ('/') given".to_owned()));
        }
        if let Some(pair) = list.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(ArchiveError::BadMounts(format!(
                "mount path '/{}' is given twice",
                pair[0].0.display()
            )));
        }
        Ok(Self { trees: list })
    }

    /// Mount paths (relative to the guest's root) and trees, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &'a Path)> {
        self.trees.iter().map(|(mount, tree)| (mount.as_path(), *tree))
    }

    /// The tree that holds the guest path `path` (relative to the guest's root), and the path inside that tree.
    pub(super) fn locate<'p>(&self, path: &'p Path) -> (usize, &'p Path) {
        let longest = self.trees.iter().enumerate().rev().find_map(|(index, (mount, _))| {
            let inside = path.strip_prefix(mount).ok()?;
            Some((index, inside))
        });
        longest.unwrap_or((0, path))
    }

    /// The tree with number `index`.
    pub(super) fn tree(&self, index: usize) -> &'a Path {
        self.trees[index].1
    }
}

/// `/data` as the relative path `data`, which a configuration may also call it (rec 892); `/` as the empty path.
pub(super) fn relative(mount: &str) -> Result<PathBuf, ArchiveError> {
    let bad = || ArchiveError::BadMounts(format!("'{mount}' is no path without '.' and '..'"));
    let inner = mount.strip_prefix('/').unwrap_or(mount).trim_end_matches('/');
    if inner.split('/').any(|part| matches!(part, "." | "..") || (part.is_empty() && !inner.is_empty())) {
        return Err(bad());
    }
    Ok(PathBuf::from(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(mount: &str) -> Tree {
        Tree { mount: mount.to_owned(), path: PathBuf::from(format!("/disk{mount}")) }
    }

    #[test]
    fn a_path_belongs_to_the_deepest_mount_that_covers_it() {
        let trees = [tree("/data/sub"), tree("/"), tree("/data")];
        let mounts = Mounts::new(&trees).unwrap();
        assert_eq!(mounts.locate(Path::new("data/sub/x")), (2, Path::new("x")));
        assert_eq!(mounts.locate(Path::new("data/x")), (1, Path::new("x")));
        assert_eq!(mounts.locate(Path::new("data")), (1, Path::new("")));
        assert_eq!(mounts.locate(Path::new("database")), (0, Path::new("database")));
    }

    #[test]
    fn a_bad_set_of_mounts_is_refused() {
        assert!(Mounts::new(&[tree("/data")]).is_err());
        assert!(Mounts::new(&[tree("/"), tree("/a"), tree("/a/")]).is_err());
        for bad in ["a/../b", "/a/../b", "/a//b", "/./a"] {
            assert!(
                Mounts::new(&[tree("/"), Tree { mount: bad.to_owned(), path: PathBuf::new() }]).is_err(),
                "{bad}"
            );
        }
    }
}
