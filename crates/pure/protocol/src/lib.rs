//! Wire formats between the programs, versioned and apart from the domain types.
//!
//! | module | between |
//! |---|---|
//! | [`hub_sync`] | agent → hub: enrolment, signed sync, jobs, reports |
//! | [`desired`] | operator → hub → agent: the document of desired state |
//! | [`hub_api`] | CLI → hub: the operator's JSON API |
//! | [`executor`] | agent → executor: operation requests, observation, events on the unix socket |
//! | [`local_api`] | controller → agent: heartbeat, backup handshake; and the bootstrap files in the guest |
//! | [`notices`] | executor ↔ controller by `pct push` and `pct exec`: what a customer is told, and the answers |
//! | [`probe`] | executor → controller by `pct exec`: what a restored guest answers |
//! | [`release`] | release keys → every program |
//! | [`receipt`] | executor → everybody: what a restore test proved |
//! | [`audit`] | executor → everybody: what the box did, entry by entry |
//! | [`status`] | shared shapes of reports: guests, operations, archives, conditions |
//!
//! Rules: unknown fields are errors in what a person writes and are ignored in what a newer program may send; times are
//! RFC 3339; sizes are bytes unless the name says otherwise; binary is base64.

pub mod audit;
pub mod desired;
pub mod executor;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod hub_api;
pub mod hub_sync;
pub mod local_api;
pub mod notices;
pub mod probe;
pub mod receipt;
pub mod release;
pub mod status;

pub use felhom_signing::base64_bytes;
use serde::{Deserialize, Serialize};

/// Bytes with a detached signature, as they travel: both base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedBytes {
    /// Exactly the bytes that were signed, base64.
    #[serde(with = "base64_bytes")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, content_encoding = "base64", pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"))]
    pub bytes: Vec<u8>,
    /// Ed25519 signature, base64.
    pub signature: felhom_signing::Signature,
}

impl From<felhom_signing::Signed> for SignedBytes {
    fn from(signed: felhom_signing::Signed) -> Self {
        Self { bytes: signed.bytes, signature: signed.signature }
    }
}
impl From<SignedBytes> for felhom_signing::Signed {
    fn from(wire: SignedBytes) -> Self {
        Self { bytes: wire.bytes, signature: wire.signature }
    }
}

/// The body of every error answer of our own APIs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// Stable word for programs, e.g. `unknown_token`.
    pub error: String,
    /// What was tried on what and why it failed, for people.
    pub message: String,
    /// What to do about it, if anything is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
