//! `vzstart`, `vzstop`, `vzshutdown`, `vzreboot` (F38, F44).

use std::time::Duration;

use super::hook::{self, Phase};
use super::{guest_os, machine, settings};
use crate::error::ApiError;
use crate::state::guest_config::GuestConfig;
use crate::state::{Host, guests};
use crate::task::worker::Worker;

/// Waits up to ten seconds for a guest that somebody else is working on (rec 116).
pub(crate) fn lock(worker: &mut Worker, vmid: u32) -> Result<crate::state::lock::Lock, ApiError> {
    let host = worker.host.clone();
    let mut waited = false;
    let log = &mut worker.log;
    let lock = host.lock_guest_noisy(vmid, &mut || {
        waited = true;
        log.line("trying to acquire lock...");
    })?;
    if waited {
        worker.say(" OK");
    }
    Ok(lock)
}

/// The `vzstart` task.
pub(crate) fn start(worker: &mut Worker, vmid: u32, skiplock: bool) -> Result<(), ApiError> {
    let _held = lock(worker, vmid)?;
    let mut config = guests::load(&worker.host, vmid)?;
    if config.current.flag("template") {
        return Err(ApiError::die("you can't start a CT if it's a template"));
    }
    if !skiplock {
        guests::check_lock(&config)?;
    }
    if machine::running(&worker.host, vmid).is_some() {
        return Err(ApiError::die(format!("CT {vmid} already running")));
    }
    worker.phase("locked")?;
    start_locked(worker, vmid, &mut config).inspect_err(|error| machine::say_why(worker, vmid, error))?;
    worker.phase("started")
}

/// Starts it, its hookscript before and after that (F75); the caller holds the lock.
pub(crate) fn start_locked(worker: &mut Worker, vmid: u32, config: &mut GuestConfig) -> Result<(), ApiError> {
    let host = worker.host.clone();
    if settings::apply_pending(&host, vmid, config)? {
        guests::save(&host, vmid, config)?;
    }
    hook::run(worker, vmid, &config.current, Phase::PreStart)?;
    if let Some(rootfs) = guest_os::rootfs(worker, &config.current) {
        guest_os::warn_of_release(worker, &rootfs);
    }
    machine::start(&host, vmid, &config.current)?;
    hook::run(worker, vmid, &config.current, Phase::PostStart)
}

/// Ends a guest, its hookscript before and after that (F75), and applies what waited for its end; `end` answers whether it ended.
/// Unrecorded for what is no power task: src/PVE/LXC.pm:3219, src/lxc-pve-poststop-hook:63 of pve-container.
pub(crate) fn ended(
    worker: &mut Worker,
    vmid: u32,
    end: impl FnOnce(&Host) -> Result<bool, ApiError>,
) -> Result<bool, ApiError> {
    let host = worker.host.clone();
    if machine::running(&host, vmid).is_none() {
        return Ok(true);
    }
    hook::run(worker, vmid, &guests::load(&host, vmid)?.current, Phase::PreStop)?;
    if !end(&host)? {
        return Ok(false);
    }
    stopped(&host, vmid)?;
    hook::run(worker, vmid, &guests::load(&host, vmid)?.current, Phase::PostStop)?;
    Ok(true)
}

/// Ends a guest at once.
pub(crate) fn kill(worker: &mut Worker, vmid: u32) -> Result<(), ApiError> {
    ended(worker, vmid, |host| machine::stop(host, vmid).map(|()| true)).map(drop)
}

/// After a stop: what waited for it.
fn stopped(host: &Host, vmid: u32) -> Result<(), ApiError> {
    let mut config = guests::load(host, vmid)?;
    if settings::apply_pending(host, vmid, &mut config)? {
        guests::save(host, vmid, &config)?;
    }
    Ok(())
}

fn check_running(host: &Host, vmid: u32) -> Result<(), ApiError> {
    match machine::running(host, vmid) {
        Some(_) => Ok(()),
        None => Err(ApiError::die(format!("CT {vmid} not running"))),
    }
}

/// The `vzstop` task.
pub(crate) fn stop(worker: &mut Worker, vmid: u32, skiplock: bool) -> Result<(), ApiError> {
    let _held = lock(worker, vmid)?;
    if !skiplock {
        guests::check_lock(&guests::load(&worker.host, vmid)?)?;
    }
    check_running(&worker.host, vmid)?;
    kill(worker, vmid)
}

/// The `vzshutdown` task.
pub(crate) fn shutdown(worker: &mut Worker, vmid: u32, timeout: u64, force: bool) -> Result<(), ApiError> {
    let _held = lock(worker, vmid)?;
    guests::check_lock(&guests::load(&worker.host, vmid)?)?;
    check_running(&worker.host, vmid)?;
    end(worker, vmid, timeout, force)
}

fn end(worker: &mut Worker, vmid: u32, timeout: u64, force: bool) -> Result<(), ApiError> {
    let limit = Duration::from_secs(timeout);
    if ended(worker, vmid, |host| machine::shutdown(host, vmid, limit, force))? {
        return Ok(());
    }
    worker.say(format!("command 'lxc-stop -n {vmid} --nokill --timeout {timeout}' failed: exit code 1"));
    Err(ApiError::die("container did not stop"))
}

/// The `vzsuspend` task. Unrecorded where it can work: a node without criu cannot suspend (rec 806), and this one has none.
pub(crate) fn suspend(worker: &mut Worker, vmid: u32) -> Result<(), ApiError> {
    let _held = lock(worker, vmid)?;
    guests::check_lock(&guests::load(&worker.host, vmid)?)?;
    worker.say(format!(
        "lxc-checkpoint: {vmid}: ../src/lxc/criu.c: criu_version_ok: 767 No such file or directory - \
         execing criu failed, is it installed?"
    ));
    worker.say(format!(
        "lxc-checkpoint: {vmid}: ../src/lxc/tools/lxc_checkpoint.c: checkpoint: 182 Checkpointing {vmid} failed"
    ));
    Err(ApiError::die(format!(
        "command 'lxc-checkpoint -n {vmid} -s -D /var/lib/vz/dump' failed: exit code 1"
    )))
}

/// The `vzresume` task: there is never anything to resume from (rec 2/290–292).
pub(crate) fn resume(worker: &mut Worker, vmid: u32) -> Result<(), ApiError> {
    worker.say(format!(
        "lxc-checkpoint: {vmid}: ../src/lxc/criu.c: do_restore: 1070 criu process exited 1, output:"
    ));
    worker.say("");
    worker
        .say(format!("lxc-checkpoint: {vmid}: ../src/lxc/criu.c: __criu_restore: 1403 restore process died"));
    worker.say(format!(
        "lxc-checkpoint: {vmid}: ../src/lxc/tools/lxc_checkpoint.c: restore_finalize: 203 Restoring {vmid} failed"
    ));
    let command = format!("lxc-checkpoint -n {vmid} -r --foreground -D /var/lib/vz/dump");
    Err(ApiError::die(format!("command '{command}' failed: exit code 1")))
}

/// The `vzreboot` task: its stop half does not look at the guest's lock, its start half does, so that during a backup the guest
/// stays down (F44, rec 621–624).
pub(crate) fn reboot(worker: &mut Worker, vmid: u32, timeout: u64) -> Result<(), ApiError> {
    let _held = lock(worker, vmid)?;
    end(worker, vmid, timeout, true)?;
    let mut config = guests::load(&worker.host, vmid)?;
    let started = match guests::check_lock(&config) {
        // lxc-start's own hook looks at the lock, so that this is all that is said of it (rec 624).
        Err(_) => Err(machine::cannot_start(vmid)),
        Ok(()) => start_locked(worker, vmid, &mut config),
    };
    started.inspect_err(|error| machine::say_why(worker, vmid, error))
}
