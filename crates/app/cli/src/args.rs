//! The command line, with its help. Nothing is decided here.

use clap::{Args, Parser, Subcommand};
use felhom_model::backup::Level;
use felhom_model::{Digest, Generation, OperationId, Volid};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  refused: by the hub, or by the box's gate (the evidence is printed)
  4  the hub cannot be reached, or is not the pinned one
  5  something signed does not verify, or no key is pinned for the box

Configuration: ~/.config/felhom/config.toml with hub_url, hub_fingerprint and token_file;
each is overridden by its option, and by FELHOM_HUB_URL, FELHOM_HUB_FINGERPRINT, FELHOM_TOKEN_FILE.";

/// Looks after Felhom boxes: enrolment, desired state, operations, backups and their proofs.
#[derive(Debug, Parser)]
#[command(name = "felhom", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The hub, e.g. https://hub.example:7443.
    #[arg(long, global = true, env = "FELHOM_HUB_URL")]
    pub(crate) hub_url: Option<String>,
    /// SHA-256 of the hub's TLS certificate, `sha256:…`, as `felhom-hub init` prints it.
    #[arg(long, global = true, env = "FELHOM_HUB_FINGERPRINT")]
    pub(crate) hub_fingerprint: Option<Digest>,
    /// File that holds the operator's token (0600).
    #[arg(long, global = true, env = "FELHOM_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Configuration file.
    #[arg(long, global = true, env = "FELHOM_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Keys of boxes that this machine has pinned [default: known_boxes beside the configuration].
    #[arg(long, global = true, env = "FELHOM_KNOWN_BOXES")]
    pub(crate) known_boxes: Option<PathBuf>,
    /// Print one line of JSON on standard output; text for people goes to standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Boxes: add, list, show, pin their key.
    #[command(subcommand)]
    Box(BoxCommand),
    /// Desired state: show, set, plan, history.
    #[command(subcommand)]
    Desired(DesiredCommand),
    /// Operations of a box: list, show, watch.
    #[command(subcommand)]
    Ops(OpsCommand),
    /// Backups: run one now, list archives.
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Restores: bring a backup back beside the guest, into a new VMID.
    #[command(subcommand)]
    Restore(RestoreCommand),
    /// Restore tests: prove a backup now, list receipts.
    #[command(subcommand)]
    RestoreTest(RestoreTestCommand),
    /// Any other job: the box's gate decides, its answer is shown.
    #[command(subcommand)]
    Job(JobCommand),
    /// Completion script for a shell, e.g. `felhom completion bash > /etc/bash_completion.d/felhom`.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BoxCommand {
    /// Make a box record and print its one-time enrolment ticket.
    #[command(
        after_help = "Example:\n  felhom box add kovacs --ttl-minutes 30\n\nThen, on the box:\n  felhom-agent enroll TICKET"
    )]
    Add {
        /// A DNS label.
        name: String,
        /// How long the ticket is good; at most 4320 (72 h).
        #[arg(long, default_value_t = 15)]
        ttl_minutes: u64,
        /// A new ticket for a box that has one, or was enrolled before; the old one is void then.
        #[arg(long)]
        renew: bool,
    },
    /// The fleet, by risk.
    List,
    /// One box: guests, conditions, backups, jobs.
    Show {
        /// Its name.
        name: String,
    },
    /// Pin the box's attestation key, as `felhom-agent enroll` printed it on the box.
    #[command(
        after_help = "Example:\n  felhom box pin kovacs SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE\n\nRead it on the box itself. Never take it from the hub: the pin is there to find out a hub that lies."
    )]
    Pin {
        /// Its name.
        name: String,
        /// `SHA256:…`
        fingerprint: String,
        /// Replace another pin, after a re-installation that you know of.
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DesiredCommand {
    /// The newest desired state, as TOML.
    Show {
        /// The box.
        name: String,
    },
    /// Set desired state from a TOML file. Shows the plan first with --dry-run.
    #[command(
        after_help = "Example file:\n  schema = \"felhom.desired/v1\"\n  [[guest]]\n  name = \"family\"\n  apps = [\"sample\"]\n  [guest.backup]\n  schedule = \"30 2 * * *\"\n  target = \"local\"\n\nWhat is absent is left alone; nothing is ever deleted by leaving it out."
    )]
    Set {
        /// The box.
        name: String,
        /// TOML file, or `-` for standard input.
        file: PathBuf,
        /// For the history.
        #[arg(long, short, default_value = "")]
        message: String,
        /// Refuse unless this is the newest generation.
        #[arg(long)]
        if_generation: Option<u64>,
        /// Check it and show the plan, change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// What a desired state would lead to.
    Plan {
        /// The box.
        name: String,
        /// TOML file, or `-` for standard input.
        file: PathBuf,
    },
    /// All generations, newest first.
    History {
        /// The box.
        name: String,
    },
}

impl DesiredCommand {
    /// The generation to compare with, typed.
    pub(crate) fn generation(number: Option<u64>) -> Option<Generation> {
        number.map(Generation)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum OpsCommand {
    /// Operations, newest first.
    List {
        /// The box.
        name: String,
    },
    /// One operation with its steps, verdict and evidence.
    Show {
        /// The box.
        name: String,
        /// Its id.
        id: OperationId,
    },
    /// Follow an operation, or everything that runs, until it is over.
    Watch {
        /// The box.
        name: String,
        /// Its id; absent: all that run.
        id: Option<OperationId>,
    },
}

/// A job that concerns one guest.
#[derive(Debug, Clone, Args)]
pub(crate) struct GuestArgs {
    /// The box.
    pub(crate) name: String,
    /// The guest's name or uuid.
    pub(crate) guest: String,
    /// Return at once instead of waiting for the end.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Back a guest up now.
    #[command(after_help = "Example:\n  felhom backup run kovacs family")]
    Run(GuestArgs),
    /// Archives of a box, newest first, with downtime and proven level.
    List {
        /// The box.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    /// Restore a backup into a new VMID, beside the guest, with its network link down.
    #[command(
        after_help = "Example:\n  felhom restore run kovacs family --archive local:backup/vzdump-lxc-2000-2026_11_24-02_30_00.tar.zst"
    )]
    Run {
        #[command(flatten)]
        guest: GuestArgs,
        /// The archive; absent: the newest.
        #[arg(long)]
        archive: Option<Volid>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RestoreTestCommand {
    /// Prove a backup now, in a scratch guest that is destroyed afterwards.
    Run {
        #[command(flatten)]
        guest: GuestArgs,
        /// The archive; absent: the newest.
        #[arg(long)]
        archive: Option<Volid>,
        /// How far: L1 restores, L2 boots, L3 apps and databases, L4 content.
        #[arg(long, default_value = "L4")]
        level: Level,
    },
    /// Receipts, newest first, each verified against the pinned key of the box.
    List {
        /// The box.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Ask the box for any operation by name.
    #[command(after_help = "Example:\n  felhom job run kovacs stop_guest --param guest=family")]
    Run {
        /// The box.
        name: String,
        /// An operation's name.
        kind: String,
        /// Parameters, `KEY=VALUE`; a value that is JSON is taken as such.
        #[arg(long = "param", value_name = "KEY=VALUE")]
        params: Vec<String>,
        /// Return at once instead of waiting for the end.
        #[arg(long)]
        no_wait: bool,
    },
    /// Jobs, newest first.
    List {
        /// The box.
        name: String,
    },
}
