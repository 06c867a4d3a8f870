//! Why an archive was not imported.

use std::path::PathBuf;

use felhom_model::Digest;
use felhom_signing::SignatureError;

use crate::golden_record::RecordError;

/// Why an archive was not imported. Each refusal has a name, see [`GoldenError::reason`].
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is longer than such a file ever is.
    #[error("{} is longer than {limit} bytes, which is no such file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A key of the configuration cannot be used.
    #[error("configuration: `{key}`: {why}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The release's signature does not count.
    #[error("{}: {source}; only releases signed by one of `release_keys` are imported", path.display())]
    Signature {
        /// The signature's file.
        path: PathBuf,
        /// Which check failed.
        source: SignatureError,
    },
    /// The signed document is none that is understood here.
    #[error("{}: {why}", path.display())]
    Release {
        /// The document's file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The release is older than one that is here.
    #[error("release {offered} is older than release {here}, from which an archive is imported already")]
    Older {
        /// The version of the document.
        offered: u64,
        /// The highest version here.
        here: u64,
    },
    /// The release does not name this file.
    #[error(
        "{} has the digest {seen}, which release {release} does not name as a golden archive (it names: {named})",
        path.display()
    )]
    NotNamed {
        /// The archive's file.
        path: PathBuf,
        /// Its digest.
        seen: Digest,
        /// The release's version.
        release: u64,
        /// Digests that it names.
        named: String,
    },
    /// The file is no archive of a container.
    #[error("{} is no container archive that can be used: {why}", path.display())]
    NotAnArchive {
        /// The archive's file.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// The configuration inside holds what must not reach the host.
    #[error(
        "the configuration in {} holds what no golden archive may hold: {}",
        path.display(), lines.join(" | ")
    )]
    Forbidden {
        /// The archive's file.
        path: PathBuf,
        /// The lines.
        lines: Vec<String>,
    },
    /// The storage cannot take it.
    #[error("storage `{storage}`: {why}")]
    Storage {
        /// The storage.
        storage: String,
        /// What is wrong with it.
        why: String,
    },
    /// Read back, it is not as it was placed.
    #[error("{volid} was placed, but {why}")]
    NotSo {
        /// The archive.
        volid: String,
        /// What is not so.
        why: String,
    },
    /// The record could not be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A root act failed.
    #[error(transparent)]
    Host(#[from] felhom_host::HostError),
    /// Proxmox refused a call or had no answer.
    #[error(transparent)]
    Pve(#[from] felhom_pve::Error),
}

impl GoldenError {
    /// The name of a refusal; `None` if something failed instead.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Signature { .. } => Some("bad_signature"),
            Self::Release { .. } => Some("bad_release"),
            Self::Older { .. } => Some("older_release"),
            Self::NotNamed { .. } => Some("not_in_release"),
            Self::NotAnArchive { .. } | Self::TooLong { .. } => Some("not_an_archive"),
            Self::Forbidden { .. } => Some("forbidden_config"),
            Self::Host(felhom_host::HostError::OtherBytes { .. }) => Some("changed_while_reading"),
            Self::Read { .. }
            | Self::Config { .. }
            | Self::Storage { .. }
            | Self::NotSo { .. }
            | Self::Record(_)
            | Self::Host(_)
            | Self::Pve(_) => None,
        }
    }

    /// The process's exit code, as `--help` lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config { .. } => 2,
            Self::Pve(felhom_pve::Error::Unreachable { .. } | felhom_pve::Error::PinMismatch { .. }) => 4,
            other if other.reason().is_some() => 3,
            _ => 1,
        }
    }
}
