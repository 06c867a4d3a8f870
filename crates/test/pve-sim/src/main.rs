//! A Proxmox VE host without Proxmox: see the library for guests' bytes and processes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pve_sim::pct;

/// Simulated Proxmox VE host.
#[derive(Debug, Parser)]
#[command(name = "pve-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Commands inside guests.
    Pct(pct::PctArgs),
    /// Internal: stays beside a running guest.
    #[command(hide = true)]
    Monitor(pct::MonitorArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Pct(args) => pct::run_pct(&args),
        Command::Monitor(args) => pct::run_monitor(&args),
    }
}
