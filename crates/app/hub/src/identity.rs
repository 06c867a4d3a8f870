//! Who the hub is: its TLS certificate and its signing key, both made once and kept in the state directory.
//!
//! | file | holds |
//! |---|---|
//! | `tls.crt` | self-signed certificate (PEM); boxes and operators pin its SHA-256 |
//! | `tls.key` | its private key (PEM), 0600 |
//! | `hub.key` | seed of the Ed25519 key that signs answers and desired state (base64), 0600 |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use felhom_model::Digest;
use felhom_signing::Key;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::files::{self, FileError};
use crate::random::{self, NoRandom};

/// Why the hub's identity cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub(crate) enum IdentityError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Random(#[from] NoRandom),
    #[error("{0} does not exist; run `felhom-hub init` once to make the hub's state directory")]
    Missing(PathBuf),
    #[error(
        "{0} is gone while tls.crt is there. Put it back from your backup; or remove tls.crt and run `felhom-hub init` \
         for a new certificate, which every box and operator must then pin anew"
    )]
    TlsKeyLost(PathBuf),
    #[error("{file} cannot be used: {why}")]
    Unusable { file: PathBuf, why: String },
    #[error("cannot make a TLS certificate for {names:?}: {source}")]
    Certificate { names: Vec<String>, source: rcgen::Error },
}

/// The loaded identity.
pub(crate) struct Identity {
    /// Signs sync answers and desired state.
    pub(crate) key: Key,
    /// SHA-256 of the certificate's DER, what the others pin.
    pub(crate) fingerprint: Digest,
    /// For the listener.
    pub(crate) tls: RustlsConfig,
}

/// What [`create`] did with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is new.
    New,
    /// It was there and was left as it is.
    Kept,
}

struct Paths {
    certificate: PathBuf,
    tls_key: PathBuf,
    hub_key: PathBuf,
}

impl Paths {
    fn new(state_dir: &Path) -> Self {
        Self {
            certificate: state_dir.join("tls.crt"),
            tls_key: state_dir.join("tls.key"),
            hub_key: state_dir.join("hub.key"),
        }
    }
}

/// Makes what is missing; never replaces anything.
///
/// # Errors
/// [`IdentityError`].
pub(crate) fn create(state_dir: &Path, names: Vec<String>) -> Result<(Made, Made), IdentityError> {
    let paths = Paths::new(state_dir);
    let certificate = if paths.certificate.exists() {
        if !paths.tls_key.exists() {
            return Err(IdentityError::TlsKeyLost(paths.tls_key));
        }
        Made::Kept
    } else {
        create_certificate(&paths, names)?;
        Made::New
    };
    if paths.hub_key.exists() {
        return Ok((certificate, Made::Kept));
    }
    let seed = random::bytes::<32>()?;
    files::write_private(&paths.hub_key, format!("{}\n", STANDARD.encode(seed)).as_bytes())?;
    Ok((certificate, Made::New))
}

/// The key is written first: a certificate on disk always has its key.
fn create_certificate(paths: &Paths, names: Vec<String>) -> Result<(), IdentityError> {
    let wrap = |source| IdentityError::Certificate { names: names.clone(), source };
    let mut params = rcgen::CertificateParams::new(names.clone()).map_err(wrap)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "Felhom hub");
    let key = rcgen::KeyPair::generate().map_err(wrap)?;
    let certificate = params.self_signed(&key).map_err(wrap)?;
    files::write_private(&paths.tls_key, key.serialize_pem().as_bytes())?;
    files::write_private(&paths.certificate, certificate.pem().as_bytes())?;
    Ok(())
}

/// Reads it.
///
/// # Errors
/// [`IdentityError`].
pub(crate) fn load(state_dir: &Path) -> Result<Identity, IdentityError> {
    let paths = Paths::new(state_dir);
    for path in [&paths.certificate, &paths.hub_key] {
        if !path.exists() {
            return Err(IdentityError::Missing(path.clone()));
        }
    }
    if !paths.tls_key.exists() {
        return Err(IdentityError::TlsKeyLost(paths.tls_key));
    }
    let (tls, fingerprint) = load_tls(&paths)?;
    Ok(Identity {
        key: load_key(&paths.hub_key)?,
        fingerprint,
        tls: RustlsConfig::from_config(Arc::new(tls)),
    })
}

fn load_tls(paths: &Paths) -> Result<(rustls::ServerConfig, Digest), IdentityError> {
    let unusable = |file: &Path, why: String| IdentityError::Unusable { file: file.to_owned(), why };
    let chain = CertificateDer::pem_file_iter(&paths.certificate)
        .and_then(|list| list.collect::<Result<Vec<_>, _>>())
        .map_err(|e| unusable(&paths.certificate, e.to_string()))?;
    let first =
        chain.first().ok_or_else(|| unusable(&paths.certificate, "it holds no certificate".to_owned()))?;
    let fingerprint = Digest::of(first);
    let key = PrivateKeyDer::from_pem_slice(&files::read_private(&paths.tls_key)?)
        .map_err(|e| unusable(&paths.tls_key, e.to_string()))?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| unusable(&paths.tls_key, e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, fingerprint))
}

fn load_key(file: &Path) -> Result<Key, IdentityError> {
    let unusable = |why: &str| IdentityError::Unusable { file: file.to_owned(), why: why.to_owned() };
    let text = String::from_utf8(files::read_private(file)?).map_err(|_| unusable("it is not text"))?;
    let seed = STANDARD.decode(text.trim()).map_err(|_| unusable("it is not base64"))?;
    let seed: [u8; 32] = seed.try_into().map_err(|_| unusable("it does not hold 32 bytes"))?;
    Ok(Key::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path()), Err(IdentityError::Missing(_))));
        assert_eq!(create(dir.path(), vec!["localhost".into()]).unwrap(), (Made::New, Made::New));
        let first = load(dir.path()).unwrap();
        assert_eq!(create(dir.path(), vec![]).unwrap(), (Made::Kept, Made::Kept));
        let second = load(dir.path()).unwrap();
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(first.key.public(), second.key.public());
        std::fs::remove_file(dir.path().join("tls.key")).unwrap();
        assert!(matches!(create(dir.path(), vec![]), Err(IdentityError::TlsKeyLost(_))));
        assert!(matches!(load(dir.path()), Err(IdentityError::TlsKeyLost(_))));
    }
}
