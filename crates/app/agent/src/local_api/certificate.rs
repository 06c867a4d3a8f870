//! The certificate that guests pin: made once, kept with its key in one private file.

use crate::config::Config;
use crate::files;
use anyhow::Context as _;
use felhom_model::Digest;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::net::IpAddr;
use zeroize::Zeroizing;

const FILE: &str = "local-api.pem";

/// Certificate and key as PEM, and what guests pin.
pub(super) struct Certificate {
    pub(super) chain: Vec<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) fingerprint: Digest,
}

/// Loads it, or makes it. The name in it means nothing: guests pin the bytes.
pub(super) fn load_or_make(config: &Config, ip: IpAddr) -> anyhow::Result<Certificate> {
    let path = config.state(FILE);
    let pem = match files::read_private(&path)? {
        Some(pem) => Zeroizing::new(pem),
        None => {
            let pem = make(ip)?;
            files::write_private(&path, &pem)?;
            pem
        }
    };
    let broken =
        || format!("{} holds no certificate; delete it, and restart the guests after that", path.display());
    let der = CertificateDer::from_pem_slice(&pem).with_context(broken)?;
    let fingerprint = Digest::of(&der);
    Ok(Certificate { chain: pem.to_vec(), key: pem.clone(), fingerprint })
}

fn make(ip: IpAddr) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["felhom-agent".to_owned()])?;
    params.subject_alt_names.push(SanType::IpAddress(ip));
    let certificate = params.self_signed(&key)?;
    let key = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(format!("{}{}", certificate.pem(), *key).into_bytes()))
}
