//! Who this box is: the device key, made here and never leaving, and the enrolment at a hub.

use crate::config::Config;
use crate::files::{self, FileError};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use felhom_model::{BoxId, Digest};
use felhom_signing::{Key, PublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const KEY_FILE: &str = "device.key";
const ENROLMENT_FILE: &str = "enrolment.json";

/// Why the identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The content of a file.
    #[error("{file} in {dir} is damaged ({why}); restore it from a backup, or enrol the box again")]
    Damaged {
        /// Which file.
        file: &'static str,
        /// Where.
        dir: String,
        /// What is wrong; never the content.
        why: String,
    },
}

/// Where the box is registered, and what it pins of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolment {
    /// The box's identity.
    pub(crate) box_id: BoxId,
    /// Its name at the hub.
    pub(crate) name: String,
    /// Raised by each re-enrolment.
    pub(crate) epoch: u64,
    /// Where the hub is.
    pub(crate) hub_url: String,
    /// SHA-256 of its TLS certificate.
    pub(crate) hub_fingerprint: Digest,
    /// Its signing key.
    pub(crate) hub_key: PublicKey,
}

fn damaged(config: &Config, file: &'static str, why: impl ToString) -> IdentityError {
    IdentityError::Damaged { file, dir: config.state_dir.display().to_string(), why: why.to_string() }
}

/// The device key, if there is one.
///
/// # Errors
/// [`IdentityError`].
pub(crate) fn device_key(config: &Config) -> Result<Option<Key>, IdentityError> {
    let Some(text) = files::read_private(&config.state(KEY_FILE))?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let mut seed = Zeroizing::new([0; 32]);
    let decoded = STANDARD.decode(text.trim_ascii()).map(Zeroizing::new);
    match decoded {
        Ok(bytes) if bytes.len() == 32 => seed.copy_from_slice(&bytes),
        Ok(_) | Err(_) => return Err(damaged(config, KEY_FILE, "it is not the base64 of 32 bytes")),
    }
    Ok(Some(Key::from_seed(&seed)))
}

/// The device key, made and kept if there is none.
///
/// # Errors
/// [`IdentityError`].
pub(crate) fn device_key_or_new(config: &Config) -> Result<Key, IdentityError> {
    if let Some(key) = device_key(config)? {
        return Ok(key);
    }
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    let text = Zeroizing::new(STANDARD.encode(*seed));
    files::write_private(&config.state(KEY_FILE), text.as_bytes())?;
    Ok(Key::from_seed(&seed))
}

/// The enrolment, if the box is enrolled.
///
/// # Errors
/// [`IdentityError`].
pub(crate) fn enrolment(config: &Config) -> Result<Option<Enrolment>, IdentityError> {
    let Some(bytes) = files::read_private(&config.state(ENROLMENT_FILE))? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(config, ENROLMENT_FILE, e))
}

/// Keeps the enrolment.
///
/// # Errors
/// [`IdentityError`].
pub(crate) fn keep_enrolment(config: &Config, enrolment: &Enrolment) -> Result<(), IdentityError> {
    let bytes = serde_json::to_vec_pretty(enrolment).map_err(|e| damaged(config, ENROLMENT_FILE, e))?;
    Ok(files::write_private(&config.state(ENROLMENT_FILE), &bytes)?)
}

/// 96 random bits as text.
///
/// # Errors
/// If the system gives none.
pub(crate) fn run() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}
