//! The command line: parse, call, print.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use felhom_clock::Clock;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::{api, setup, wiring};

/// Felhom's hub: the operator's server for a fleet of boxes.
#[derive(Parser)]
#[command(
    name = "felhom-hub",
    version,
    after_help = "Examples:\n  \
        felhom-hub init --operator ada --token-file ada.token\n  \
        felhom-hub serve\n  \
        felhom-hub openapi > hub-openapi.json\n  \
        felhom-hub --check-config\n\n\
        Exit status: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    /// Configuration file; without it /etc/felhom/hub.toml, if that exists.
    #[arg(long, global = true, value_name = "FILE", env = "FELHOM_HUB_CONFIG")]
    config: Option<PathBuf>,
    /// Print the effective configuration and exit.
    #[arg(long)]
    check_config: bool,
    /// Print one line of JSON at the end, on standard output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make what is missing in the state directory: TLS certificate, signing key, database; and the first operator.
    Init(InitArgs),
    /// Serve boxes, API and pages until SIGTERM or Ctrl-C.
    Serve,
    /// Operators and their API tokens.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Print the OpenAPI document of the operators' API, which a hub serves at /api/v1/openapi.json.
    #[command(after_help = "Example:\n  felhom-hub openapi > hub-openapi.json")]
    Openapi,
}

#[derive(Args)]
struct InitArgs {
    /// Also make this operator.
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    #[command(flatten)]
    secrets: SecretArgs,
}

#[derive(Subcommand)]
enum OperatorCommand {
    /// Make an operator, or give an existing one a new token: the old one and all sessions are void then.
    Add {
        /// Lower-case letters, digits and hyphens.
        name: String,
        #[command(flatten)]
        secrets: SecretArgs,
    },
    /// List operators.
    List,
    /// Remove an operator with token and sessions.
    Remove {
        /// Whom.
        name: String,
    },
}

#[derive(Args)]
struct SecretArgs {
    /// Write the API token to this file, 0600; without it the token is printed once.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Read a password for the pages from this 0600 file.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "felhom-hub: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let config = Config::load(cli.config.as_deref(), std::env::vars())?;
    let output = Output { json: cli.json };
    if cli.check_config {
        // No key holds a secret: secrets are files in the state directory.
        let text = toml::to_string(&config).context("cannot print the configuration")?;
        return output.end(&text, &serde_json::to_value(&config)?);
    }
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("configuration key `log` = `{}` is no filter", config.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(dispatch(cli, config, &output))
}

async fn dispatch(cli: &Cli, config: Config, output: &Output) -> Result<()> {
    match &cli.command {
        None => anyhow::bail!("no command; `felhom-hub --help` lists them"),
        Some(Command::Openapi) => print_openapi(output),
        Some(Command::Serve) => wiring::serve(config, output, Clock::of_machine()).await,
        Some(Command::Init(args)) => {
            let made = setup::init(&config).await?;
            let operator = match &args.operator {
                Some(name) => Some(add_operator(&config, name, &args.secrets).await?),
                None => None,
            };
            let mut text = made.text();
            let mut json = made.json();
            if let Some((operator_text, operator_json)) = operator {
                text.push_str(&operator_text);
                json["operator"] = operator_json;
            }
            output.end(&text, &json)
        }
        Some(Command::Operator(OperatorCommand::Add { name, secrets })) => {
            let (text, json) = add_operator(&config, name, secrets).await?;
            output.end(&text, &json)
        }
        Some(Command::Operator(OperatorCommand::List)) => {
            let names = setup::list_operators(&config).await?;
            let text: String = names
                .iter()
                .map(|o| {
                    format!(
                        "{}  since {:.0}  password: {}\n",
                        o.name,
                        o.created,
                        yes_no(o.password_hash.is_some())
                    )
                })
                .collect();
            let json = names
                .iter()
                .map(|o| json!({"name": o.name, "created": o.created, "password": o.password_hash.is_some()}))
                .collect();
            output.end(&text, &json)
        }
        Some(Command::Operator(OperatorCommand::Remove { name })) => {
            setup::remove_operator(&config, name).await?;
            output.end(&format!("operator {name} is removed\n"), &json!({"removed": name}))
        }
    }
}

fn print_openapi(output: &Output) -> Result<()> {
    let text = api::document();
    let json: serde_json::Value = serde_json::from_str(&text).context("the document is no JSON")?;
    output.end(if output.json { "" } else { &text }, &json)
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

async fn add_operator(
    config: &Config,
    name: &str,
    secrets: &SecretArgs,
) -> Result<(String, serde_json::Value)> {
    let token =
        setup::add_operator(config, name, secrets.token_file.as_deref(), secrets.password_file.as_deref())
            .await?;
    Ok(match &secrets.token_file {
        Some(file) => (
            format!("operator {name}: API token written to {}\n", file.display()),
            json!({"name": name, "token_file": file}),
        ),
        None => (
            format!("operator {name}: API token, shown this once:\n{token}\n"),
            json!({"name": name, "token": token}),
        ),
    })
}

/// Where results go: one line of JSON on standard output and text on standard error, or text on standard output.
pub struct Output {
    /// Whether it is the line of JSON.
    pub json: bool,
}

impl Output {
    /// Prints the result.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn end(&self, text: &str, json: &serde_json::Value) -> Result<()> {
        if self.json {
            std::io::stderr().write_all(text.as_bytes())?;
            let mut out = std::io::stdout();
            writeln!(out, "{json}")?;
            out.flush()?;
        } else {
            std::io::stdout().write_all(text.as_bytes())?;
        }
        Ok(())
    }
}
