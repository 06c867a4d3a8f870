//! The process between the simulator and a guest's init, as `lxc-start` is on a real host.
//!
//! It leaves the session of whoever started it, starts init, records it, says so, reaps whatever the guest leaves behind, and
//! when init ends it ends the rest, as a process id namespace would. It can be killed without harm: the guest goes on.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Stdio;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::guest::READY;
use super::proc::Process;
use super::record::{self, Started};
use super::{Guest, RuntimeError, program};

/// Starts the guest that `dir/request.json` describes and stays until its init has ended.
///
/// # Errors
/// [`RuntimeError`]; the same text has then been printed for whoever started it.
pub fn monitor(dir: &Path) -> Result<(), RuntimeError> {
    // Standard input is the lock that the start handed on.
    let lock = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let lock = lock.map_err(RuntimeError::io("keep the lock of", dir))?;
    let result = start(dir);
    let line = match &result {
        Ok(_) => {
            // Fails only if this was started by hand, with something else as its input.
            drop(lock.unlock());
            READY.to_owned()
        }
        Err(error) => error.to_string().replace('\n', " "),
    };
    // Nobody may listen any more; then the guest runs all the same.
    drop(writeln!(io::stdout(), "{line}"));
    let (guest, started) = result?;
    reap(started.pid);
    let Some(_lock) = record::lock_existing(dir)? else { return Ok(()) };
    // Whoever stopped the guest has done all of this, and may have started it again.
    let now: Option<Started> = record::read(&record::guest_path(dir))?;
    if now.is_none_or(|now| now.init() != started.init()) {
        return Ok(());
    }
    guest.end_processes()?;
    guest.forget()
}

fn start(dir: &Path) -> Result<(Guest, Started), RuntimeError> {
    let path = record::request_path(dir);
    let request: Option<Started> = record::read(&path)?;
    let request =
        request.ok_or_else(|| RuntimeError::io("read", &path)(io::Error::from(io::ErrorKind::NotFound)))?;
    // Fails only if it leads a session already.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Pid::from_raw(1))
        .map_err(RuntimeError::io("become reaper for", dir))?;
    let console = record::console_path(dir);
    let log = || {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&console)
            .map_err(RuntimeError::io("open", &console))
    };
    let mut command = program::command(&request, &["/sbin/init".into()])?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log()?)
        .stderr(log()?)
        .spawn()
        .map_err(RuntimeError::io("run", &request.rootfs.join("sbin/init")))?;
    let failed = |reason: &str| RuntimeError::StartFailed { vmid: request.vmid, reason: reason.to_owned() };
    let pid = i32::try_from(child.id()).map_err(|_| failed("strange process id"))?;
    let process = Process::of(pid).ok_or_else(|| failed("init ended at once"))?;
    let started = Started { pid, start_time: process.start_time, ..request };
    record::write(&record::guest_path(dir), &started)?;
    record::remove(&path)?;
    let guest = Guest { vmid: started.vmid, rootfs: started.rootfs.clone(), dir: dir.to_path_buf() };
    Ok((guest, started))
}

/// Waits for children, own and inherited ones, until `init` has ended.
fn reap(init: i32) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, _))) if pid.as_raw_nonzero().get() == init => return,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
