//! The command line of teardown: parse, call, print.

use std::path::PathBuf;
use std::process::ExitCode;

use super::run;
use crate::config::Config;
use crate::setup::{SetupError, SetupReport, password};

/// Options of `teardown`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Take away what setup made at the Proxmox host, as far as it holds no data",
    after_help = "Access list entries, token, user, roles, the empty pool and the file with the token's secret go. Guests, \
                  backups, a pool with guests in it, and what somebody else uses stay and are named. root@pam's password is \
                  asked for on the terminal; it is not kept. Running it again changes nothing.\n\n\
                  Exit codes: 0 done, or nothing to do; 1 failed; 2 configuration or no password; 3 password or rights \
                  refused;\n4 the host cannot be reached; 5 another certificate than the pinned one; 7 an executor serves.\n\n\
                  Examples:\n  felhom-executor teardown --dry-run\n  \
                  systemctl stop felhom-agent felhom-executor && felhom-executor teardown"
)]
pub struct TeardownArgs {
    /// Say what would go and what would stay, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// File with root@pam's password, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// One line of JSON on standard output; people's text goes to standard error.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub async fn execute(config: &Config, args: &TeardownArgs) -> ExitCode {
    match attempt(config, args).await {
        Ok(report) => {
            print(&report, args.json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("teardown: {error}");
            if args.json {
                println!("{}", serde_json::json!({ "ok": false, "error": error.to_string() }));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

async fn attempt(config: &Config, args: &TeardownArgs) -> Result<SetupReport, SetupError> {
    let password = password::read(args.password_file.as_deref())?;
    run(config, &password, args.dry_run).await
}

fn print(report: &SetupReport, json: bool) {
    let text = match report.lines.len() {
        0 => "nothing of ours is there\n".to_owned(),
        _ => report.text(),
    };
    if json {
        eprint!("{text}");
        println!("{}", serde_json::json!({ "ok": true, "teardown": report }));
    } else {
        print!("{text}");
    }
}
