//! The host's hook script (`script`), which Proxmox VE runs as root at each phase of a backup, tokens' included (F68; 2/218).
//!
//! It gets the phase, inside a guest's backup also mode and VMID, and an environment of nothing but STOREID, DUMPDIR, VMTYPE,
//! HOSTNAME, TARGET and LOGFILE. Its lines are logged. If it fails, so does the phase.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::guest::Task;
use super::journal::Journal;
use super::settings::{Settings, on_this_machine};
use crate::error::ApiError;
use crate::task::worker::Worker;

/// A phase of the whole job.
///
/// # Errors
/// If there is a script and it fails.
pub(super) fn outer(worker: &mut Worker, settings: &Settings, phase: &str) -> Result<(), ApiError> {
    call(worker, settings, &mut Journal::default(), (&[phase.to_owned()], &[]))
}

/// A phase of one guest's backup.
///
/// # Errors
/// If there is a script and it fails.
pub(super) fn inner(worker: &mut Worker, task: &mut Task<'_>, phase: &str) -> Result<(), ApiError> {
    let settings = task.settings;
    let arguments = [phase.to_owned(), task.mode.name().to_owned(), task.vmid.to_string()];
    let mut environment = vec![
        ("VMTYPE", "lxc".to_owned()),
        ("TARGET", task.archive().display().to_string()),
        ("LOGFILE", task.file(".log").display().to_string()),
    ];
    environment.extend(task.hostname.clone().map(|name| ("HOSTNAME", name)));
    call(worker, settings, &mut task.journal, (&arguments, &environment))
}

fn call(
    worker: &mut Worker,
    settings: &Settings,
    journal: &mut Journal,
    (arguments, environment): (&[String], &[(&str, String)]),
) -> Result<(), ApiError> {
    let Some(script) = &settings.script else { return Ok(()) };
    let path = on_this_machine(&worker.host, script);
    if !path.is_file() {
        return Err(ApiError::die(format!("Error: The hook script '{script}' does not exist.")));
    }
    if path.metadata().is_ok_and(|m| m.permissions().mode() & 0o111 == 0) {
        return Err(ApiError::die(format!("Error: The hook script '{script}' is not executable.")));
    }
    let failed =
        |why: &str| ApiError::die(format!("command '{script} {}' failed: {why}", arguments.join(" ")));
    let mut command = Command::new(path);
    command.args(arguments).env_clear().envs(environment.iter().map(|(k, v)| (k, v)));
    if let Some(id) = &settings.storage_id {
        command.env("STOREID", id);
    }
    if !settings.dumpdir.as_os_str().is_empty() {
        command.env("DUMPDIR", &settings.dumpdir);
    }
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| failed(&e.to_string()))?;
    let lines = listen(&mut child);
    loop {
        match lines.recv_timeout(Duration::from_millis(20)) {
            Ok(line) => journal.info(worker, &line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) if worker.take_stop() => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("interrupted by signal"));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
    let status = child.wait()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(failed(&format!("exit code {code}"))),
        None => Err(failed("got signal")),
    }
}

/// Lines of both outputs as they come.
fn listen(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|p| Box::new(p) as Box<dyn Read + Send>),
        child.stderr.take().map(|p| Box::new(p) as Box<dyn Read + Send>),
    ];
    for pipe in pipes.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}
