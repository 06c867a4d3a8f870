//! The bounded sample of the apps' content that a restore test compares: databases up to 64 MiB, canary files, 16 MiB of
//! seeded blocks (03 §6 of the design: the freeze stays short whatever the data's size).
//!
//! Planned and read once *before* the freeze, so that what is read *in* the freeze comes from memory. The plan is kept in
//! the state directory and so in the archive: a restored copy finds it and measures before it starts its apps, since a
//! database changes its bytes when it is opened, without changing its content.

use crate::{
    app::{App, manifest},
    paths::Paths,
};
use felhom_model::{AppName, Digest};
use felhom_protocol::probe::{Sample, SampleId};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// Whole databases are read up to this sum, in bytes, with what has not been written back yet.
pub const DATABASE_BUDGET: u64 = 64 << 20;
/// Other content is read up to this sum, in bytes.
pub const BLOCK_BUDGET: u64 = 16 << 20;
/// One block, in bytes.
const BLOCK: u64 = 64 << 10;
/// Other files are read whole if there are no more than this, and blocks are no more than this.
const MOST_FILES: usize = 512;
/// Files beyond this many are not looked at when blocks are drawn.
const MOST_LISTED: usize = 200_000;

/// What will be read, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplePlan {
    /// Each piece with its kind.
    pub pieces: Vec<Piece>,
}

/// A piece and its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Which.
    pub id: SampleId,
    /// `database`, `canary`, `file` or `block`.
    pub kind: String,
}

struct Listed {
    volume: String,
    path: String,
    size: u64,
}

impl SamplePlan {
    /// Plans for one app; `seed` decides which blocks are drawn.
    pub fn add(&mut self, paths: &Paths, app: &App, seed: u64) {
        let mut taken = BTreeSet::new();
        let mut budget = DATABASE_BUDGET;
        let databases = app.manifest.databases.iter();
        let mut sized: Vec<_> = databases
            .map(|db| {
                let volume = paths.volume(&app.name, &db.volume);
                let size = |suffix: &str| {
                    std::fs::metadata(volume.join(format!("{}{suffix}", db.path)))
                        .map_or(0, |meta| meta.len())
                };
                (size("") + size("-wal"), db)
            })
            .collect();
        sized.sort_by_key(|(size, _)| *size);
        for (size, db) in sized {
            // The index of the log is memory, not content.
            taken.insert((db.volume.clone(), format!("{}-shm", db.path)));
            if size > budget {
                continue;
            }
            budget -= size;
            for suffix in ["", "-wal"] {
                let path = format!("{}{suffix}", db.path);
                taken.insert((db.volume.clone(), path.clone()));
                self.push(&app.name, &db.volume, &path, "database");
            }
        }
        for manifest::FileRef { volume, path } in &app.manifest.canaries {
            if taken.insert((volume.clone(), path.clone())) {
                self.push(&app.name, volume, path, "canary");
            }
        }
        let listed: Vec<Listed> = app
            .compose
            .volumes
            .iter()
            .flat_map(|volume| list(&paths.volume(&app.name, volume), volume))
            .filter(|file| !taken.contains(&(file.volume.clone(), file.path.clone())))
            .collect();
        self.draw(&app.name, &listed, seed);
    }

    fn push(&mut self, app: &AppName, volume: &str, path: &str, kind: &str) {
        let (volume, path) = (volume.to_owned(), path.to_owned());
        let id = SampleId { app: app.clone(), volume, path, offset: None, length: None };
        self.pieces.push(Piece { id, kind: kind.to_owned() });
    }

    fn draw(&mut self, app: &AppName, files: &[Listed], seed: u64) {
        let total: u64 = files.iter().map(|file| file.size).sum();
        if total <= BLOCK_BUDGET && files.len() <= MOST_FILES {
            for file in files {
                self.push(app, &file.volume, &file.path, "file");
            }
            return;
        }
        let mut random = SplitMix(seed);
        let draws = usize::try_from(BLOCK_BUDGET / BLOCK).unwrap_or(MOST_FILES).min(MOST_FILES);
        let mut drawn = BTreeSet::new();
        for _ in 0..draws {
            let mut at = random.next() % total.max(1);
            let Some((number, file)) = files.iter().enumerate().find(|(_, file)| {
                let inside = at < file.size;
                if !inside {
                    at -= file.size;
                }
                inside
            }) else {
                continue;
            };
            let offset = at / BLOCK * BLOCK;
            if !drawn.insert((number, offset)) {
                continue;
            }
            self.push(app, &file.volume, &file.path, if file.size <= BLOCK { "file" } else { "block" });
            if let Some(piece) = self.pieces.last_mut()
                && file.size > BLOCK
            {
                (piece.id.offset, piece.id.length) = (Some(offset), Some(BLOCK.min(file.size - offset)));
            }
        }
    }

    /// Reads every piece now. Pieces of files that are not there are left out; others that cannot be read say why.
    pub fn measure(&self, paths: &Paths) -> Vec<Sample> {
        self.pieces
            .iter()
            .filter_map(|piece| match digest(paths, &piece.id) {
                Ok(digest) => Some((piece, Some(digest), None)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => Some((piece, None, Some(e.to_string()))),
            })
            .map(|(piece, digest, message)| Sample {
                id: piece.id.clone(),
                kind: piece.kind.clone(),
                digest,
                message,
            })
            .collect()
    }
}

/// Regular files below `root`, in a fixed order; links are not followed.
fn list(root: &Path, volume: &str) -> Vec<Listed> {
    let (mut found, mut dirs) = (Vec::new(), vec![String::new()]);
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&dir)) else {
            continue;
        };
        for entry in entries.flatten() {
            let (Some(name), Ok(meta)) = (entry.file_name().to_str().map(str::to_owned), entry.metadata())
            else {
                continue;
            };
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if meta.is_dir() {
                dirs.push(path);
            } else if meta.is_file() && found.len() < MOST_LISTED {
                found.push(Listed { volume: volume.to_owned(), path, size: meta.len() });
            }
        }
    }
    found.sort_by(|a: &Listed, b: &Listed| a.path.cmp(&b.path));
    found
}

/// Opens a file of a volume without leaving the volume, whatever links an app may have put there.
///
/// # Errors
/// The operating system's, with the piece in its text.
pub fn open(paths: &Paths, id: &SampleId) -> io::Result<File> {
    let name = || format!("{}/{}/{}", id.app, id.volume, id.path);
    if !manifest::is_relative(&id.volume) || id.volume.contains('/') || !manifest::is_relative(&id.path) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} leaves its volume", name())));
    }
    let inner = || {
        let volume = File::open(paths.volume(&id.app, &id.volume))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = File::from(rustix::fs::openat2(volume, &id.path, flags, Mode::empty(), resolve)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is no regular file")) }
    };
    inner().map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", name())))
}

/// The SHA-256 of a piece as it is now.
///
/// # Errors
/// As [`open`], and when the file is shorter than the piece.
pub fn digest(paths: &Paths, id: &SampleId) -> io::Result<Digest> {
    let mut file = open(paths, id)?;
    let length = match (id.offset, id.length) {
        (Some(offset), Some(length)) => {
            file.seek(SeekFrom::Start(offset))?;
            Some(length)
        }
        _ => None,
    };
    let (mut hash, mut total) = (Sha256::new(), 0);
    let mut reader = file.take(length.unwrap_or(u64::MAX));
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => {
                hash.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
    if length.is_some_and(|length| length != total) {
        let why = format!("{}/{}/{} has only {total} bytes there", id.app, id.volume, id.path);
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    Ok(Digest::from_bytes(hash.finalize().into()))
}

/// SplitMix64: small, seeded, and the same everywhere (Steele, Lea, Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
