//! Failures and their exit codes.

use felhom_client::{Error, ErrorKind};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Anything that is none of the others.
    #[error("{0}")]
    Failed(String),
    /// The box's gate said no, or the operation was rolled back.
    #[error("{0}")]
    Refused(String),
    /// A signature or a pin.
    #[error("{0}")]
    Unverified(String),
    /// One of the others, whose JSON was printed with the result already.
    #[error("{0}")]
    Told(Box<Failure>),
    /// The hub.
    #[error("{0}")]
    Hub(#[from] Error),
}

impl Failure {
    /// The exit code, see `felhom --help`.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Refused(_) => 3,
            Self::Unverified(_) => 5,
            Self::Told(failure) => failure.code(),
            Self::Hub(error) => match error.kind {
                ErrorKind::Refused { .. } => 3,
                ErrorKind::Unreachable(_) | ErrorKind::OtherCertificate { .. } | ErrorKind::TimedOut => 4,
                ErrorKind::Forged(_) => 5,
                ErrorKind::Malformed(_) | ErrorKind::Local(_) => 1,
            },
        }
    }
}
