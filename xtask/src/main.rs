//! The project's own commands: `cargo xtask ci`, `test`, `tidy`, `demo`, `bench`, `soak`, `golden`, `first-box`,
//! `sim-conformance`, `sim-endpoints`.
//!
//! Steps: parse the command line, find the workspace, call one module, turn its answer into an exit status. Nothing here
//! is shipped to a customer; everything that CI does can be done by hand with the same words.

mod bench;
mod ci;
mod conformance;
mod demo;
mod endpoints;
mod first_box;
mod fuzz;
mod golden;
mod run;
mod soak;
mod suite;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                     the whole system on this machine, until Ctrl-C
  cargo xtask demo --exit              the same, leaves after the summary; status 0 only if every step held
  cargo xtask test                     every group of tests that this machine can run
  cargo xtask test unit doc            only these groups
  cargo xtask tidy --shrink            note in the ratchet file that something got smaller
  cargo xtask ci                       all that CI does";

/// Build, check, test and show Felhom.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, lints, tidy, documentation, licences, then all tests.
    Ci(ci::Args),
    /// Run the groups of tests that this machine can run; ends in a table and a count.
    Test(suite::Args),
    /// Check dependency direction, purity, sizes and leftovers.
    Tidy(tidy::Args),
    /// Start every process, provision a guest, back it up, prove the restore.
    Demo(demo::Args),
    /// Build the demo's golden archive and its signed release.
    Golden(golden::Args),
    /// Walk docs/operator/first-box.md with the units under a real systemd, there and back.
    FirstBox(first_box::Args),
    /// Measure, as ratios within one run.
    Bench(bench::Args),
    /// Run what takes too long for each commit: the crash matrix, complete.
    Soak(soak::Args),
    /// Replay recordings of a genuine node against the simulator and compare.
    SimConformance(conformance::Args),
    /// Write the simulator's table of endpoints into its README.
    SimEndpoints(endpoints::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    let root = run::workspace_root()?;
    match command {
        Command::Ci(args) => ci::run(&root, &args),
        Command::Test(args) => suite::run(&root, &args),
        Command::Tidy(args) => tidy::run(&root, &args),
        Command::Demo(args) => demo::run(&root, &args),
        Command::Golden(args) => golden::run(&root, &args),
        Command::FirstBox(args) => first_box::run(&root, &args),
        Command::Bench(args) => bench::run(&root, &args),
        Command::Soak(args) => soak::run(&root, &args),
        Command::SimConformance(args) => conformance::run(&root, &args),
        Command::SimEndpoints(args) => endpoints::run(&root, &args),
    }
}
