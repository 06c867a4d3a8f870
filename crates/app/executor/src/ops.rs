//! `felhom-executor ops`: operations for local root, read from the running executor's socket.

use std::path::Path;
use std::process::ExitCode;

use felhom_protocol::status::Operation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::config::Config;

/// Options of `ops`.
#[derive(Debug, clap::Args)]
#[command(
    about = "List operations with state and reason",
    after_help = "Exit codes: 0 listed; 1 the executor does not answer.\n\nExample:\n  felhom-executor ops --json"
)]
pub struct OpsArgs {
    /// One line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn execute(config: &Config, args: &OpsArgs) -> ExitCode {
    match fetch(&config.socket, "/v1/operations").await {
        Ok(body) if args.json => {
            println!("{}", body.trim());
            ExitCode::SUCCESS
        }
        Ok(body) => match serde_json::from_str::<Vec<Operation>>(&body) {
            Ok(operations) => {
                operations.iter().for_each(print);
                ExitCode::SUCCESS
            }
            Err(e) => failed(&format!("its answer cannot be read: {e}")),
        },
        Err(e) => failed(&e),
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
}

fn failed(why: &str) -> ExitCode {
    eprintln!("felhom-executor: {why}");
    ExitCode::FAILURE
}

/// One GET over HTTP/1.0, so that the answer ends with the connection and is not chunked.
pub(crate) async fn fetch(socket: &Path, path: &str) -> Result<String, String> {
    let gone =
        |e: std::io::Error| format!("socket {}: {e}; does `felhom-executor serve` run?", socket.display());
    let mut stream = UnixStream::connect(socket).await.map_err(gone)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: executor\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(gone)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(gone)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it answered no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200 ") { Ok(body.to_owned()) } else { Err(format!("it answered {status}: {body}")) }
}
