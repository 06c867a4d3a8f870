//! `felhom-executor ops`: operations for local root, read from the running executor's socket.

use std::path::Path;
use std::process::ExitCode;

use felhom_model::OperationId;
use felhom_protocol::ErrorBody;
use felhom_protocol::status::Operation;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::config::Config;

/// Options of `ops`.
#[derive(Debug, clap::Args)]
#[command(
    about = "List operations with state, progress and reason; cancel one",
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 listed or cancelled; 1 refused, or the executor does not answer.\n\nExamples:\n  \
                  felhom-executor ops --json\n  felhom-executor ops cancel 01J9Z3N8Y0 --reason 'the disk is wanted'"
)]
pub struct OpsArgs {
    /// One line of JSON on standard output.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<OpsCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum OpsCommand {
    /// Stop an operation that runs and take back what it did; refused past its point of no return. Twice is once.
    Cancel {
        /// The operation.
        id: OperationId,
        /// Why, for whoever reads of it later.
        #[arg(long)]
        reason: String,
        /// One line of JSON on standard output.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub async fn execute(config: &Config, args: &OpsArgs) -> ExitCode {
    match &args.command {
        None => match get(&config.socket, "/v1/operations").await {
            Ok(body) => shown::<Vec<Operation>>(&body, args.json, |all| all.iter().for_each(print)),
            Err(e) => failed(&e),
        },
        Some(OpsCommand::Cancel { id, reason, json }) => {
            let body = serde_json::json!({ "reason": reason }).to_string();
            let path = format!("/v1/operations/{id}/cancel");
            match call(&config.socket, "POST", &path, &body).await {
                Ok(body) => shown::<Operation>(&body, *json, print),
                Err(e) => failed(&e),
            }
        }
    }
}

/// Prints an answer as it came, or for people.
fn shown<T: DeserializeOwned>(body: &str, json: bool, people: impl FnOnce(&T)) -> ExitCode {
    if json {
        println!("{}", body.trim());
        return ExitCode::SUCCESS;
    }
    match serde_json::from_str::<T>(body) {
        Ok(value) => {
            people(&value);
            ExitCode::SUCCESS
        }
        Err(e) => failed(&format!("its answer cannot be read: {e}")),
    }
}

fn print(op: &Operation) {
    let name = op.guest_name.as_ref().map(ToString::to_string).unwrap_or_default();
    println!("{}  {:<18} {:<14} {name}", op.id, op.kind, op.state.name());
    if let Some(reason) = &op.reason {
        println!("    {reason}");
    }
    for step in op.steps.iter().filter(|s| s.state != "done" && s.state != "pending") {
        println!("    {} {}", step.name, step.state);
    }
    if let Some(progress) = &op.progress {
        let total = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let rate = progress.rate_per_s.map(|n| format!(", {n} {}/s", progress.unit)).unwrap_or_default();
        let left = progress.left_s.map(|s| format!(", {s} s left")).unwrap_or_default();
        println!("    {}{total} {}{rate}{left}", progress.done, progress.unit);
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("felhom-executor: {why}");
    ExitCode::FAILURE
}

/// One GET of local root.
pub(crate) async fn get(socket: &Path, path: &str) -> Result<String, String> {
    call(socket, "GET", path, "").await
}

/// One call over HTTP/1.0, so that the answer ends with the connection and is not chunked.
async fn call(socket: &Path, method: &str, path: &str, body: &str) -> Result<String, String> {
    let gone =
        |e: std::io::Error| format!("socket {}: {e}; does `felhom-executor serve` run?", socket.display());
    let mut stream = UnixStream::connect(socket).await.map_err(gone)?;
    let head = format!("{method} {path} HTTP/1.0\r\nHost: executor\r\nConnection: close\r\n");
    let content = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(format!("{head}{content}").as_bytes()).await.map_err(gone)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(gone)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it answered no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200 ") {
        return Ok(body.to_owned());
    }
    match serde_json::from_str::<ErrorBody>(body) {
        Ok(error) => {
            let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            Err(format!("{}: {}{hint}", error.error, error.message))
        }
        Err(_) => Err(format!("it answered {status}: {body}")),
    }
}
