//! felhom-executor: the one program on the box that knows Proxmox and acts as root.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use felhom_executor::config::Config;
use felhom_executor::{
    audit_command, authorization, golden, notices, operators, ops, rollback, server, setup, tend, wiring,
};

/// Not the fault of a request or configuration: start again, and what was begun is resumed.
const TEMPORARY: u8 = 75;

#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Examples:\n  felhom-executor setup --dry-run\n  felhom-executor golden import golden.tar.zst\n  felhom-executor serve\n  felhom-executor ops --json"
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
    /// Serve the socket; resumes first what an earlier process began.
    #[command(
        after_help = "Exit codes: 0 asked to end; 1 failed; 2 configuration; 75 the journal could not be written: start \
                      again.\n\nExample:\n  felhom-executor serve"
    )]
    Serve,
    Setup(setup::command::SetupArgs),
    Golden(golden::command::GoldenArgs),
    Ops(ops::OpsArgs),
    /// The operators' file: whose signatures count on this box.
    #[command(subcommand)]
    Operators(operators::OperatorsCommand),
    /// The audit log: what was asked for, answered and destroyed on this box.
    #[command(subcommand)]
    Audit(audit_command::AuditCommand),
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
    match &cli.command {
        Some(Command::Serve) => serve(config).await,
        Some(Command::Setup(args)) => setup::command::execute(&config, args).await,
        Some(Command::Golden(args)) => golden::command::execute(&config, args).await,
        Some(Command::Ops(args)) => ops::execute(&config, args).await,
        Some(Command::Operators(command)) => operators::execute(&config, command),
        Some(Command::Audit(command)) => audit_command::execute(&config, command).await,
        Some(Command::ForgetBox { json }) => match wiring::forget_box(&config) {
            Ok(forgotten) => forgot(forgotten, *json),
            Err(error) => failed(&format!("{error:#}"), 1),
        },
        None => {
            failed(&"name a command: serve, setup, golden, ops, operators, audit, forget-box; see --help", 2)
        }
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

async fn serve(config: Config) -> ExitCode {
    let filter = EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Whatever is made below is this user's own unless it says otherwise.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let (socket, gid) = (config.socket.clone(), config.socket_gid);
    let executor = match wiring::executor(config) {
        Ok(executor) => Arc::new(executor),
        Err(error) => return failed(&format!("{error:#}"), 1),
    };
    let listener = match server::bind(&socket, gid) {
        Ok(listener) => listener,
        Err(error) => return failed(&format!("socket {}: {error}", socket.display()), 1),
    };
    let recovered = executor.runner.recover();
    tracing::info!(
        socket = %socket.display(),
        attestation_key = executor.services.key.public().fingerprint(),
        resumed = recovered.resumed.len(),
        standing = recovered.standing.len(),
        "serving"
    );
    let journal = executor.services.journal.clone();
    let tending = tokio::spawn(tend::tend(executor.services.clone()));
    let authorizing = tokio::spawn(authorization::tend(executor.clone()));
    let keeping = tokio::spawn(rollback::keep(executor.services.clone()));
    let telling = tokio::spawn(notices::tend(executor.clone()));
    let ended = tokio::select! {
        served = server::serve(listener, executor.clone()) => match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("socket {}: {error}", socket.display()), 1),
        },
        reason = journal.broken() => failed(&format!("{reason}; nothing more is done, start again"), TEMPORARY),
        () = asked_to_end() => ExitCode::SUCCESS,
    };
    tending.abort();
    authorizing.abort();
    keeping.abort();
    telling.abort();
    ended
}

/// SIGTERM or SIGINT. What runs is resumed by the next process.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
