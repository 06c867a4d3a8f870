//! One error for all four clients, with enough context to be shown as it is.

use felhom_model::Digest;
use felhom_protocol::ErrorBody;
use jiff::Timestamp;
use std::fmt;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {kind}")]
pub struct Error {
    /// What was tried on what, e.g. `POST https://hub:7443/api/v1/sync`.
    pub call: String,
    /// Why it failed; part of this error's own text.
    pub kind: ErrorKind,
}

/// The reasons, apart where a caller acts differently.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// Nobody answers there.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Somebody answers with another certificate than the pinned one.
    #[error(
        "shows the certificate {seen} instead of the pinned {expected}; if it was replaced on purpose, pin the new one, else somebody stands in between"
    )]
    OtherCertificate {
        /// Pinned.
        expected: Digest,
        /// Shown.
        seen: Digest,
    },
    /// It took too long.
    #[error("did not answer in time")]
    TimedOut,
    /// The other side refused, in its own words.
    #[error("{}", Refusal(*status, body))]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        body: Box<ErrorBody>,
        /// The hub's clock, if the hub signed the refusal.
        time: Option<Timestamp>,
    },
    /// The answer is not what was agreed.
    #[error("answered something that this version does not understand: {0}")]
    Malformed(String),
    /// The answer is not signed by the pinned key, or belongs to another request.
    #[error("the answer is not from the pinned hub: {0}")]
    Forged(String),
    /// Something here, before anything was sent.
    #[error("could not be prepared: {0}")]
    Local(String),
}

struct Refusal<'a>(u16, &'a ErrorBody);

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status, ErrorBody { message, hint, .. }) = self;
        write!(f, "{message} (HTTP {status})")?;
        hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl Error {
    /// The stable word of a refusal, e.g. `unknown_token`.
    pub fn refusal(&self) -> Option<&str> {
        match &self.kind {
            ErrorKind::Refused { body, .. } => Some(&body.error),
            ErrorKind::Unreachable(_)
            | ErrorKind::OtherCertificate { .. }
            | ErrorKind::TimedOut
            | ErrorKind::Malformed(_)
            | ErrorKind::Forged(_)
            | ErrorKind::Local(_) => None,
        }
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            ErrorKind::Refused { status, .. } => Some(status),
            ErrorKind::Unreachable(_)
            | ErrorKind::OtherCertificate { .. }
            | ErrorKind::TimedOut
            | ErrorKind::Malformed(_)
            | ErrorKind::Forged(_)
            | ErrorKind::Local(_) => None,
        }
    }
}
