//! `felhom-executor audit`: the audit log for local root, read from the running executor's socket.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use felhom_protocol::audit::{AuditEnd, AuditPage};
use serde_json::json;

use crate::config::Config;
use crate::ops::get;

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Write the whole log to standard output: an entry a line, and the signed head on the last one.
    #[command(
        after_help = "Exit codes: 0 written; 1 the executor does not answer, or the log could not be written.\n\nExample:\n  felhom-executor audit export > audit.jsonl\n\nThen, on an operator's machine:\n  felhom audit verify BOX --file audit.jsonl"
    )]
    Export {
        /// The log is JSON anyway, a value a line; said here as everywhere.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub async fn execute(config: &Config, command: &AuditCommand) -> ExitCode {
    let AuditCommand::Export { json: _ } = command;
    match export(&config.socket).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("felhom-executor: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn export(socket: &Path) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let mut after = 0;
    loop {
        let body = get(socket, &format!("/v1/audit?after={after}")).await?;
        let page: AuditPage =
            serde_json::from_str(&body).map_err(|e| format!("its answer cannot be read: {e}"))?;
        let written = |e: std::io::Error| format!("standard output: {e}");
        for entry in &page.entries {
            out.write_all(&entry.bytes).and_then(|()| out.write_all(b"\n")).map_err(written)?;
            after = entry.seq;
        }
        if page.more && !page.entries.is_empty() {
            continue;
        }
        let end = AuditEnd { head: page.head, attestation_key: page.attestation_key };
        return writeln!(out, "{}", json!({ "end": end })).map_err(written);
    }
}
