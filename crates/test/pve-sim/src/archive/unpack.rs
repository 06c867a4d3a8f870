//! Putting the entries of an archive into trees.
//!
//! An entry is never written through a symbolic link: each directory on the way is looked at once and must be a directory.
//! Modes and times of directories are set at the end, because writing into them changes their times.
//!
//! What does not fit into a volume is complained about in tar's words, and unpacking goes on, as tar does (rec2 816).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tar::{Entry, EntryType};

use super::emit::XATTR;
use super::mounts::Mounts;
use super::read::{CONFIG, FIREWALL};
use super::room::Room;
use super::{ArchiveError, Tree};
use crate::volume::copy::{make_fifo, make_whiteout, set_times};
use crate::volume::limit::{Below, is_full, mark_destroyed};
use crate::volume::owners::{Owner, Owners, Ownership};
use crate::volume::xattr::{self, Xattr};

/// Owner, mode, time and attributes of an entry.
#[derive(Debug, Clone)]
struct Meta {
    owner: Owner,
    mtime: i64,
    xattrs: Vec<Xattr>,
}

/// Where an entry goes: number of the tree, path inside it, path on this machine.
struct Place {
    tree: usize,
    inside: PathBuf,
    path: PathBuf,
}

/// tar writes and complains in records of so many bytes.
const RECORD: u64 = 10240;

/// What tar cannot do with an entry of this kind.
fn cannot(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Directory => "Cannot mkdir",
        EntryType::Symlink => "Cannot create symlink",
        EntryType::Link => "Cannot hard link",
        _ => "Cannot open",
    }
}

/// A file that an overlay hides: the one device that a container may make.
fn is_whiteout<R: Read>(entry: &Entry<'_, R>) -> bool {
    let header = entry.header();
    [header.device_major(), header.device_minor()].into_iter().all(|n| n.is_ok_and(|n| n.unwrap_or(0) == 0))
}

/// Extended attributes, as GNU tar and others write them.
fn xattrs<R: Read>(entry: &mut Entry<'_, R>) -> Vec<Xattr> {
    let Ok(Some(extensions)) = entry.pax_extensions() else { return Vec::new() };
    let all = extensions.flatten().filter_map(|extension| {
        let name = extension.key_bytes().strip_prefix(XATTR.as_bytes())?;
        Some((name.to_vec(), extension.value_bytes().to_vec()))
    });
    all.collect()
}

/// Unpacks one archive.
pub(super) struct Unpacker<'a> {
    archive: &'a Path,
    mounts: Mounts<'a>,
    owners: Vec<Owners>,
    ownership: Ownership,
    /// What still fits into each tree.
    rooms: Vec<Room>,
    /// The file systems that the trees are on.
    below: Below,
    complaints: Vec<String>,
    /// Directories that were seen to be directories.
    known: HashSet<PathBuf>,
    /// Directories with the mode and time they get in the end.
    directories: Vec<(PathBuf, u32, i64)>,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    /// `sizes` are those of `trees`, in their order.
    pub(super) fn new(
        archive: &'a Path,
        mounts: Mounts<'a>,
        (trees, sizes, ownership): (&[Tree], &[Option<u64>], Ownership),
    ) -> Result<Self, ArchiveError> {
        let (mut owners, mut rooms) = (Vec::new(), Vec::new());
        let mut known = HashSet::new();
        for (_, tree) in mounts.iter() {
            owners.push(Owners::kept(tree, ownership)?);
            known.insert(tree.to_path_buf());
            let at = trees.iter().position(|t| t.path == tree);
            rooms.push(Room::of(tree, at.and_then(|at| sizes.get(at).copied().flatten())));
        }
        let (complaints, directories, below) = (Vec::new(), Vec::new(), Below::default());
        let buffer = vec![0; 1 << 20];
        Ok(Self { archive, mounts, owners, ownership, rooms, below, complaints, known, directories, buffer })
    }

    /// Says what file system each tree is on, and how much room there is.
    pub(super) fn set_below(&mut self, below: &[(PathBuf, String, u64)]) {
        let of = |tree: &Path| {
            below.iter().find(|(path, ..)| path == tree).map(|(_, name, room)| (name.clone(), *room))
        };
        self.below = Below::new(&self.mounts.iter().map(|(_, tree)| of(tree)).collect::<Vec<_>>());
    }

    /// Puts one entry where it belongs.
    pub(super) fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), ArchiveError> {
        let name = entry.path_bytes().into_owned();
        if name == CONFIG || name == FIREWALL {
            return Ok(());
        }
        let guest = self.guest_path(&name)?;
        if guest.starts_with("dev") && guest.components().count() > 1 {
            return Ok(());
        }
        self.refuse_sparse_extension(entry, &name)?;
        let meta = self.meta(entry)?;
        let kind = entry.header().entry_type();
        let Some(place) = self.place(&guest, &name)? else {
            self.complain(&name, &format!("{}: No such file or directory", cannot(kind)));
            return Ok(());
        };
        match kind {
            EntryType::Directory => self.directory(place, meta, &name),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&place, meta, (entry, &name))
            }
            EntryType::Symlink => {
                let target = self.link_target(entry, &name)?;
                self.create((&place, meta, &name), |path| {
                    std::os::unix::fs::symlink(OsStr::from_bytes(&target), path)
                })
            }
            EntryType::Fifo => {
                let mode = self.ownership.disk_mode(meta.owner.mode, false);
                self.create((&place, meta, &name), |path| make_fifo(path, mode))
            }
            EntryType::Link => {
                let target = self.link_target(entry, &name)?;
                self.hard_link(&place, &target, &name)
            }
            EntryType::Char if self.ownership != Ownership::Table && is_whiteout(entry) => {
                self.create((&place, meta, &name), make_whiteout)
            }
            EntryType::Char | EntryType::Block => {
                Err(self.refused(&name, "an unprivileged container cannot have device nodes"))
            }
            _ => Err(self.refused(&name, "unknown kind of entry")),
        }
    }

    /// Sets modes and times of directories and saves the owners. Answers what tar complains about.
    pub(super) fn finish(self) -> Result<Vec<String>, ArchiveError> {
        for (path, mode, mtime) in self.directories.iter().rev() {
            let io = || ArchiveError::io("set mode and time of", path);
            fs::set_permissions(path, Permissions::from_mode(*mode)).map_err(io())?;
            set_times(path, *mtime, 0).map_err(io())?;
        }
        for (owners, (_, tree)) in self.owners.iter().zip(self.mounts.iter()) {
            owners.save(tree)?;
        }
        for (index, (_, tree)) in self.mounts.iter().enumerate() {
            if self.below.lost(index) {
                mark_destroyed(tree).map_err(ArchiveError::io("mark", tree))?;
            }
        }
        Ok(self.complaints)
    }

    fn complain(&mut self, name: &[u8], what: &str) {
        let shown = String::from_utf8_lossy(name);
        self.complaints.push(format!("tar: {}: {what}", shown.trim_end_matches('/')));
    }

    fn directory(&mut self, place: Place, meta: Meta, name: &[u8]) -> Result<(), ArchiveError> {
        let new = !self.known.contains(&place.path) && !place.path.is_dir();
        if new && !self.rooms[place.tree].take_directory() {
            self.complain(name, "Cannot mkdir: No space left on device");
            return Ok(());
        }
        match fs::create_dir(&place.path) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                self.complain(name, "Cannot mkdir: No space left on device");
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !self.known.contains(&place.path) {
                    let found =
                        fs::symlink_metadata(&place.path).map_err(ArchiveError::io("read", &place.path))?;
                    if !found.is_dir() {
                        return Err(self.refused(name, "something that is no directory stands there"));
                    }
                }
            }
            Err(error) => return Err(ArchiveError::io("create", &place.path)(error)),
        }
        self.below.take(place.tree, 1);
        self.give(&place, &meta, true)?;
        let mode = self.ownership.disk_mode(meta.owner.mode, true);
        self.directories.push((place.path.clone(), mode, meta.mtime));
        self.known.insert(place.path);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        place: &Place,
        meta: Meta,
        (entry, name): (&mut Entry<'_, R>, &[u8]),
    ) -> Result<(), ArchiveError> {
        let mode = self.ownership.disk_mode(meta.owner.mode, false);
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(&place.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if is_full(&error) => {
                self.complain(name, "Cannot open: No space left on device");
                return Ok(());
            }
            Err(error) => return Err(ArchiveError::io("create", &place.path)(error)),
        };
        let size = entry.size();
        let fits = self.rooms[place.tree].take(size);
        let kept = self.below.take(place.tree, fits);
        let count = self.copy(&mut entry.take(fits), (&mut file, kept), place)?;
        if fits < size {
            match count % RECORD {
                0 => self.complain(name, "Cannot write: No space left on device"),
                rest => self.complain(name, &format!("Wrote only {rest} of {RECORD} bytes")),
            }
        } else if count != size {
            let reason = format!("'{}' has {count} of {size} bytes", place.inside.display());
            return Err(ArchiveError::Damaged { path: self.archive.to_path_buf(), reason });
        }
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(ArchiveError::io("set mode of", &place.path))?;
        self.give(place, &meta, false)?;
        set_times(&place.path, meta.mtime, 0).map_err(ArchiveError::io("set time of", &place.path))
    }

    /// Copies what there is; only the first `kept` bytes are written.
    fn copy(
        &mut self,
        from: &mut dyn Read,
        (to, mut kept): (&mut File, u64),
        place: &Place,
    ) -> Result<u64, ArchiveError> {
        let mut total = 0;
        loop {
            let count = match from.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(ArchiveError::Damaged {
                        path: self.archive.to_path_buf(),
                        reason: error.to_string(),
                    });
                }
                Ok(0) => return Ok(total),
                Ok(count) => count,
            };
            let left = usize::try_from(kept.saturating_sub(total)).unwrap_or(usize::MAX).min(count);
            match to.write_all(&self.buffer[..left]) {
                Err(error) if is_full(&error) => {
                    // This machine's own file system is full: the same as a limited one.
                    self.below.lose(place.tree);
                    kept = 0;
                }
                other => other.map_err(ArchiveError::io("write", &place.path))?,
            }
            total += count as u64;
        }
    }

    fn create(
        &mut self,
        (place, meta, name): (&Place, Meta, &[u8]),
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), ArchiveError> {
        match make(&place.path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if is_full(&error) => {
                self.complain(name, "Cannot create: No space left on device");
                return Ok(());
            }
            Err(error) => return Err(ArchiveError::io("create", &place.path)(error)),
        }
        self.give(place, &meta, false)?;
        set_times(&place.path, meta.mtime, 0).map_err(ArchiveError::io("set time of", &place.path))
    }

    /// Owner, mode and attributes.
    fn give(&mut self, place: &Place, meta: &Meta, directory: bool) -> Result<(), ArchiveError> {
        self.owners[place.tree]
            .give((&place.inside, &place.path), meta.owner, directory)
            .and_then(|()| xattr::write(&place.path, &meta.xattrs, self.ownership))
            .map_err(ArchiveError::io("set owner of", &place.path))
    }

    fn hard_link(&mut self, place: &Place, target: &[u8], name: &[u8]) -> Result<(), ArchiveError> {
        let first = self.guest_path(target)?;
        let Some(first) = self.place(&first, target)? else {
            self.complain(name, "Cannot hard link: No such file or directory");
            return Ok(());
        };
        if first.tree != place.tree {
            return Err(self.refused(name, "a hard link cannot cross volumes"));
        }
        match fs::hard_link(&first.path, &place.path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            // Its first name did not fit.
            Err(error) if error.kind() == ErrorKind::NotFound && !self.complaints.is_empty() => {
                self.complain(name, "Cannot hard link: No such file or directory");
                return Ok(());
            }
            Err(error) => return Err(ArchiveError::io("link", &place.path)(error)),
        }
        self.owners[place.tree].copy_entry(&first.inside, &place.inside);
        Ok(())
    }

    fn meta<R: Read>(&self, entry: &mut Entry<'_, R>) -> Result<Meta, ArchiveError> {
        let xattrs = xattrs(entry);
        let header = entry.header();
        let damaged =
            |e: io::Error| ArchiveError::Damaged { path: self.archive.to_path_buf(), reason: e.to_string() };
        let id =
            |value: u64| u32::try_from(value).map_err(|_| damaged(io::Error::other("owner id too large")));
        let owner = Owner {
            uid: id(header.uid().map_err(damaged)?)?,
            gid: id(header.gid().map_err(damaged)?)?,
            mode: if header.entry_type() == EntryType::Symlink {
                0o777
            } else {
                header.mode().map_err(damaged)? & 0o7777
            },
        };
        let mtime = i64::try_from(header.mtime().map_err(damaged)?).unwrap_or(0);
        Ok(Meta { owner, mtime, xattrs })
    }

    fn link_target<R: Read>(&self, entry: &Entry<'_, R>, name: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        entry
            .link_name_bytes()
            .map(|t| t.into_owned())
            .ok_or_else(|| self.refused(name, "a link without a target"))
    }

    /// `./data/x` as the relative path `data/x`; refuses what would lead out of the guest.
    fn guest_path(&self, name: &[u8]) -> Result<PathBuf, ArchiveError> {
        if name.first() == Some(&b'/') {
            return Err(self.refused(name, "an absolute path"));
        }
        let mut path = PathBuf::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(self.refused(name, "a path with '..'")),
                part => path.push(OsStr::from_bytes(part)),
            }
        }
        Ok(path)
    }

    /// Finds the tree for a guest path and makes sure that no symbolic link is on the way to it. `None` if a directory on the
    /// way did not fit.
    fn place(&mut self, guest: &Path, name: &[u8]) -> Result<Option<Place>, ArchiveError> {
        let (tree, inside) = self.mounts.locate(guest);
        let root = self.mounts.tree(tree);
        let mut path = root.to_path_buf();
        if let Some(parent) = inside.parent()
            && !self.known.contains(&root.join(parent))
        {
            for part in parent.components() {
                path.push(part);
                if !self.require_directory((tree, &path), name)? {
                    let missing = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
                    let missing = format!("./{}", missing.display());
                    self.complain(missing.as_bytes(), "Cannot mkdir: No space left on device");
                    return Ok(None);
                }
            }
        }
        let path = if inside.as_os_str().is_empty() { root.to_path_buf() } else { root.join(inside) };
        Ok(Some(Place { tree, inside: inside.to_path_buf(), path }))
    }

    /// False if there is no room for it.
    fn require_directory(&mut self, (tree, path): (usize, &Path), name: &[u8]) -> Result<bool, ArchiveError> {
        if self.known.contains(path) {
            return Ok(true);
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(found) if found.is_symlink() => {
                return Err(self.refused(name, "it leads through a symbolic link"));
            }
            Ok(_) => return Err(self.refused(name, "it leads through something that is no directory")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if !self.rooms[tree].take_directory() {
                    return Ok(false);
                }
                match fs::create_dir(path) {
                    Err(error) if is_full(&error) => return Ok(false),
                    other => other.map_err(ArchiveError::io("create", path))?,
                }
            }
            Err(error) => return Err(ArchiveError::io("read", path)(error)),
        }
        self.known.insert(path.to_path_buf());
        Ok(true)
    }

    /// GNU tar's newest sparse format (in pax headers) would be unpacked as garbage.
    fn refuse_sparse_extension<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        name: &[u8],
    ) -> Result<(), ArchiveError> {
        let Ok(Some(extensions)) = entry.pax_extensions() else { return Ok(()) };
        let sparse = extensions.flatten().any(|extension| extension.key_bytes().starts_with(b"GNU.sparse."));
        if sparse {
            Err(self.refused(name, "sparse file in pax format, which is not supported"))
        } else {
            Ok(())
        }
    }

    fn refused(&self, name: &[u8], reason: &'static str) -> ArchiveError {
        let entry = String::from_utf8_lossy(name).into_owned();
        ArchiveError::Refused { path: self.archive.to_path_buf(), entry, reason }
    }
}
