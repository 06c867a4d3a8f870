//! `felhom audit`.

use clap::Subcommand;
use felhom_model::GuestUuid;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify an exported audit log: each entry, the signed head with the pinned key, and the heads that the hub was told.
    #[command(
        after_help = "On the box, as root:\n  felhom-executor audit export > audit.jsonl\n\nExample:\n  felhom audit verify kovacs --file audit.jsonl\n\nA log that is older than what the hub was told is not good: export it again."
    )]
    Verify {
        /// The box; its key has to be pinned.
        name: String,
        /// As `felhom-executor audit export` wrote it.
        #[arg(long)]
        file: PathBuf,
        /// Do not ask the hub: a log that was cut and signed again by the box itself is not found then.
        #[arg(long)]
        offline: bool,
    },
    /// Show the entries of an exported audit log, after verifying it. Asks no hub.
    #[command(
        after_help = "Example:\n  felhom audit show kovacs --file audit.jsonl --guest 0f8fad5b-d9cb-469f-a165-70867728950e"
    )]
    Show {
        /// The box; its key has to be pinned.
        name: String,
        /// As `felhom-executor audit export` wrote it.
        #[arg(long)]
        file: PathBuf,
        /// Only what concerns this guest.
        #[arg(long)]
        guest: Option<GuestUuid>,
    },
}
