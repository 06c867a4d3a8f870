//! LXC's own commands `lxc-unfreeze` and `lxc-info`: a frozen guest that a dead worker left behind is thawed by them only (F99).

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::error::ApiError;
use crate::state::Host;
use crate::work::machine;

/// `pve-sim lxc-unfreeze --state DIR -n VMID`.
#[derive(Debug, Args)]
pub struct LxcArgs {
    /// State directory of the simulator.
    #[arg(long, env = "PVE_SIM_STATE")]
    pub state: PathBuf,
    /// Name of the container: its VMID.
    #[arg(short, long)]
    pub name: u32,
}

/// Thaws a guest.
#[must_use]
pub fn unfreeze(args: &LxcArgs) -> ExitCode {
    let done = open(args).and_then(|host| match machine::frozen(&host, args.name)? {
        Some(_) => machine::set_frozen(&host, args.name, false),
        None => Err(ApiError::die(format!("Container {} is not running", args.name))),
    });
    finish("lxc-unfreeze", args, done)
}

/// Prints a guest's state as `lxc-info -s` does.
#[must_use]
pub fn info(args: &LxcArgs) -> ExitCode {
    let done = open(args).and_then(|host| {
        let state = match machine::frozen(&host, args.name)? {
            Some(true) => "FROZEN",
            Some(false) => "RUNNING",
            None => "STOPPED",
        };
        Ok(writeln!(std::io::stdout(), "State:          {state}")?)
    });
    finish("lxc-info", args, done)
}

fn open(args: &LxcArgs) -> Result<Host, ApiError> {
    Ok(Host::open(&args.state)?)
}

fn finish(program: &str, args: &LxcArgs, done: Result<(), ApiError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{program}: {}: {error}", args.name);
            ExitCode::FAILURE
        }
    }
}
