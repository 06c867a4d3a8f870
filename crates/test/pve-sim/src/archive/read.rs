//! Reading an archive: its configuration only, or all of it into trees.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::Archive;

use super::input::Input;
use super::mounts::Mounts;
use super::unpack::Unpacker;
use super::{ArchiveError, Tree};
use crate::volume::owners::Ownership;

/// Name of the configuration's entry.
pub(super) const CONFIG: &[u8] = b"./etc/vzdump/pct.conf";
/// Name of the firewall configuration's entry.
pub(super) const FIREWALL: &[u8] = b"./etc/vzdump/pct.fw";
/// No configuration is larger, in bytes.
const CONFIG_LIMIT: u64 = 1 << 20;

/// The configuration that an archive carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// `./etc/vzdump/pct.conf`.
    pub config: String,
    /// `./etc/vzdump/pct.fw`, if it is there and not empty.
    pub firewall: Option<Vec<u8>>,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of the tar stream (`Total bytes read`).
    pub tar_bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// Reads the configuration and stops there, so it is fast whatever the archive's size.
///
/// # Errors
/// [`ArchiveError::NoConfig`], [`ArchiveError::Damaged`] if it ends or breaks before the configuration does.
pub fn read_config(archive: &Path) -> Result<ArchiveConfig, ArchiveError> {
    let damaged = damaged(archive);
    let mut tar = Archive::new(Input::open(archive, false)?);
    let mut found: Option<String> = None;
    let mut firewall = None;
    for entry in tar.entries().map_err(&damaged)? {
        let mut entry = match entry {
            Ok(entry) => entry,
            // Damage behind the configuration is noticed when the archive is unpacked.
            Err(_) if found.is_some() => break,
            Err(error) => return Err(damaged(error)),
        };
        let name = entry.path_bytes().into_owned();
        let size = entry.size();
        if name == CONFIG && found.is_none() {
            let bytes = read_small(&mut entry, size).map_err(&damaged)?;
            found = Some(String::from_utf8_lossy(&bytes).into_owned());
        } else if name == FIREWALL && found.is_some() {
            firewall =
                Some(read_small(&mut entry, size).map_err(&damaged)?).filter(|bytes| !bytes.is_empty());
            break;
        } else if found.is_some() {
            break;
        }
    }
    match found {
        Some(config) => Ok(ArchiveConfig { config, firewall }),
        None if tar.into_inner().ended => Err(damaged(io::ErrorKind::UnexpectedEof.into())),
        None => Err(ArchiveError::NoConfig(archive.to_path_buf())),
    }
}

/// How an archive is unpacked.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// What fits into each tree, in the order of the trees: the size of its volume in bytes, `None` for as much as there is.
    pub sizes: Vec<Option<u64>>,
    /// Bytes of the archive to read a second.
    pub rate: Option<u64>,
    /// The file system of trees that are on a limited one: path, name, bytes left there. What does not fit there is lost without
    /// an error, and the tree's own file system with it (F69).
    pub below: Vec<(PathBuf, String, u64)>,
    /// How the trees keep the owners of their files.
    pub ownership: Ownership,
}

/// What became of an archive that was unpacked as far as it went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was unpacked.
    pub done: Unpacked,
    /// What tar says about files that it could not write.
    pub complaints: Vec<String>,
    /// Why it ended before the archive did.
    pub broken: Option<ArchiveError>,
}

/// Unpacks into existing, usually empty trees. A file goes to the tree with the longest mount path that covers it, so with
/// only `/` given everything lands inside the root file system. Owners go to the side tables. As in a real restore, an
/// existing file is kept, contents of `/dev` are skipped, and the configuration does not stay in `/etc/vzdump`. `progress`
/// gets the bytes of the tar stream so far.
///
/// # Errors
/// [`ArchiveError::Damaged`] for any truncation or checksum error, [`ArchiveError::Refused`] for `..`, absolute names and
/// names that lead through a symbolic link, [`ArchiveError::NoSpace`]. What was unpacked until then is for the caller to
/// remove.
pub fn unpack(
    archive: &Path,
    trees: &[Tree],
    progress: &mut dyn FnMut(u64),
) -> Result<Unpacked, ArchiveError> {
    let outcome = unpack_as_tar(archive, trees, &Limits::default(), progress)?;
    match (outcome.broken, outcome.complaints.into_iter().next()) {
        (Some(error), _) => Err(error),
        (None, Some(message)) => Err(ArchiveError::NoSpace { path: archive.to_path_buf(), message }),
        (None, None) => Ok(outcome.done),
    }
}

/// As [`unpack`], going on where tar goes on: what does not fit is left out or cut short, and an archive that breaks off has
/// been unpacked until there.
///
/// # Errors
/// If it cannot begin.
pub fn unpack_as_tar(
    archive: &Path,
    trees: &[Tree],
    limits: &Limits,
    progress: &mut dyn FnMut(u64),
) -> Result<Outcome, ArchiveError> {
    let mut tar = Archive::new(Input::open_slowly(archive, true, limits.rate)?);
    let mut unpacker = Unpacker::new(archive, Mounts::new(trees)?, (trees, &limits.sizes, limits.ownership))?;
    unpacker.set_below(&limits.below);
    let mut done = Unpacked::default();
    let ended = entries(archive, &mut tar, &mut unpacker, (&mut done, progress));
    let mut input = tar.into_inner();
    let broken = ended.and_then(|()| end(archive, &mut input)).err();
    let complaints = unpacker.finish()?;
    done.tar_bytes = input.position;
    progress(done.tar_bytes);
    Ok(Outcome { done, complaints, broken })
}

fn entries(
    archive: &Path,
    tar: &mut Archive<Input>,
    unpacker: &mut Unpacker<'_>,
    (done, progress): (&mut Unpacked, &mut dyn FnMut(u64)),
) -> Result<(), ArchiveError> {
    let damaged = damaged(archive);
    for entry in tar.entries().map_err(&damaged)? {
        let mut entry = entry.map_err(&damaged)?;
        unpacker.entry(&mut entry)?;
        done.entries += 1;
        progress(entry.raw_file_position() + entry.size());
    }
    Ok(())
}

/// What follows the end mark is padding; reading it verifies the last checksum.
fn end(archive: &Path, input: &mut Input) -> Result<(), ArchiveError> {
    let damaged = damaged(archive);
    if input.ended {
        return Err(damaged(io::Error::new(io::ErrorKind::UnexpectedEof, "its end mark is missing")));
    }
    io::copy(input, &mut io::sink()).map(drop).map_err(&damaged)
}

fn damaged(archive: &Path) -> impl Fn(io::Error) -> ArchiveError {
    let path = archive.to_path_buf();
    move |error| ArchiveError::Damaged { path: path.clone(), reason: error.to_string() }
}

fn read_small(entry: &mut dyn Read, size: u64) -> io::Result<Vec<u8>> {
    if size > CONFIG_LIMIT {
        return Err(io::Error::other(format!("configuration of {size} bytes")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
