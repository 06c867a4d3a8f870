//! `felhom-executor install` and `uninstall`: programs, users, directories, configuration and systemd units on a host.
//!
//! ```text
//! parts (pure)  what belongs to a box, and to a hub's server
//!      └─▶ judge (pure)  each file: make, replace, leave alone; edited files are left alone
//!               └─▶ apply  through felhom_host, one line said for each
//! ```
//! What was written is remembered by digest in `/var/lib/felhom/install-PART.json`: a file that is not as it was written was
//! edited. Users that were made are remembered there, too: only those are removed. So it can be run again, with newer programs too, and undone: what holds data or was edited stays and is named.

mod apply;
pub mod command;
mod config_file;
mod judge;
mod parts;
mod record;
mod undo;

use std::path::PathBuf;

use felhom_host::HostError;
use felhom_model::StorageId;

use crate::setup::Line;

/// What is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Agent and executor, on a Proxmox host.
    Box,
    /// Hub and command line, on the operator's server.
    Hub,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Only root may.
    #[error(
        "only root can do this: users, units and /opt are root's; --root DIR puts it into a directory instead"
    )]
    NotRoot,
    /// A program is not beside this one.
    #[error(
        "cannot read the program {path}: {source}; --from DIR names the directory that holds all programs"
    )]
    Program {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The first configuration needs to know something.
    #[error("{what}; `{command}` shows what there is")]
    Needs {
        /// What is missing.
        what: String,
        /// What shows it.
        command: &'static str,
    },
    /// A file that was named cannot be read or used.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A user that was made is not there.
    #[error("the user `{user}` is not in /etc/passwd, although systemd-sysusers made it")]
    NoUser {
        /// Its name.
        user: &'static str,
    },
    /// The name is taken.
    #[error(
        "the user `{user}` (number {uid}, shell {shell}) is there, and install did not make it: it looks like somebody's; \
         give it another name (`usermod --login NEW {user}`), and run it again"
    )]
    Somebodys {
        /// Its name.
        user: &'static str,
        /// Its number.
        uid: u32,
        /// What it gets at login.
        shell: String,
    },
    /// An act as root failed.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// What the configuration of a box needs to know.
#[derive(Debug, Clone, Default)]
pub struct BoxChoices {
    /// Guests' volumes.
    pub guest_storage: Option<StorageId>,
    /// Backups.
    pub backup_storage: Option<StorageId>,
    /// Golden archives; the backups' if absent.
    pub golden_storage: Option<StorageId>,
    /// Files with a release key each, as in a `.pub` file.
    pub release_keys: Vec<PathBuf>,
    /// The host's address that guests see.
    pub address: Option<std::net::IpAddr>,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// What.
    pub part: Part,
    /// The host's `/`.
    pub root: PathBuf,
    /// Where the programs are.
    pub from: PathBuf,
    /// For the first configuration of a box.
    pub choices: BoxChoices,
    /// Say it and change nothing.
    pub dry_run: bool,
}

/// Installs, or installs again.
///
/// # Errors
/// [`InstallError`]; what was done before stays, and running it again goes on.
pub async fn install(options: &InstallOptions) -> Result<Vec<Line>, InstallError> {
    apply::install(options).await
}

/// Takes away what was installed, as far as it holds no data and was not edited.
///
/// # Errors
/// [`InstallError`]; running it again goes on.
pub async fn uninstall(part: Part, root: PathBuf, dry_run: bool) -> Result<Vec<Line>, InstallError> {
    undo::uninstall(part, root, dry_run).await
}
