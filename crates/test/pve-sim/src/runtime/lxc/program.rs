//! Calling LXC's and other programs of this machine.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::runtime::RuntimeError;

/// Where root's programs are.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with nothing of the simulator's environment.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    command
}

/// Runs it and answers what it printed.
///
/// # Errors
/// [`RuntimeError::Program`] with what it complained about.
pub(super) fn run<S: AsRef<OsStr>>(
    program: &'static str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String, RuntimeError> {
    answer(program, command(program).args(arguments))
}

/// The same of a command that is made already; `program` is its name in errors.
///
/// # Errors
/// As [`run`].
pub(super) fn answer(program: &'static str, command: &mut Command) -> Result<String, RuntimeError> {
    let output = command.output().map_err(RuntimeError::io("run", Path::new(program)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
    Err(RuntimeError::Program { program, reason: reason.to_owned(), status: output.status.to_string() })
}
