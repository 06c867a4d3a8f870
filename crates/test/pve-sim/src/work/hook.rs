//! A guest's hookscript: a program of the host's owner that runs on the host when the guest starts and stops, whoever started it
//! and wherever the setting came from (F75). Source: `PVE/GuestHelpers.pm` `exec_hookscript`.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::ApiError;
use crate::state::Host;
use crate::state::guest_config::Section;
use crate::state::storage::Storages;
use crate::state::volid::{Volid, VolumeKind};
use crate::task::worker::Worker;

/// When it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the start, which an error prevents.
    PreStart,
    /// After the start.
    PostStart,
    /// Before a stop or shutdown.
    PreStop,
    /// After the guest has ended.
    PostStop,
}

impl Phase {
    /// The script's second argument.
    fn name(self) -> &'static str {
        match self {
            Self::PreStart => "pre-start",
            Self::PostStart => "post-start",
            Self::PreStop => "pre-stop",
            Self::PostStop => "post-stop",
        }
    }
}

/// Where a hookscript is.
///
/// # Errors
/// If it is not in a storage's snippets, does not exist or is not executable.
pub(crate) fn check(host: &Host, volid: &str) -> Result<PathBuf, ApiError> {
    let (_, path) = Storages::load(host)?.path_of(volid)?;
    if Volid::parse(volid)?.parts()?.kind != VolumeKind::Snippet {
        return Err(ApiError::die(format!("'{volid}' is not in the snippets directory")));
    }
    match path.metadata() {
        Ok(found) if found.is_file() => {
            if found.permissions().mode() & 0o111 == 0 {
                return Err(ApiError::die(format!("script '{volid}' is not executable")));
            }
            Ok(path)
        }
        _ => Err(ApiError::die(format!("script '{volid}' does not exist"))),
    }
}

/// Runs it, if the guest has one; what it prints goes into the task's log. After the guest's end it is lxc that runs it, not the task,
/// and nothing is heard of it.
///
/// # Errors
/// A script that fails before the start prevents it; at any other time it is only reported.
pub(crate) fn run(worker: &mut Worker, vmid: u32, config: &Section, phase: Phase) -> Result<(), ApiError> {
    let Some(volid) = config.get("hookscript") else { return Ok(()) };
    let name = phase.name();
    let mut heard = Vec::new();
    let result = execute(&worker.host, vmid, (volid, name), &mut heard);
    if phase == Phase::PostStop {
        return Ok(());
    }
    heard.into_iter().for_each(|line| worker.say(line));
    let Err(error) = result else { return Ok(()) };
    let text = format!("hookscript error for {vmid} on {name}: {}", error.message);
    if phase == Phase::PreStart {
        return Err(ApiError::die(text));
    }
    worker.say(text);
    Ok(())
}

fn execute(
    host: &Host,
    vmid: u32,
    (volid, phase): (&str, &str),
    heard: &mut Vec<String>,
) -> Result<(), ApiError> {
    let path = check(host, volid)?;
    let shown = format!("command '{} {vmid} {phase}' failed", path.display());
    let output = Command::new(&path)
        .arg(vmid.to_string())
        .arg(phase)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| ApiError::die(format!("{shown}: {e}")))?;
    for bytes in [&output.stdout, &output.stderr] {
        heard.extend(String::from_utf8_lossy(bytes).lines().map(str::to_owned));
    }
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(ApiError::die(format!("{shown}: exit code {code}"))),
        None => Err(ApiError::die(format!("{shown}: got signal"))),
    }
}
