//! Owner side table: who owns which file of a volume, as the guest sees it.
//!
//! The simulator runs without root, so every file of a guest belongs to the simulator's own user on disk. The table
//! `.NAME.owners` beside it keeps uid, gid and mode where they differ from 0:0 and the mode on disk. Ids are those inside the
//! container, as in an archive. One line a path: `UID:GID:MODE path` (mode octal; path relative to the tree, `%` and bytes
//! outside printable ASCII as `%XX`).
//!
//! On disk a file is always readable and writable by its owner and never set-id: [`disk_mode`]. If the guest changes a mode
//! later, the mode on disk wins. A path that the guest itself renames or replaces keeps the entry of the old path.
//!
//! Where guests are real containers there is no table: the simulator is root, and a file belongs to the guest's id plus
//! [`Ownership::CONTAINER`] on disk, with its whole mode, as on a real node.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::VolumeError;

/// Owner and mode of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Permission bits (`07777`).
    pub mode: u32,
}

/// Where the owners of guests' files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Ownership {
    /// In the side table of each volume; the files belong to whoever runs the simulator.
    #[default]
    Table,
    /// On the files themselves: the guest's ids plus this one.
    Shifted(u32),
}

/// What a container shows for owners that it has no id for.
const OVERFLOW: u32 = 65_534;

impl Ownership {
    /// An unprivileged container's, as `/etc/subuid` of a Proxmox host gives root: 65536 ids from 100000 on.
    pub const CONTAINER: Self = Self::Shifted(100_000);

    /// The mode that a file gets on disk.
    #[must_use]
    pub fn disk_mode(self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Table => disk_mode(mode, directory),
            Self::Shifted(_) => mode & 0o7777,
        }
    }

    /// Gives a file to its owner, where that is done on disk; what links point to is not touched.
    ///
    /// # Errors
    /// Whoever runs the simulator may not, or the id is beyond those of a container.
    pub fn give(self, path: &Path, owner: Owner) -> io::Result<()> {
        let Self::Shifted(base) = self else { return Ok(()) };
        let shifted = |id: u32| {
            let id = Some(id).filter(|id| *id < 65_536).ok_or(ErrorKind::InvalidInput)?;
            Ok::<_, ErrorKind>(base + id)
        };
        lchown(path, Some(shifted(owner.uid)?), Some(shifted(owner.gid)?))?;
        if fs::symlink_metadata(path)?.is_symlink() {
            return Ok(());
        }
        // After the owner: a change of owner takes set-id bits away.
        fs::set_permissions(path, Permissions::from_mode(owner.mode & 0o7777))
    }
}

/// The owners of one volume. Paths are relative to the volume's tree; the tree itself is the empty path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    ownership: Ownership,
    /// The side table.
    entries: BTreeMap<PathBuf, Owner>,
}

impl Owners {
    /// The owners of the volume at `tree`, whose files keep them so.
    ///
    /// # Errors
    /// As [`Owners::load`].
    pub fn kept(tree: &Path, ownership: Ownership) -> Result<Self, VolumeError> {
        match ownership {
            Ownership::Table => Self::load(tree),
            Ownership::Shifted(_) => Ok(Self { ownership, entries: BTreeMap::new() }),
        }
    }

    /// Reads the table of the volume at `tree`; no file is an empty table.
    ///
    /// # Errors
    /// [`VolumeError::BadOwners`], [`VolumeError::Io`].
    pub fn load(tree: &Path) -> Result<Self, VolumeError> {
        let path = table_path(tree);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(VolumeError::io("read", &path)(error)),
        };
        let mut entries = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let bad = || VolumeError::BadOwners {
                path: path.clone(),
                line: index + 1,
                reason: "expected 'UID:GID:MODE path'".to_owned(),
            };
            let (file, owner) = parse_line(line).ok_or_else(bad)?;
            entries.insert(file, owner);
        }
        Ok(Self { ownership: Ownership::Table, entries })
    }

    /// Replaces the table of the volume at `tree` atomically; an empty table removes the file.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn save(&self, tree: &Path) -> Result<(), VolumeError> {
        let path = table_path(tree);
        if self.entries.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(VolumeError::io("remove", &path)(error))
                }
                _ => Ok(()),
            };
        }
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let mut text = String::new();
        for (file, owner) in &self.entries {
            text.push_str(&format!(
                "{}:{}:{:04o} {}\n",
                owner.uid,
                owner.gid,
                owner.mode,
                escape(file.as_os_str())
            ));
        }
        let mut file = fs::File::create(&temporary).map_err(VolumeError::io("create", &temporary))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(VolumeError::io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(VolumeError::io("replace", &path))
    }

    /// Owner and mode of `path`, which is this on disk.
    #[must_use]
    pub fn of(&self, path: &Path, metadata: &Metadata) -> Owner {
        let Ownership::Shifted(base) = self.ownership else { return self.get(path, metadata.mode()) };
        let id = |id: u32| id.checked_sub(base).filter(|id| *id < 65_536).unwrap_or(OVERFLOW);
        Owner { uid: id(metadata.uid()), gid: id(metadata.gid()), mode: metadata.mode() & 0o7777 }
    }

    /// Gives the file at `place`, which is `path` inside the volume, to its owner.
    ///
    /// # Errors
    /// As [`Ownership::give`].
    pub fn give(&mut self, (path, place): (&Path, &Path), owner: Owner, directory: bool) -> io::Result<()> {
        if self.ownership == Ownership::Table {
            self.set(path, owner, directory);
        }
        self.ownership.give(place, owner)
    }

    /// How these are kept.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// Owner and mode of `path` by the table, whose mode on disk is `on_disk`.
    #[must_use]
    pub fn get(&self, path: &Path, on_disk: u32) -> Owner {
        let on_disk = on_disk & 0o7777;
        let Some(entry) = self.entries.get(path) else { return Owner { uid: 0, gid: 0, mode: on_disk } };
        // Execute and search bits are compared too, so the kind of file does not matter here.
        let unchanged = [false, true].iter().any(|directory| disk_mode(entry.mode, *directory) == on_disk);
        Owner { mode: if unchanged { entry.mode } else { on_disk }, ..*entry }
    }

    /// Records the owner of `path` in the table; one that needs no entry is dropped from it.
    pub fn set(&mut self, path: &Path, owner: Owner, directory: bool) {
        let plain = owner.uid == 0 && owner.gid == 0 && owner.mode == disk_mode(owner.mode, directory);
        if plain {
            self.entries.remove(path);
        } else {
            self.entries.insert(path.to_path_buf(), owner);
        }
    }

    /// Gives `to` the owner of `from`, for a hard link to it.
    pub fn copy_entry(&mut self, from: &Path, to: &Path) {
        match self.entries.get(from).copied() {
            Some(owner) => self.entries.insert(to.to_path_buf(), owner),
            None => self.entries.remove(to),
        };
    }
}

/// The mode a file gets on disk: no set-id bits, and its owner can always read and write (and search a directory).
#[must_use]
pub fn disk_mode(mode: u32, directory: bool) -> u32 {
    let always = if directory { 0o700 } else { 0o600 };
    (mode & 0o1777) | always
}

/// Where the table of the volume at `tree` is: `.NAME.owners` beside it.
#[must_use]
pub fn table_path(tree: &Path) -> PathBuf {
    beside(tree, "owners")
}

/// `.NAME.KIND` beside a tree, where a listing of the folder does not show it.
pub(super) fn beside(tree: &Path, kind: &str) -> PathBuf {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    tree.with_file_name(format!(".{name}.{kind}"))
}

fn parse_line(line: &str) -> Option<(PathBuf, Owner)> {
    let (numbers, path) = line.split_once(' ')?;
    let mut numbers = numbers.splitn(3, ':');
    let uid = numbers.next()?.parse().ok()?;
    let gid = numbers.next()?.parse().ok()?;
    let mode = u32::from_str_radix(numbers.next()?, 8).ok().filter(|mode| *mode <= 0o7777)?;
    Some((PathBuf::from(unescape(path)?), Owner { uid, gid, mode }))
}

fn escape(text: &OsStr) -> String {
    let mut out = String::new();
    for byte in text.as_bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(*byte)),
        }
    }
    out
}

fn unescape(text: &str) -> Option<OsString> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_as_it_was_saved_also_with_odd_names() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("vm-1-disk-0.raw");
        let mut table = Owners::default();
        let odd = PathBuf::from(OsString::from_vec(b"a b/100%\n\xff".to_vec()));
        table.set(&odd, Owner { uid: 1000, gid: 33, mode: 0o640 }, false);
        table.set(Path::new("bin/su"), Owner { uid: 0, gid: 0, mode: 0o4755 }, false);
        table.save(&tree).unwrap();
        let read = Owners::load(&tree).unwrap();
        assert_eq!(read, table);
        assert_eq!(read.get(&odd, 0o640), Owner { uid: 1000, gid: 33, mode: 0o640 });
        assert_eq!(read.get(Path::new("bin/su"), 0o755).mode, 0o4755);
    }

    #[test]
    fn a_plain_owner_needs_no_entry_and_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("v");
        let mut table = Owners::default();
        table.set(Path::new("x"), Owner { uid: 5, gid: 5, mode: 0o644 }, false);
        table.save(&tree).unwrap();
        assert!(table_path(&tree).exists());
        table.set(Path::new("x"), Owner { uid: 0, gid: 0, mode: 0o644 }, false);
        table.save(&tree).unwrap();
        assert!(!table_path(&tree).exists());
    }

    #[test]
    fn a_mode_that_the_guest_changed_later_wins_over_the_table() {
        let mut table = Owners::default();
        table.set(Path::new("shadow"), Owner { uid: 0, gid: 42, mode: 0o000 }, false);
        assert_eq!(table.get(Path::new("shadow"), 0o600).mode, 0o000);
        assert_eq!(table.get(Path::new("shadow"), 0o644), Owner { uid: 0, gid: 42, mode: 0o644 });
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("v");
        fs::write(table_path(&tree), "1:1:0644 a\nnonsense\n").unwrap();
        let error = Owners::load(&tree).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
