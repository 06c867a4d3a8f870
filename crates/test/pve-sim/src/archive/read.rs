//! Reading an archive: its configuration only, or all of it into trees.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::Archive;

use super::input::Input;
use super::mounts::Mounts;
use super::unpack::Unpacker;
use super::{ArchiveError, Tree};

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

/// Unpacks into existing, usually empty trees. A file goes to the tree with the longest mount path that covers it, so with
/// only `/` given everything lands inside the root file system. Owners go to the side tables. As in a real restore, an
/// existing file is kept, contents of `/dev` are skipped, and the configuration does not stay in `/etc/vzdump`. `progress`
/// gets the bytes of the tar stream so far.
///
/// # Errors
/// [`ArchiveError::Damaged`] for any truncation or checksum error, [`ArchiveError::Refused`] for `..`, absolute names and
/// names that lead through a symbolic link. What was unpacked until then is for the caller to remove.
pub fn unpack(
    archive: &Path,
    trees: &[Tree],
    progress: &mut dyn FnMut(u64),
) -> Result<Unpacked, ArchiveError> {
    unpack_onto(archive, trees, &[], progress)
}

/// As [`unpack`]; `below` has the file system of trees that are on a limited one: path, name, bytes left there. What does not fit
/// is lost without an error, and the tree's own file system with it (F69).
pub(crate) fn unpack_onto(
    archive: &Path,
    trees: &[Tree],
    below: &[(PathBuf, String, u64)],
    progress: &mut dyn FnMut(u64),
) -> Result<Unpacked, ArchiveError> {
    let damaged = damaged(archive);
    let mut tar = Archive::new(Input::open(archive, true)?);
    let mut unpacker = Unpacker::new(archive, Mounts::new(trees)?)?;
    unpacker.set_below(below);
    let mut done = Unpacked::default();
    for entry in tar.entries().map_err(&damaged)? {
        let mut entry = entry.map_err(&damaged)?;
        unpacker.entry(&mut entry)?;
        done.entries += 1;
        progress(entry.raw_file_position() + entry.size());
    }
    let mut input = tar.into_inner();
    if input.ended {
        return Err(damaged(io::Error::new(io::ErrorKind::UnexpectedEof, "its end mark is missing")));
    }
    // What follows the end mark is padding; reading it verifies the last checksum.
    io::copy(&mut input, &mut io::sink()).map_err(&damaged)?;
    unpacker.finish()?;
    done.tar_bytes = input.position;
    progress(done.tar_bytes);
    Ok(done)
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
