//! The command line of the doctor: parse, look, print.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use felhom_clock::Clock;

use super::facts::Facts;
use super::{Finding, Severity, check, observe};
use crate::config::Config;
use crate::setup::{SetupError, password};

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Check rights, storages, backup settings, certificate, clock and kernel of this host; changes nothing",
    after_help = "Each finding says what was seen, why it matters, and the one command that repairs it; \
                  docs/operator/doctor.md lists them.\nWith root@pam's password the rights are compared with what `setup` \
                  makes, entry by entry; without it, by what the token may do.\n\n\
                  Exit codes: 0 no danger, though warnings may stand; 1 danger; 2 configuration, or a wrong password.\n\n\
                  Examples:\n  felhom-executor doctor\n  felhom-executor doctor --json | jq '.findings[].id'\n  \
                  felhom-executor doctor --password-file /root/pve-password"
)]
pub struct DoctorArgs {
    /// File with root@pam's password, readable by its owner only; it is not kept.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// One line of JSON on standard output; people's text goes to standard error.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub async fn execute(config: &Config, file: &Path, args: &DoctorArgs) -> ExitCode {
    match look(config, file, args).await {
        Ok(facts) => {
            let findings = check(&facts);
            print(&findings, args.json);
            let danger = findings.iter().any(|f| f.severity == Severity::Danger);
            ExitCode::from(u8::from(danger))
        }
        Err(error) => {
            eprintln!("doctor: {error}");
            if args.json {
                println!("{}", serde_json::json!({ "ok": false, "error": error.to_string() }));
            }
            let refused = matches!(error, SetupError::WrongPassword { .. });
            ExitCode::from(if refused { 2 } else { error.exit_code() })
        }
    }
}

async fn look(config: &Config, file: &Path, args: &DoctorArgs) -> Result<Facts, SetupError> {
    let should = observe::should(config, file)?;
    let password = args.password_file.as_deref().map(|path| password::read(Some(path))).transpose()?;
    // Nothing is pushed into a guest here, so nothing is written there.
    let host = config.host("/run/felhom");
    observe::observe(should, &host, password.as_ref(), &Clock::of_machine()).await
}

fn print(findings: &[Finding], json: bool) {
    let text = told(findings);
    if json {
        eprint!("{text}");
        let ok = findings.iter().all(|f| f.severity != Severity::Danger);
        println!("{}", serde_json::json!({ "ok": ok, "findings": findings }));
    } else {
        print!("{text}");
    }
}

fn told(findings: &[Finding]) -> String {
    let mut text = String::new();
    for f in findings {
        let word = f.severity.word();
        text += &format!("{word:<8} {}  {}\n", f.id, f.subject);
        text += &format!("         seen    {}\n         why     {}\n", f.seen, f.why);
        text += &format!("         repair  {}\n", f.repair);
    }
    let of = |severity| findings.iter().filter(|f| f.severity == severity).count();
    text += &match findings.len() {
        0 => "nothing found: this host is as it should be\n".to_owned(),
        _ => format!(
            "danger {}, warning {}, notice {}\n",
            of(Severity::Danger),
            of(Severity::Warning),
            of(Severity::Notice)
        ),
    };
    text
}
