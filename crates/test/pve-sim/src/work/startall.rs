//! The `startall` task: what a node does with its guests when it boots (F92).
//!
//! Left-over `backup` locks go, no others; then guests with `onboot=1` start in the order of `startup`, templates never. What does not
//! start stops nothing.

use std::time::{Duration, Instant};

use super::{Job, machine};
use crate::error::ApiError;
use crate::state::guest_config::GuestConfig;
use crate::state::property::Properties;
use crate::state::{Host, guests, lock};
use crate::task::worker::Worker;
use crate::task::{log, process, spawn};

/// Starts the guests.
pub(crate) fn run(worker: &mut Worker, force: bool, only: Option<&[u32]>) -> Result<(), ApiError> {
    remove_backup_locks(worker)?;
    worker.phase("unlocked")?;
    let host = worker.host.clone();
    let mut wanted: Vec<(u64, u32, Option<u64>)> = Vec::new();
    for (vmid, config) in all(&host)? {
        if only.is_none_or(|only| only.contains(&vmid)) && (force || config.current.flag("onboot")) {
            let (order, up) = startup(&config);
            wanted.push((order, vmid, up));
        }
    }
    wanted.sort_unstable();
    for (_, vmid, up) in wanted {
        if machine::running(&host, vmid).is_some() {
            continue;
        }
        worker.say(format!("Starting CT {vmid}"));
        let job = Job::Start { vmid, skiplock: false };
        let upid = spawn::start(&host, "vzstart", &vmid.to_string(), worker.authid(), job)?;
        worker.phase("started")?;
        if let Some(seconds) = up.filter(|s| *s > 0) {
            worker.say(format!("Waiting for {seconds} seconds (startup delay)"));
            rest(worker, Duration::from_secs(seconds))?;
        }
        while process::running(upid.pid, upid.pstart) {
            rest(worker, Duration::from_millis(20))?;
        }
        let end = log::exit_status(&host, &upid);
        if end != "OK" && !end.starts_with("WARNINGS") {
            worker.say(format!("Starting CT {vmid} failed: {end}"));
        }
    }
    Ok(())
}

/// Templates are none of these.
fn all(host: &Host) -> Result<Vec<(u32, GuestConfig)>, ApiError> {
    let configs = guests::list(host)?.into_iter().filter_map(|id| Some((id, guests::load(host, id).ok()?)));
    Ok(configs.filter(|(_, config)| !config.current.flag("template")).collect())
}

/// A running backup keeps its lock: the node's one is waited for, ten seconds (rec 2/794).
fn remove_backup_locks(worker: &mut Worker) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let path = host.dir.lock("vzdump");
    let mut waited = false;
    let task_log = &mut worker.log;
    let held = lock::acquire(&path, lock::GUEST_TIMEOUT, &mut || {
        waited = true;
        task_log.line("trying to acquire lock...");
    })?;
    if held.is_none() {
        worker.say("can't lock file '/var/run/vzdump.lock' - got timeout");
        return Ok(());
    }
    if waited {
        worker.say(" OK");
    }
    for (vmid, config) in all(&host)? {
        if config.current.get("lock") == Some("backup") {
            match guests::clear_lock(&host, vmid, Some("backup")) {
                Ok(()) => worker.say(format!("removed left over backup lock from '{vmid}'!")),
                Err(error) => worker.say(error.to_string()),
            }
        }
    }
    Ok(())
}

/// `order=2,up=5`: the order, last of all by default, and the seconds to wait after the start.
fn startup(config: &GuestConfig) -> (u64, Option<u64>) {
    let text = config.current.get("startup").unwrap_or_default();
    let parsed = Properties::parse(text, Some("order")).unwrap_or_default();
    let order = parsed.first.and_then(|o| o.parse().ok()).unwrap_or(u64::MAX);
    let up = parsed.pairs.iter().find(|(k, _)| k == "up").and_then(|(_, v)| v.parse().ok());
    (order, up)
}

fn rest(worker: &Worker, time: Duration) -> Result<(), ApiError> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        worker.check_stop()?;
        lock::pause(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rec 2/781–789.
    #[test]
    fn the_order_of_a_guest() {
        let of = |text: &str| startup(&GuestConfig::parse(&format!("startup: {text}\n")));
        assert_eq!(of("order=2,up=1"), (2, Some(1)));
        assert_eq!(of("3"), (3, None));
        assert_eq!(startup(&GuestConfig::default()), (u64::MAX, None));
    }
}
