//! Why setup did not do it, with what to do.

use std::path::PathBuf;

use felhom_pve::{Error, Fingerprint};

use super::SetupConfig;

/// Why setup did not do it.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A key of the configuration cannot be used.
    #[error("configuration: `{key}`: {why}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No password was given.
    #[error("no password: {why}; give root@pam's password on the terminal or with --password-file FILE")]
    Password {
        /// What happened.
        why: String,
    },
    /// The password is wrong.
    #[error("{server} refuses the password of root@pam; nothing was changed")]
    WrongPassword {
        /// `host:port`.
        server: String,
    },
    /// The configuration pins no certificate yet.
    #[error(
        "no certificate is pinned for {server}. It shows {seen}. Compare that with `pvenode cert info` on the host \
         itself, then write it to the configuration:\n  [pve]\n  fingerprint = \"{seen}\""
    )]
    NotPinned {
        /// `host:port`.
        server: String,
        /// The fingerprint that it shows.
        seen: Fingerprint,
    },
    /// The server shows another certificate than the pinned one.
    #[error(
        "{server} shows a certificate with fingerprint {seen}, but {expected} is pinned. Nothing was sent. If the \
         certificate was renewed, compare with `pvenode cert info` on the host itself, then write it to the \
         configuration:\n  [pve]\n  fingerprint = \"{seen}\""
    )]
    WrongFingerprint {
        /// `host:port`.
        server: String,
        /// The pinned fingerprint.
        expected: Fingerprint,
        /// The fingerprint that it shows.
        seen: Fingerprint,
    },
    /// Something that the configuration names does not exist at the host.
    #[error("there is no {what} at this host (there are: {there}); check `{key}` in the configuration")]
    Unknown {
        /// What is missing.
        what: String,
        /// What there is instead.
        there: String,
        /// The key that names it.
        key: &'static str,
    },
    /// The secret's file cannot be written.
    #[error("cannot write the token's secret to {}: {source}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Read back, it is not as it was set.
    #[error("read back, this is still not so: {what}; somebody else may be changing it, run it again")]
    NotSo {
        /// What is not so.
        what: String,
    },
    /// Teardown would take the token from under an executor.
    #[error("an executor serves ({why}); `systemctl stop felhom-agent felhom-executor`, and run it again")]
    Serves {
        /// How that shows.
        why: String,
    },
    /// A call was refused or had no answer.
    #[error(transparent)]
    Pve(#[from] Error),
}

impl SetupError {
    /// Puts a failed login into words.
    pub(crate) fn from_login(error: Error, config: &SetupConfig) -> Self {
        match error {
            Error::PinMismatch { server, expected, seen } => match config.fingerprint {
                Some(_) => Self::WrongFingerprint { server, expected, seen },
                None => Self::NotPinned { server, seen },
            },
            Error::Unauthorized(refusal) => Self::WrongPassword { server: refusal.call.server },
            other => Self::Pve(other),
        }
    }

    /// The process's exit code, as `--help` lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config { .. } | Self::Password { .. } => 2,
            Self::WrongPassword { .. } | Self::Pve(Error::Unauthorized(_) | Error::Forbidden(_)) => 3,
            Self::Pve(Error::Unreachable { .. } | Error::NoAnswer { .. } | Error::Overloaded(_)) => 4,
            Self::NotPinned { .. } | Self::WrongFingerprint { .. } | Self::Pve(Error::PinMismatch { .. }) => {
                5
            }
            Self::Serves { .. } => 7,
            Self::Unknown { .. } | Self::SecretFile { .. } | Self::NotSo { .. } | Self::Pve(_) => 1,
        }
    }
}
