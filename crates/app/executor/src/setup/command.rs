//! The command line of setup: parse, call, print.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{SetupConfig, SetupError, SetupOptions, SetupReport, password, run};
use crate::config::Config;

/// The exit code when something waits for a decision, e.g. `--new-token`.
const BLOCKED: u8 = 6;

/// Options of `setup`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Make pool, roles, user, token and access list at the Proxmox host, with the least privileges",
    after_help = "root@pam's password is asked for on the terminal; it is not kept. Running it again changes nothing.\n\n\
                  Exit codes: 0 done, or nothing to do; 1 failed; 2 configuration or no password; 3 password or rights \
                  refused;\n4 the host cannot be reached; 5 another certificate than the pinned one; 6 the token's secret \
                  is lost, see --new-token.\n\n\
                  Examples:\n  felhom-executor setup --dry-run\n  felhom-executor setup --password-file /root/pve-password"
)]
pub struct SetupArgs {
    /// Say what would be done and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// File with root@pam's password, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Replace the token: its secret is lost or does not fit any more.
    #[arg(long)]
    pub new_token: bool,
    /// One line of JSON on standard output; people's text goes to standard error.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub async fn execute(config: &Config, args: &SetupArgs) -> ExitCode {
    match attempt(config, args).await {
        Ok(report) => {
            print(&report, args.json);
            ExitCode::from(if report.is_blocked() { BLOCKED } else { 0 })
        }
        Err(error) => {
            eprintln!("setup: {error}");
            if args.json {
                println!("{}", serde_json::json!({ "ok": false, "error": error.to_string() }));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

async fn attempt(config: &Config, args: &SetupArgs) -> Result<SetupReport, SetupError> {
    let config = SetupConfig::from_config(config)?;
    let password = password::read(args.password_file.as_deref())?;
    let options = SetupOptions { dry_run: args.dry_run, new_token: args.new_token };
    run(&config, &password, options).await
}

fn print(report: &SetupReport, json: bool) {
    let text = report.text();
    if json {
        eprint!("{text}");
        let ok = !report.is_blocked();
        println!("{}", serde_json::json!({ "ok": ok, "setup": report }));
    } else {
        print!("{text}");
    }
}
