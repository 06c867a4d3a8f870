//! The command line.

use crate::command;
use crate::config::Config;
use crate::wiring::Agent;
use clap::{Parser, Subcommand};
use felhom_clock::Clock;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The agent of a Felhom box.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
#[command(
    after_help = "Examples:\n  felhom-agent enroll -    # and paste the ticket\n  felhom-agent serve\n  felhom-agent status --json"
)]
struct Args {
    /// Configuration file [default: /etc/felhom/agent.toml, if it is there].
    #[arg(long, global = true, env = "FELHOM_AGENT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective configuration and exit.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register this box at a hub.
    #[command(
        after_help = "Examples:\n  felhom-agent enroll -                 # paste the ticket: it is a secret until it was used\n  felhom-agent enroll - < ticket.txt"
    )]
    Enroll {
        /// What `felhom box add` printed; `-` reads it from standard input.
        ticket: String,
        /// Enrol anew although the box is enrolled.
        #[arg(long)]
        again: bool,
        /// One line of JSON on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Run the agent.
    #[command(after_help = "Example:\n  felhom-agent --config /etc/felhom/agent.toml serve")]
    Serve,
    /// Show how the box stands.
    #[command(
        after_help = "Examples:\n  felhom-agent status\n  felhom-agent status --json | tail -n 1 | jq .conditions"
    )]
    Status {
        /// One line of JSON on standard output.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("felhom-agent: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each said once: many of ours repeat their cause in their own text.
fn told(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(cause.trim()) { text } else { format!("{text}: {cause}") }
    })
}

fn run() -> anyhow::Result<()> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    let args = Args::parse();
    let variables = std::env::vars().filter(|(key, _)| key != "FELHOM_AGENT_CONFIG");
    let config = Config::load(args.config.as_deref(), variables)?;
    let filter = EnvFilter::try_new(&config.log)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if args.check_config {
        print!("{}", toml::to_string(&config)?);
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match args.command {
            None => anyhow::bail!("a command is needed; `felhom-agent --help` lists them"),
            Some(Command::Enroll { ticket, again, json }) => {
                command::enroll::run(&config, &ticket, again, json).await
            }
            Some(Command::Serve) => Agent::open(config, Clock::of_machine())?.serve().await,
            Some(Command::Status { json }) => command::status::run(&config, json).await,
        }
    })
}
