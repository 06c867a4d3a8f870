//! The command line, with its help. Nothing is decided here.

mod audit;
mod operators;

pub(crate) use self::audit::AuditCommand;
pub(crate) use self::operators::{NewKeys, NextVersion, OperatorsCommand, Written};
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

Configuration: ~/.config/felhom/config.toml with hub_url, hub_fingerprint, token_file, known_boxes and sign_with;
each is overridden by its option, and by FELHOM_HUB_URL, FELHOM_HUB_FINGERPRINT, FELHOM_TOKEN_FILE, FELHOM_KNOWN_BOXES,
FELHOM_SIGN_WITH.";

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
    /// Boxes: add, list, show, pin and unpin their key.
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
    /// Challenges of boxes: what waits for a signature.
    #[command(subcommand)]
    Challenges(ChallengesCommand),
    /// Sign a challenge: it is verified, shown, and signed with your own key; the box carries it out, or not.
    Approve(ApproveArgs),
    /// Stop an operation while it waits for signatures or for its grace.
    Veto(VetoArgs),
    /// Audit logs of boxes: what a box was asked for, what people said to it, what it destroyed.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The operators' file: whose signatures count on the boxes. Only `submit` needs the hub.
    #[command(subcommand)]
    Operators(OperatorsCommand),
    /// Manual pages, one for each command, e.g. `felhom man /usr/local/share/man/man1`.
    Man {
        /// Where to; it is made if it is not there.
        dir: PathBuf,
    },
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
        /// Replace this other pin, after a re-installation that you know of: the old fingerprint, so that no habit replaces it.
        #[arg(long, value_name = "OLD")]
        replace: Option<String>,
    },
    /// Forget a pin. What the box signs does not count on this machine any more.
    #[command(
        after_help = "Example:\n  felhom box unpin kovacs SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE"
    )]
    Unpin {
        /// Its name.
        name: String,
        /// The fingerprint that is pinned.
        fingerprint: String,
    },
    /// The pins of this machine. Asks no hub.
    Pins,
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
        after_help = "Example file:\n  schema = \"felhom.desired/v1\"\n  [[guest]]\n  name = \"family\"\n  apps = [\"sample\"]\n  [guest.backup]\n  schedule = \"30 2 * * *\"\n  target = \"local\"\n  [limits]\n  keep_backups = 5\n\n[limits] can only make a box's own limits stricter: max_guests, reserve_bytes, target_full_percent,\ngrace_s, signatures_per_day, keep_backups, keep_spread_h.\nWhat is absent is left alone; nothing is ever deleted by leaving it out."
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
    /// Lead an operation on that needs an operator; its reason says which ways it offers. An operator signs for it.
    #[command(
        after_help = "Ways:\n  retry      forward again; the step asks the real system first\n  roll_back  take back what was made\n  accept     somebody has cleared up by hand\n\nExample:\n  felhom ops resolve kovacs 01J8ZQ4Q0R8M3T5V7X9Z1B2D3F retry"
    )]
    Resolve {
        /// The box.
        name: String,
        /// Its id.
        id: OperationId,
        /// How it goes on.
        #[arg(value_parser = ["retry", "roll_back", "accept"])]
        way: String,
        /// Return at once instead of waiting until somebody has to sign.
        #[arg(long)]
        no_wait: bool,
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

#[derive(Debug, Subcommand)]
pub(crate) enum ChallengesCommand {
    /// All that the hub has, each verified with the pinned key of its box.
    List,
    /// One challenge with everything that it says.
    #[command(after_help = "Example:\n  felhom challenges show 3f9a01c2b7d4")]
    Show {
        /// Its digest, or how that begins.
        id: String,
    },
}

/// `felhom approve`.
#[derive(Debug, Clone, Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).args(["id", "import", "offline"]),
    after_help = "Examples:\n  felhom approve 3f9a01c2b7d4 --sign-with ~/.ssh/id_ed25519_sk\n  felhom approve 3f9a01c2b7d4 --sign-with ~/.ssh/id_ed25519.pub   (signed by the ssh agent)\n\nOn a machine without network:\n  felhom approve 3f9a01c2b7d4 --export challenge.json\n  felhom approve --offline challenge.json --sign-with KEY         (there)\n  felhom approve --import challenge.json"
)]
pub(crate) struct ApproveArgs {
    /// The challenge: its digest, or how that begins.
    pub(crate) id: Option<String>,
    /// Your key: the private key's file, or the .pub file of a key that the ssh agent holds [default: sign_with of the configuration].
    #[arg(long, value_name = "KEY", env = "FELHOM_SIGN_WITH")]
    pub(crate) sign_with: Option<PathBuf>,
    /// Sign without typing the names of what would be changed.
    #[arg(long)]
    pub(crate) yes_i_read: bool,
    /// Write the challenge to a file instead of signing it.
    #[arg(long, value_name = "FILE", requires = "id")]
    pub(crate) export: Option<PathBuf>,
    /// Write over a file that is there.
    #[arg(long, requires = "export")]
    pub(crate) force: bool,
    /// Sign a challenge that was exported; asks no hub. The box must be pinned on this machine too.
    #[arg(long, value_name = "FILE")]
    pub(crate) offline: Option<PathBuf>,
    /// Send the signatures of a file that was signed with --offline.
    #[arg(long, value_name = "FILE")]
    pub(crate) import: Option<PathBuf>,
}

/// `felhom veto`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  felhom veto 01K6Z3NDEKTSV4RRFFQ69G5FAV --reason \"the customer called\"\n\nThe operation's id stands in `felhom challenges list` and `felhom ops list`. One that asks nobody for a signature, such as a\nrotation of the operators' file, is vetoed the same way while its grace runs."
)]
pub(crate) struct VetoArgs {
    /// The operation that waits.
    pub(crate) operation: OperationId,
    /// Why; it stands in the box's journal.
    #[arg(long)]
    pub(crate) reason: String,
    /// Your key: the private key's file, or the .pub file of a key that the ssh agent holds [default: sign_with of the configuration].
    #[arg(long, value_name = "KEY", env = "FELHOM_SIGN_WITH")]
    pub(crate) sign_with: Option<PathBuf>,
    /// Sign without typing the names of what it concerns.
    #[arg(long)]
    pub(crate) yes_i_read: bool,
    /// Return at once instead of waiting for the box's word.
    #[arg(long)]
    pub(crate) no_wait: bool,
}
