//! Files in one flat directory, written beside, synced, and renamed into place.

use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};
use tokio::io::AsyncWriteExt as _;

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub sha256: String,
}

/// The directory of files.
#[derive(Debug, Clone)]
pub struct Files(PathBuf);

impl Files {
    /// Uses `files` in `dir`, which is made if missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let dir = dir.join("files");
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// Where the file of that name is; `None` when the name is not one of 1 to 128 letters, digits, `.`, `_` or `-`,
    /// or begins with a dot.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let ok = (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain);
        ok.then(|| self.0.join(name))
    }

    /// Stores a stream of bytes under `target` (from [`Files::path`]); when it returns, they are on the disk.
    ///
    /// # Errors
    /// Those of the stream and of the file system; the old content then still stands.
    pub async fn put<B, E>(
        &self,
        target: &Path,
        mut body: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> io::Result<Stored>
    where
        B: AsRef<[u8]>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = self.0.join(format!(".{name}.part"));
        let mut file = tokio::fs::File::create(&beside).await?;
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(io::Error::other)?;
            hash.update(piece.as_ref());
            bytes += piece.as_ref().len() as u64;
            file.write_all(piece.as_ref()).await?;
        }
        file.flush().await?;
        file.sync_all().await?;
        tokio::fs::rename(&beside, target).await?;
        tokio::fs::File::open(&self.0).await?.sync_all().await?;
        Ok(Stored { name, bytes, sha256: hex::encode(hash.finalize()) })
    }

    /// All files by name, each read and hashed now.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn list(&self) -> io::Result<Vec<Stored>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.path(&name).is_some() && entry.file_type()?.is_file() {
                let (bytes, sha256) = digest(&entry.path())?;
                found.push(Stored { name, bytes, sha256 });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

fn digest(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hash, mut total) = (fs::File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((total, hex::encode(hash.finalize()))),
            n => {
                hash.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
}
