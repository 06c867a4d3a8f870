//! `pveum acl modify` and `pveum acl delete`: rights given and taken on the node itself, by root.
//!
//! Both are the call `PUT /access/acl`. No use of `pveum` is recorded: PVE/CLI/pveum.pm of pve-access-control 9 maps them so, with the
//! path as the only argument that is no option. Silent, as the call's answer is null.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::node::{self, Rest};
use crate::error::ApiError;
use crate::state::Host;

const CALL: (&str, &str) = ("PUT", "/access/acl");

/// `pve-sim pveum --state DIR …`.
#[derive(Debug, Args)]
pub struct PveumArgs {
    /// State directory of the simulator.
    #[arg(long, env = "PVE_SIM_STATE")]
    pub state: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: PveumCommand,
}

/// Commands of `pveum`.
#[derive(Debug, Subcommand)]
pub enum PveumCommand {
    /// The access control list.
    #[command(subcommand)]
    Acl(AclCommand),
}

/// Commands of `pveum acl`.
#[derive(Debug, Subcommand)]
pub enum AclCommand {
    /// Give or take roles: `modify PATH --roles LIST [--users LIST] [--groups LIST] [--tokens LIST] [--propagate 0] [--delete]`.
    Modify(Rest),
    /// Take roles: `delete PATH --roles LIST [--users LIST] [--groups LIST] [--tokens LIST]`.
    Delete(Rest),
}

/// Runs a command. Messages go to standard error; 255 is failure.
#[must_use]
pub fn run(args: &PveumArgs) -> ExitCode {
    let PveumCommand::Acl(command) = &args.command;
    let (name, words, delete) = match command {
        AclCommand::Modify(rest) => ("modify", &rest.words, false),
        AclCommand::Delete(rest) => ("delete", &rest.words, true),
    };
    let done = Host::open(&args.state).map_err(ApiError::from).and_then(|host| change(&host, words, delete));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let usage = format!("pveum acl {name} <path> --roles <string> [OPTIONS]");
            node::fail(&node::cli_text(&error, &usage))
        }
    }
}

fn change(host: &Host, words: &[String], delete: bool) -> Result<(), ApiError> {
    let mut given = node::options(words, &["path"], |option| node::is_flag(CALL.0, CALL.1, option))?;
    if !given.contains_key("path") {
        return Err(ApiError { status: 400, ..ApiError::die("not enough arguments") });
    }
    if delete {
        given.insert("delete".to_owned(), "1".to_owned());
    }
    node::call(host, CALL, given).map(drop)
}
