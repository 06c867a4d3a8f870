//! `cargo xtask bench`: ratios measured within one run.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Measure and print.
pub(crate) fn run(_root: &Path, _args: &Args) -> Result<ExitCode> {
    bail!("the benchmark is not written yet")
}
