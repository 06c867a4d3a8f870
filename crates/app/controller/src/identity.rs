//! Who this guest is: its key, made in the guest and kept in its state, and the name it was given.
//!
//! A restored copy keeps both: it is the same guest, only without a token.

use crate::{files, paths::Paths};
use felhom_model::{BoxId, GuestName, GuestUuid};
use felhom_signing::Key;
use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf};

/// What the first bootstrap said, kept for a copy that gets none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The guest.
    pub guest: GuestUuid,
    /// Its name.
    pub name: GuestName,
    /// Its box, once enrolled.
    pub box_id: Option<BoxId>,
}

fn key_file(paths: &Paths) -> PathBuf {
    paths.state().join("guest.key")
}

fn identity_file(paths: &Paths) -> PathBuf {
    paths.state().join("identity.json")
}

/// The guest key; made at the first call. Two first calls at once end with the same key.
///
/// # Errors
/// When it cannot be read or written, or the file holds something else; it is never replaced.
pub fn guest_key(paths: &Paths) -> io::Result<Key> {
    let path = key_file(paths);
    if let Some(key) = read_key(paths)? {
        return Ok(key);
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let fresh = paths.state().join(format!(".guest.key.{}", crate::random_hex()?));
    files::write(&fresh, &seed)?;
    // A link is made only where nothing is: whoever is second uses the first one's key.
    let linked = std::fs::hard_link(&fresh, &path);
    files::remove(&fresh)?;
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(files::about("making", &path, &e)),
        _ => std::fs::File::open(paths.state())?.sync_all()?,
    }
    read_key(paths)?.ok_or_else(|| files::about("reading", &path, &io::ErrorKind::NotFound.into()))
}

fn read_key(paths: &Paths) -> io::Result<Option<Key>> {
    let path = key_file(paths);
    match std::fs::read(&path) {
        Ok(bytes) => match <[u8; 32]>::try_from(bytes) {
            Ok(seed) => Ok(Some(Key::from_seed(&seed))),
            Err(bytes) => {
                let why = format!("holds {} bytes instead of 32; restore it from a backup", bytes.len());
                Err(files::about("guest key", &path, &io::Error::new(io::ErrorKind::InvalidData, why)))
            }
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(files::about("reading", &path, &e)),
    }
}

/// The identity that was kept; `None` before the first bootstrap.
///
/// # Errors
/// When it is there and cannot be read.
pub fn kept(paths: &Paths) -> io::Result<Option<Identity>> {
    files::read_json(&identity_file(paths))
}

/// Keeps an identity.
///
/// # Errors
/// When it cannot be written.
pub fn keep(paths: &Paths, identity: &Identity) -> io::Result<()> {
    if kept(paths)?.as_ref() == Some(identity) {
        return Ok(());
    }
    files::write_json(&identity_file(paths), identity)
}
