//! Writing an archive: configuration, then each tree in the order of its mount path.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::emit::{Emitter, Item, Meta};
use super::exclude::Excludes;
use super::mounts::{Mounts, relative};
use super::{ArchiveError, Tree};
use crate::volume::owners::{Owner, Owners, Ownership};
use crate::volume::xattr;

/// How the archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `.tar`.
    None,
    /// `.tar.zst`, level 3 with checksum; `threads` = 0 means one a core.
    Zstd {
        /// Compression threads.
        threads: u32,
    },
}

/// What is to be archived.
#[derive(Debug)]
pub struct WriteRequest<'a> {
    /// Text of `./etc/vzdump/pct.conf`.
    pub config: &'a str,
    /// Bytes of `./etc/vzdump/pct.fw`; Proxmox writes an empty one if the guest has no firewall file.
    pub firewall: Option<&'a [u8]>,
    /// What is backed up: `/` and the mount points with `backup=1`.
    pub trees: &'a [Tree],
    /// Mount paths of mount points that are not backed up: an empty directory each, whatever stands there.
    pub not_backed_up: &'a [String],
    /// `exclude-path` patterns.
    pub exclude_path: &'a [String],
    /// `stdexcludes` (Proxmox's default is true).
    pub stdexcludes: bool,
    /// Modification time of the configuration in seconds since 1970.
    pub time: i64,
    /// Compression.
    pub compression: Compression,
    /// How the trees keep the owners of their files.
    pub ownership: Ownership,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the tar stream (`Total bytes written`), before compression.
    pub tar_bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Lines in tar's words, such as a file that changed while it was read.
    pub warnings: Vec<String>,
}

/// Writes an archive to `out`. `progress` gets the bytes of the tar stream so far, after each entry and each MiB.
///
/// # Errors
/// [`ArchiveError`]; what was written until then is for the caller to remove.
pub fn write<W: Write>(
    request: &WriteRequest<'_>,
    out: W,
    progress: &mut dyn FnMut(u64),
) -> Result<Written, ArchiveError> {
    let target = Path::new("archive");
    match request.compression {
        Compression::None => {
            let out = BufWriter::with_capacity(1 << 20, out);
            let (written, mut out) = write_tar(request, out, progress)?;
            out.flush().map_err(ArchiveError::io("write", target))?;
            Ok(written)
        }
        Compression::Zstd { threads } => {
            let encoder = zstd_encoder(out, threads).map_err(ArchiveError::io("start zstd for", target))?;
            let (written, encoder) = write_tar(request, encoder, progress)?;
            let mut out = encoder.finish().map_err(ArchiveError::io("write", target))?;
            out.flush().map_err(ArchiveError::io("write", target))?;
            Ok(written)
        }
    }
}

/// An encoder as `zstd --threads=N` sets it up; `threads` = 0 means one a core.
pub(crate) fn zstd_encoder<W: Write>(out: W, threads: u32) -> io::Result<zstd::Encoder<'static, W>> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        n => n,
    };
    let mut encoder = zstd::Encoder::new(out, 3)?;
    encoder.include_checksum(true)?;
    encoder.multithread(threads)?;
    Ok(encoder)
}

fn write_tar<W: Write>(
    request: &WriteRequest<'_>,
    out: W,
    progress: &mut dyn FnMut(u64),
) -> Result<(Written, W), ArchiveError> {
    let mounts = Mounts::new(request.trees)?;
    let mut stops = HashSet::new();
    for path in request.not_backed_up {
        stops.insert(relative(path)?);
    }
    stops.extend(mounts.iter().map(|(mount, _)| mount.to_path_buf()));
    let mut walk = Walk {
        emitter: Emitter::new(out, progress),
        excludes: Excludes::new(request.exclude_path, request.stdexcludes),
        stops,
        links: HashMap::new(),
        written: Written::default(),
    };
    walk.text("etc/vzdump/pct.conf", request.config.as_bytes(), request.time)?;
    if let Some(firewall) = request.firewall {
        walk.text("etc/vzdump/pct.fw", firewall, request.time)?;
    }
    for (mount, path) in mounts.iter() {
        let tree = Volume { path, owners: Owners::kept(path, request.ownership)? };
        walk.root(mount, &tree)?;
    }
    let (tar_bytes, out) = walk.emitter.finish().map_err(ArchiveError::io("write", Path::new("archive")))?;
    walk.written.tar_bytes = tar_bytes;
    Ok((walk.written, out))
}

/// The tree that is being read.
struct Volume<'a> {
    path: &'a Path,
    owners: Owners,
}

impl Volume<'_> {
    fn meta(&self, inside: &Path, metadata: &Metadata) -> Meta {
        let mut owner = self.owners.of(inside, metadata);
        if metadata.is_symlink() {
            owner.mode = 0o777;
        }
        // What vanishes meanwhile has none.
        let xattrs = xattr::read(&self.path.join(inside), self.owners.ownership()).unwrap_or_default();
        Meta { owner, mtime: metadata.mtime(), xattrs }
    }
}

struct Walk<'p, W> {
    emitter: Emitter<'p, W>,
    excludes: Excludes,
    /// Guest paths where another file system is mounted: the directory is in the archive, nothing below it.
    stops: HashSet<PathBuf>,
    /// Name in the archive of each file with several names, by (device, inode).
    links: HashMap<(u64, u64), PathBuf>,
    written: Written,
}

impl<W: Write> Walk<'_, W> {
    fn text(&mut self, name: &str, bytes: &[u8], mtime: i64) -> Result<(), ArchiveError> {
        let meta = Meta { owner: Owner { uid: 0, gid: 0, mode: 0o644 }, mtime, xattrs: Vec::new() };
        let name = Path::new(name);
        self.emitter
            .file(name, meta, bytes.len() as u64, &mut &bytes[..])
            .map_err(ArchiveError::io("archive", name))?;
        self.written.entries += 1;
        Ok(())
    }

    /// A volume's own root directory and all below it.
    fn root(&mut self, mount: &Path, tree: &Volume<'_>) -> Result<(), ArchiveError> {
        let metadata = fs::metadata(tree.path).map_err(ArchiveError::io("read", tree.path))?;
        self.bare(EntryType::Directory, mount, None, tree.meta(Path::new(""), &metadata))?;
        self.children(mount, tree, Path::new(""))
    }

    fn children(&mut self, mount: &Path, tree: &Volume<'_>, inside: &Path) -> Result<(), ArchiveError> {
        let dir = tree.path.join(inside);
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(ArchiveError::io("list", &dir))? {
            names.push(entry.map_err(ArchiveError::io("list", &dir))?.file_name());
        }
        names.sort();
        for name in names {
            let inside = inside.join(name);
            let guest = mount.join(&inside);
            if !self.excludes.matches(&format!("/{}", guest.to_string_lossy())) {
                self.entry(mount, tree, &inside, &guest)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        mount: &Path,
        tree: &Volume<'_>,
        inside: &Path,
        guest: &Path,
    ) -> Result<(), ArchiveError> {
        let path = tree.path.join(inside);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return self.vanished(guest),
            Err(error) => return Err(ArchiveError::io("read", &path)(error)),
        };
        let mut meta = tree.meta(inside, &metadata);
        if self.stops.contains(guest) {
            if !metadata.is_dir() {
                meta.owner = Owner { uid: 0, gid: 0, mode: 0o755 };
            }
            return self.bare(EntryType::Directory, guest, None, meta);
        }
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.bare(EntryType::Directory, guest, None, meta)?;
            return self.children(mount, tree, inside);
        }
        if kind.is_socket() {
            return Ok(());
        }
        if metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&key).cloned() {
                return self.bare(EntryType::Link, guest, Some(&first), meta);
            }
            self.links.insert(key, guest.to_path_buf());
        }
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(ArchiveError::io("read link", &path))?;
            self.bare(EntryType::Symlink, guest, Some(&target), meta)
        } else if kind.is_fifo() {
            self.bare(EntryType::Fifo, guest, None, meta)
        } else if kind.is_file() {
            self.file(&path, guest, meta)
        } else if kind.is_char_device() && metadata.rdev() == 0 {
            // What an overlay hides.
            self.bare(EntryType::Char, guest, None, meta)
        } else {
            self.written.warnings.push(format!("./{}: device node not archived", guest.display()));
            Ok(())
        }
    }

    fn file(&mut self, path: &Path, guest: &Path, meta: Meta) -> Result<(), ArchiveError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return self.vanished(guest),
            Err(error) => return Err(ArchiveError::io("read", path)(error)),
        };
        let size = file.metadata().map_err(ArchiveError::io("read", path))?.len();
        let short =
            self.emitter.file(guest, meta, size, &mut file).map_err(ArchiveError::io("archive", path))?;
        if short > 0 {
            let name = guest.display();
            self.written.warnings.push(format!("./{name}: File shrank by {short} bytes; padding with zeros"));
        }
        self.written.entries += 1;
        Ok(())
    }

    fn bare(
        &mut self,
        kind: EntryType,
        guest: &Path,
        target: Option<&Path>,
        meta: Meta,
    ) -> Result<(), ArchiveError> {
        let item = Item { kind, name: guest, target, meta };
        self.emitter.bare(&item).map_err(ArchiveError::io("archive", guest))?;
        self.written.entries += 1;
        Ok(())
    }

    fn vanished(&mut self, guest: &Path) -> Result<(), ArchiveError> {
        self.written.warnings.push(format!("./{}: File removed before we read it", guest.display()));
        Ok(())
    }
}
