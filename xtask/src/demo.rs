//! `cargo xtask demo`: every process of Felhom on this machine, doing the main job, judged from outside.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};

use crate::run;

/// The status with which a meddled demo ends when the meddling was noticed at the step where it has to be.
pub(crate) const NOTICED: u8 = 10;

/// A way to meddle with the demo from outside.
pub(crate) struct Break {
    /// Its name on the command line.
    pub(crate) name: &'static str,
}

/// All ways.
pub(crate) const BREAKS: [Break; 0] = [];

/// What this machine lacks for the demo, with the way to get it.
pub(crate) fn missing_tool() -> Option<String> {
    run::find_program("ssh-keygen")
        .is_none()
        .then(|| "ssh-keygen is missing (package openssh-client)".to_owned())
}

/// Options of `demo`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// The command.
pub(crate) fn run(_root: &Path, _args: &Args) -> Result<ExitCode> {
    bail!("the demo is not there yet")
}
