//! golden

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};

/// Options.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Run.
pub(crate) fn run(_root: &Path, _args: &Args) -> Result<ExitCode> {
    bail!("not written yet")
}
