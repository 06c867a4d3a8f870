//! `felhom operators`, with its help.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What a key may sign.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum RoleArg {
    /// Challenges and rotations.
    Operator,
    /// Rotations only.
    Recovery,
}

impl From<RoleArg> for felhom_signing::operators::Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Operator => Self::Operator,
            RoleArg::Recovery => Self::Recovery,
        }
    }
}

/// Keys of one person.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewKeys {
    /// Whose keys: a-z, 0-9, `.`, `_`, `@`, `-`. Several keys of one name count once.
    #[arg(long)]
    pub(crate) name: String,
    /// A public key's file; may be repeated.
    #[arg(long, required = true, value_name = "FILE.pub")]
    pub(crate) key: Vec<PathBuf>,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Written {
    /// Write over a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
    /// Show it, write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A proposed next version.
#[derive(Debug, Clone, Args)]
pub(crate) struct NextVersion {
    /// So many distinct names must sign the version after [default: as before].
    #[arg(long)]
    pub(crate) threshold: Option<u8>,
    /// Where to [default: operators-VERSION.json beside the file].
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) written: Written,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorsCommand {
    /// Make version 1, to be installed on boxes from local media.
    #[command(
        after_help = "Example:\n  felhom operators init --name ada --key ~/.ssh/id_ed25519_sk.pub -o operators.json"
    )]
    Init {
        #[command(flatten)]
        keys: NewKeys,
        /// So many distinct names must sign a next version.
        #[arg(long, default_value_t = 1)]
        threshold: u8,
        /// Where to.
        #[arg(long, short, default_value = "operators.json")]
        output: PathBuf,
        #[command(flatten)]
        written: Written,
    },
    /// Propose a next version with more keys.
    #[command(
        after_help = "Example:\n  felhom operators add operators.json --name bela --key bela.pub --threshold 2\n  felhom operators add operators.json --name vault --key vault.pub --role recovery"
    )]
    Add {
        /// The version in force.
        file: PathBuf,
        #[command(flatten)]
        keys: NewKeys,
        /// What the keys may sign.
        #[arg(long, value_enum, default_value = "operator")]
        role: RoleArg,
        #[command(flatten)]
        next: NextVersion,
    },
    /// Propose a next version without a key.
    #[command(
        after_help = "Example:\n  felhom operators remove operators.json --key SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE"
    )]
    Remove {
        /// The version in force.
        file: PathBuf,
        /// Its fingerprint.
        #[arg(long)]
        key: String,
        #[command(flatten)]
        next: NextVersion,
    },
    /// Show a version.
    Show {
        /// The file.
        file: PathBuf,
    },
    /// Sign a proposed version; the signature is added to its bundle.
    #[command(
        after_help = "Example:\n  felhom operators rotate operators-2.json --sign-with ~/.ssh/id_ed25519_sk\n\nThe bundle, operators-2.signed.json, is then given to the next one who has to sign:\n  felhom operators rotate operators-2.signed.json --sign-with KEY"
    )]
    Rotate {
        /// The proposal, or its bundle.
        proposal: PathBuf,
        /// Your key: the private key's file, or the .pub file of a key that the ssh agent holds [default: sign_with of the configuration].
        #[arg(long, value_name = "KEY", env = "FELHOM_SIGN_WITH")]
        sign_with: Option<PathBuf>,
        /// The bundle [default: PROPOSAL with the ending .signed.json, or the bundle that was given].
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// Show what would be signed, sign nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Say who signed a proposed version and what is missing; exit code 5 if it may not follow.
    #[command(after_help = "Example:\n  felhom operators verify operators.json operators-2.signed.json")]
    Verify {
        /// The version in force.
        old: PathBuf,
        /// The bundle, or the bare proposal.
        new: PathBuf,
    },
    /// Hand a bundle that has all its signatures to a box. It comes into force there after its grace, unless somebody vetoes it.
    #[command(
        after_help = "Example:\n  felhom operators submit kovacs operators-2.signed.json\n\nThe bundle is checked here first, as the box will check it. The same bundle again is the same job. To stop it while its\ngrace runs: felhom veto OPERATION --reason …"
    )]
    Submit {
        /// The box.
        name: String,
        /// The bundle.
        bundle: PathBuf,
        /// The version in force on the box [default: operators-VERSION.json or operators.json beside the bundle].
        #[arg(long, value_name = "FILE")]
        old: Option<PathBuf>,
        /// Return at once instead of waiting until its grace runs.
        #[arg(long)]
        no_wait: bool,
    },
}
