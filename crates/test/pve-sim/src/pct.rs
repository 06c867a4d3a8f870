//! The commands `pct exec`, `pct push` and `pvesm path`, as far as they are needed on a Proxmox host.
//!
//! main.rs has `Pct(pct::PctArgs)`, `Pvesm(pct::PvesmArgs)` and the hidden `Monitor(pct::MonitorArgs)` among its subcommands
//! and returns what `run()` returns.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

/// `pve-sim pct --state DIR …`.
#[derive(Debug, Args)]
pub struct PctArgs {
    /// State directory of the simulator.
    #[arg(long, env = "PVE_SIM_STATE")]
    pub state: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: PctCommand,
}

/// Commands of `pct`.
#[derive(Debug, Subcommand)]
pub enum PctCommand {
    /// Launch a command inside the specified container.
    Exec {
        /// The (unique) ID of the VM.
        vmid: u32,
        /// Program and arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Copy a local file to the container.
    Push {
        /// The (unique) ID of the VM.
        vmid: u32,
        /// Path to a local file.
        file: PathBuf,
        /// Destination inside the container to write to.
        destination: String,
        /// File permissions to use (octal by default, prefix with '0x' for hexadecimal).
        #[arg(long)]
        perms: Option<String>,
        /// Owner user id.
        #[arg(long)]
        user: Option<String>,
        /// Owner group id.
        #[arg(long)]
        group: Option<String>,
    },
}

/// `pve-sim pvesm --state DIR …`.
#[derive(Debug, Args)]
pub struct PvesmArgs {
    /// State directory of the simulator.
    #[arg(long, env = "PVE_SIM_STATE")]
    pub state: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: PvesmCommand,
}

/// Commands of `pvesm`.
#[derive(Debug, Subcommand)]
pub enum PvesmCommand {
    /// Get filesystem path for specified volume.
    Path {
        /// Volume identifier.
        volume: String,
    },
}

/// `pve-sim monitor …`: internal, started by `runtime::Guest::start`.
#[derive(Debug, Args)]
pub struct MonitorArgs {
    /// Runtime directory of the guest.
    #[arg(long)]
    pub dir: PathBuf,
}

/// Runs a `pct` command; messages go to standard error.
#[must_use]
pub fn run_pct(args: &PctArgs) -> ExitCode {
    let _ = args;
    ExitCode::FAILURE
}

/// Runs a `pvesm` command.
#[must_use]
pub fn run_pvesm(args: &PvesmArgs) -> ExitCode {
    let _ = args;
    ExitCode::FAILURE
}

/// Runs the monitor of one guest until the guest's init has ended.
#[must_use]
pub fn run_monitor(args: &MonitorArgs) -> ExitCode {
    let _ = args;
    ExitCode::FAILURE
}
