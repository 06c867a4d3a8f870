//! felhom-executor: the one program on the box that knows Proxmox and acts as root.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use felhom_executor::config::Config;
use felhom_executor::serve::serve;
use felhom_executor::wiring::{self, Hooks};
use felhom_executor::{
    audit_command, doctor, golden, install, limits_command, operators, ops, setup, teardown,
};

#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Examples:\n  felhom-executor setup --dry-run\n  felhom-executor doctor\n  felhom-executor golden import golden.tar.zst\n  felhom-executor serve\n  felhom-executor ops --json"
)]
struct Cli {
    /// The configuration file.
    #[arg(long, env = "FELHOM_EXECUTOR_CONFIG", default_value = "/etc/felhom/executor.toml")]
    config: PathBuf,
    /// Print the effective configuration and end; secrets are files and not shown.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Install(install::command::InstallArgs),
    Uninstall(install::command::UninstallArgs),
    #[command(flatten)]
    Configured(Configured),
}

/// Commands that need a configuration.
#[derive(Debug, Subcommand)]
enum Configured {
    /// Serve the socket; resumes first what an earlier process began.
    #[command(
        after_help = "Exit codes: 0 asked to end; 1 failed; 2 configuration; 75 the journal could not be written: start \
                      again.\n\nExample:\n  felhom-executor serve"
    )]
    Serve,
    Setup(setup::command::SetupArgs),
    Doctor(doctor::command::DoctorArgs),
    Teardown(teardown::command::TeardownArgs),
    Golden(golden::command::GoldenArgs),
    Ops(ops::OpsArgs),
    /// The operators' file: whose signatures count on this box.
    #[command(subcommand)]
    Operators(operators::OperatorsCommand),
    /// The audit log: what was asked for, answered and destroyed on this box.
    #[command(subcommand)]
    Audit(audit_command::AuditCommand),
    Limits(limits_command::LimitsArgs),
    /// Forget which box this is, before the box is enrolled as another one; the executor must not run.
    #[command(after_help = "Example:\n  systemctl stop felhom-executor && felhom-executor forget-box")]
    ForgetBox {
        /// One line of JSON on standard output.
        #[arg(long)]
        json: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    let command = match &cli.command {
        Some(Command::Install(args)) => return install::command::execute_install(args).await,
        Some(Command::Uninstall(args)) => return install::command::execute_uninstall(args).await,
        Some(Command::Configured(command)) => Some(command),
        None => None,
    };
    let config = match Config::load(&cli.config, std::env::vars()) {
        Ok(config) => config,
        Err(error) => return failed(&error, 2),
    };
    if cli.check_config {
        return match config.render() {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error, 2),
        };
    }
    match command {
        Some(Configured::Serve) => serve(config, Hooks::default()).await,
        Some(Configured::Setup(args)) => setup::command::execute(&config, args).await,
        Some(Configured::Doctor(args)) => doctor::command::execute(&config, &cli.config, args).await,
        Some(Configured::Teardown(args)) => teardown::command::execute(&config, args).await,
        Some(Configured::Golden(args)) => golden::command::execute(&config, args).await,
        Some(Configured::Ops(args)) => ops::execute(&config, args).await,
        Some(Configured::Operators(command)) => operators::execute(&config, command),
        Some(Configured::Audit(command)) => audit_command::execute(&config, command).await,
        Some(Configured::Limits(args)) => limits_command::execute(&config, args).await,
        Some(Configured::ForgetBox { json }) => match wiring::forget_box(&config) {
            Ok(forgotten) => forgot(forgotten, *json),
            Err(error) => failed(&format!("{error:#}"), 1),
        },
        None => failed(
            &"name a command: serve, install, uninstall, setup, doctor, teardown, golden, ops, operators, audit, limits, forget-box; \
             see --help",
            2,
        ),
    }
}

fn forgot(forgotten: bool, json: bool) -> ExitCode {
    let text = if forgotten {
        "forgotten; `felhom-agent enroll` may name another box now"
    } else {
        "nothing to forget: this box was not enrolled"
    };
    if json {
        eprintln!("{text}");
        println!("{}", serde_json::json!({ "forgotten": forgotten }));
    } else {
        println!("{text}");
    }
    ExitCode::SUCCESS
}

fn failed(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("felhom-executor: {error}");
    ExitCode::from(code)
}
