//! Token secrets and password hashes, in files of mode 0600 apart from `user.cfg`, as Proxmox VE keeps them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Host, atomic};
use crate::error::ApiError;

/// A simulated node's passwords protect nothing, and every test logs in.
const ROUNDS: u32 = 1_000;

/// `token.cfg` and `shadow.cfg`: one `id secret` a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretFile {
    /// Secrets of API tokens, by full token id.
    Tokens,
    /// Salted hashes of passwords, by user id.
    Passwords,
}

/// Records a secret; a password is hashed by [`hash_password`] first. The caller holds [`Host::lock_access`].
pub(crate) fn set(host: &Host, file: SecretFile, id: &str, secret: &str) -> Result<(), ApiError> {
    change(host, file, |all| {
        all.insert(id.to_owned(), secret.to_owned());
    })
}

/// Forgets the secret of an id, and those of its tokens. The caller holds [`Host::lock_access`].
pub(crate) fn forget(host: &Host, file: SecretFile, id: &str) -> Result<(), ApiError> {
    change(host, file, |all| all.retain(|key, _| key != id && !key.starts_with(&format!("{id}!"))))
}

/// Whether `secret` is the token's.
pub(crate) fn token_matches(host: &Host, authid: &str, secret: &str) -> Result<bool, ApiError> {
    Ok(read(&path(host, SecretFile::Tokens))?
        .get(authid)
        .is_some_and(|known| equal(known.as_bytes(), secret.as_bytes())))
}

/// Whether `password` is the user's.
pub(crate) fn password_matches(host: &Host, user: &str, password: &str) -> Result<bool, ApiError> {
    let all = read(&path(host, SecretFile::Passwords))?;
    let Some((salt, hash)) = all.get(user).and_then(|line| line.split_once('$')) else { return Ok(false) };
    Ok(equal(hash.as_bytes(), derive(salt, password).as_bytes()))
}

/// `SALT$HASH`, with a new salt.
pub(crate) fn hash_password(password: &str) -> Result<String, ApiError> {
    let salt = random_hex(8)?;
    let hash = derive(&salt, password);
    Ok(format!("{salt}${hash}"))
}

/// `bytes` random bytes in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String, ApiError> {
    let mut raw = vec![0_u8; bytes];
    getrandom::fill(&mut raw).map_err(|e| ApiError::die(format!("no random numbers: {e}")))?;
    Ok(hex::encode(raw))
}

/// A random secret in the form of a version 4 UUID, as Proxmox VE makes them.
pub(crate) fn random_uuid() -> Result<String, ApiError> {
    let mut raw = [0_u8; 16];
    getrandom::fill(&mut raw).map_err(|e| ApiError::die(format!("no random numbers: {e}")))?;
    raw[6] = (raw[6] & 0x0f) | 0x40;
    raw[8] = (raw[8] & 0x3f) | 0x80;
    let text = hex::encode(raw);
    Ok(format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]))
}

/// Compares without telling by time where the first difference is.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

fn derive(salt: &str, password: &str) -> String {
    let mut hash = Sha256::digest(format!("{salt}${password}"));
    for _ in 1..ROUNDS {
        hash = Sha256::new().chain_update(hash).chain_update(password).finalize();
    }
    hex::encode(hash)
}

fn path(host: &Host, file: SecretFile) -> std::path::PathBuf {
    match file {
        SecretFile::Tokens => host.dir.token_secrets(),
        SecretFile::Passwords => host.dir.shadow(),
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let text = atomic::read_optional(path)?.unwrap_or_default();
    Ok(text.lines().filter_map(|l| l.split_once(' ')).map(|(id, s)| (id.to_owned(), s.to_owned())).collect())
}

fn change(
    host: &Host,
    file: SecretFile,
    edit: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<(), ApiError> {
    let path = path(host, file);
    let mut all = read(&path)?;
    edit(&mut all);
    let mut text = String::new();
    for (id, secret) in &all {
        let _ = writeln!(text, "{id} {secret}");
    }
    Ok(atomic::write_secret(&path, text.as_bytes())?)
}
