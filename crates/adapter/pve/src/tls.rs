//! TLS pinned by the SHA-256 fingerprint of the server's own certificate.
//!
//! A Proxmox host has a certificate of its own authority. The pin replaces the chain and name checks; the handshake's
//! signature checks stay, so that the peer proves to hold the pinned certificate's key.
//!
//! **Architecture invariant:** there is no "insecure" mode.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::ids::InvalidId;

/// SHA-256 of a certificate's DER bytes, shown as PVE shows it (`AA:BB:…`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// From the digest's bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            let colon = if n == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidId;

    /// 32 bytes in hexadecimal, with or without colons, either case, an optional `sha256:` in front.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId {
            kind: "SHA-256 fingerprint",
            text: text.to_owned(),
            rule: "32 bytes in hexadecimal, as `pvenode cert info` shows them",
        };
        let trimmed = text.trim().to_ascii_lowercase();
        let digits = trimmed.strip_prefix("sha256:").unwrap_or(&trimmed).replace(':', "");
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

/// What the verifier returns when another certificate is shown; dug out of the error chain again.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("certificate {seen} instead of the pinned {expected}")]
struct OtherCertificate {
    expected: Fingerprint,
    seen: Fingerprint,
}

#[derive(Debug)]
struct PinnedVerifier {
    expected: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = Fingerprint::of_der(end_entity);
        if seen == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherError(Arc::new(OtherCertificate { expected: self.expected, seen }));
        Err(CertificateError::Other(other).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS configuration that accepts exactly one certificate.
pub(crate) fn pinned_config(expected: Fingerprint) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(PinnedVerifier { expected, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Configuration { what: "TLS", reason: e.to_string() })?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Finds the pin mismatch in an error's chain: `(expected, seen)`.
pub(crate) fn pin_mismatch(error: &(dyn std::error::Error + 'static)) -> Option<(Fingerprint, Fingerprint)> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) = error.downcast_ref()
            && let Some(other) = other.0.downcast_ref::<OtherCertificate>()
        {
            return Some((other.expected, other.seen));
        }
        current = match error.downcast_ref::<std::io::Error>() {
            // An io::Error's source skips the error that it wraps.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_and_render_as_pve_shows_them() {
        let shown = "2A:".repeat(31) + "0F";
        let parsed: Fingerprint = shown.parse().unwrap();
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(shown.replace(':', "").to_lowercase().parse::<Fingerprint>().unwrap(), parsed);
        assert_eq!(format!("sha256:{shown}").parse::<Fingerprint>().unwrap(), parsed);
        assert!("2A:2B".parse::<Fingerprint>().is_err());
    }
}
