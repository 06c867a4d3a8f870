//! Secrets on disk: 0600 files, written atomically, and the attestation key that is made on first start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use felhom_signing::Key;
use secrecy::SecretString;
use secrecy::zeroize::{Zeroize as _, Zeroizing};

/// A file with a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {why}")]
pub struct KeyFileError {
    /// Which secret.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub why: String,
}

/// Writes `bytes` to `path` with mode 0600: a new file beside it, synced, then renamed over it.
///
/// # Errors
/// What the system said.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = parent.join(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(parent)?.sync_all()
}

/// Reads a one-line secret; a file that others may read is refused.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_secret(what: &'static str, path: &Path) -> Result<SecretString, KeyFileError> {
    let fail = |why: String| KeyFileError { what, path: path.to_owned(), why };
    let mut file = File::open(path).map_err(|e| fail(e.to_string()))?;
    let mode = file.metadata().map_err(|e| fail(e.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(fail(format!("mode {:o} lets others read it: chmod 600", mode & 0o777)));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(|e| fail(e.to_string()))?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(fail("it is empty".to_owned()));
    }
    Ok(SecretString::from(secret))
}

/// The attestation key: read, or made from `seed` on first start.
///
/// # Errors
/// [`KeyFileError`]. A damaged file is never replaced: the operators have pinned the key that was in it.
pub fn attestation_key(path: &Path, mut seed: [u8; 32]) -> Result<Key, KeyFileError> {
    const WHAT: &str = "attestation key";
    let fail = |why: String| KeyFileError { what: WHAT, path: path.to_owned(), why };
    if !path.exists() {
        let mut text = STANDARD.encode(seed);
        text.push('\n');
        write_secret(path, text.as_bytes()).map_err(|e| fail(e.to_string()))?;
        text.zeroize();
    }
    seed.zeroize();
    let text = read_secret(WHAT, path)?;
    let bytes = Zeroizing::new(
        STANDARD
            .decode(secrecy::ExposeSecret::expose_secret(&text))
            .map_err(|_| fail("it is not base64: restore it from a copy of the box".to_owned()))?,
    );
    let seed: [u8; 32] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| fail(format!("it has {} bytes instead of 32", bytes.len())))?;
    Ok(Key::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attestation_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("attestation.key");
        let first = attestation_key(&path, [1; 32]).unwrap();
        let second = attestation_key(&path, [2; 32]).unwrap();
        assert_eq!(first.public(), second.public());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(attestation_key(&path, [2; 32]).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(attestation_key(&path, [2; 32]).is_err(), "a damaged key is not replaced");
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
    }
}
