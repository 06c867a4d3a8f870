//! The server's self-signed certificate, made at the first start and kept.

use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::state::{Host, atomic};

/// TLS configuration, and the certificate's SHA-256 fingerprint as Proxmox VE writes it (`D9:C5:…`).
pub(crate) struct Tls {
    /// For the server; HTTP/1.1 only, as pveproxy.
    pub(crate) config: Arc<rustls::ServerConfig>,
    /// Fingerprint.
    pub(crate) fingerprint: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Reads certificate and key, making them if there are none.
///
/// # Errors
/// If the files cannot be read, written or understood.
pub(crate) fn load_or_create(host: &Host) -> io::Result<Tls> {
    let (certificate, key) = (host.dir.certificate(), host.dir.certificate_key());
    if !certificate.exists() || !key.exists() {
        let (pem, key_pem) = make(&host.node).map_err(io::Error::other)?;
        atomic::write_secret(&key, key_pem.as_bytes())?;
        atomic::write(&certificate, pem.as_bytes())?;
    }
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .map_err(io::Error::other)?
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(io::Error::other)?;
    let first = chain.first().ok_or_else(|| io::Error::other("no certificate in pveproxy-ssl.pem"))?;
    let digest = Sha256::digest(first.as_ref());
    let fingerprint = digest.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":");
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), fingerprint })
}

fn make(node: &str) -> Result<(String, String), rcgen::Error> {
    let names = vec![node.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, node);
    params.distinguished_name.push(DnType::OrganizationName, "Simulated Proxmox Virtual Environment");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
