//! TLS that trusts exactly one certificate, known by its SHA-256. The handshake's signature checks stay.

use felhom_model::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError, SignatureScheme,
};
use std::error::Error as StdError;
use std::sync::Arc;

/// Another certificate was shown; found again in the error chain of a failed request.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("certificate {seen} instead of the pinned {expected}")]
pub(crate) struct OtherCertificate {
    pub(crate) expected: Digest,
    pub(crate) seen: Digest,
}

#[derive(Debug)]
struct Pinned {
    expected: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let seen = Digest::of(end_entity);
        if seen == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherCertificate { expected: self.expected, seen };
        Err(CertificateError::Other(OtherError(Arc::new(other))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS configuration that accepts this certificate only.
pub(crate) fn pinned(expected: Digest) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Pinned { expected, provider: provider.clone() };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Looks for [`OtherCertificate`] in an error's chain, also inside `io::Error` and `rustls::Error`.
pub(crate) fn other_certificate(error: &(dyn StdError + 'static)) -> Option<OtherCertificate> {
    if let Some(other) = error.downcast_ref::<OtherCertificate>() {
        return Some(*other);
    }
    if let Some(TlsError::InvalidCertificate(CertificateError::Other(OtherError(inner)))) =
        error.downcast_ref()
    {
        return inner.downcast_ref::<OtherCertificate>().copied();
    }
    let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    if let Some(found) = inside.and_then(|inner| other_certificate(inner)) {
        return Some(found);
    }
    error.source().and_then(other_certificate)
}
