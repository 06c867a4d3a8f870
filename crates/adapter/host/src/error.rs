//! Why a root act did not succeed.

use std::io;
use std::path::PathBuf;

use felhom_model::Digest;

use crate::act::RootAct;

/// Why a root act did not succeed, with what was tried on what. Standard error of programs is quoted; what was pushed or
/// given to a program's standard input never is.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The program could not be started.
    #[error("{act}: cannot start `{program}`: {source}; check the path in the configuration")]
    Start {
        /// What was tried.
        act: RootAct,
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The program ended with a failure of its own (never the guest program's exit code of [`crate::Host::exec`]).
    #[error("{act} on {target} failed ({status}): {stderr}")]
    Failed {
        /// What was tried.
        act: RootAct,
        /// On what.
        target: String,
        /// How it ended.
        status: String,
        /// The end of its standard error.
        stderr: String,
    },
    /// It did not end in time and was killed. What it started inside a guest may go on.
    #[error("{act} on {target} took longer than {seconds} s and was killed; what it started may go on")]
    TimedOut {
        /// What was tried.
        act: RootAct,
        /// On what.
        target: String,
        /// How long it was given.
        seconds: u64,
    },
    /// It wrote more than it may and was killed.
    #[error("{act} on {target} wrote more than {limit} bytes and was killed")]
    TooMuchOutput {
        /// What was tried.
        act: RootAct,
        /// On what.
        target: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// A file or directory of the host could not be used.
    #[error("{act}: cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        act: RootAct,
        /// What was being done, e.g. `read`.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was asked for is not allowed by this crate's own rules.
    #[error("{act} on {target} is refused: {reason}")]
    Refused {
        /// What was asked for.
        act: RootAct,
        /// On what.
        target: String,
        /// The rule.
        reason: String,
    },
    /// The bytes are not the expected ones; nothing was placed.
    #[error("{} has the digest {seen}, expected {expected}; nothing was placed", path.display())]
    OtherBytes {
        /// The file that was read.
        path: PathBuf,
        /// The expected digest.
        expected: Digest,
        /// The digest of what was read.
        seen: Digest,
    },
}
