//! Starting a task: this program again, as `pve-sim worker`, in a session of its own, so that it outlives who started it.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::{Upid, index, log, process};
use crate::clock;
use crate::error::ApiError;
use crate::state::Host;
use crate::work::Job;

/// What a worker reads from its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Its own name.
    pub(crate) upid: String,
    /// What to do.
    pub(crate) job: Job,
}

/// Starts a task and returns its name. The process is waited for by a thread, so that it leaves no zombie and the lists are
/// refreshed when it ends.
pub(crate) fn start(host: &Host, kind: &str, id: &str, authid: &str, job: Job) -> Result<Upid, ApiError> {
    let (mut child, upid) = launch(host, kind, id, authid, job)?;
    let host = host.clone();
    let boot = clock::boot(&host);
    std::thread::spawn(move || {
        let _ = child.wait();
        // After a power cycle nobody is left who waits for this worker (F90).
        if clock::boot(&host) == boot {
            let _ = index::refresh(&host);
        }
    });
    Ok(upid)
}

/// Starts a task from within another one, which ends without waiting for it (F36).
pub(crate) fn start_nested(
    host: &Host,
    kind: &str,
    id: &str,
    authid: &str,
    job: Job,
) -> Result<Upid, ApiError> {
    launch(host, kind, id, authid, job).map(|(_, upid)| upid)
}

fn launch(host: &Host, kind: &str, id: &str, authid: &str, job: Job) -> Result<(Child, Upid), ApiError> {
    let mut child = spawn(host).map_err(|e| ApiError::die(format!("fork failed: {e}")))?;
    let launched = introduce(host, &mut child, (kind, id, authid), job);
    if launched.is_err() {
        // It waits for its order, which does not come.
        let _ = child.kill();
        let _ = child.wait();
    }
    launched.map(|upid| (child, upid))
}

fn spawn(host: &Host) -> io::Result<Child> {
    Command::new(process::SELF)
        .arg0("pve-sim")
        .arg("worker")
        .arg("--state")
        .arg(host.dir.root())
        .current_dir(host.dir.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

fn introduce(host: &Host, child: &mut Child, name: (&str, &str, &str), job: Job) -> Result<Upid, ApiError> {
    let (kind, id, authid) = name;
    let pid = child.id();
    let pstart =
        process::start_time(pid).ok_or_else(|| ApiError::die("unable to read process start time"))?;
    let starttime = clock::now(host);
    let upid = Upid {
        node: host.node.clone(),
        pid,
        pstart,
        starttime,
        kind: kind.into(),
        id: id.into(),
        authid: authid.into(),
    };
    log::Log::open(&log::path(host, &upid))?;
    index::add(host, &upid)?;
    let order = Order { upid: upid.to_string(), job };
    let mut bytes = serde_json::to_vec(&order).map_err(io::Error::other)?;
    bytes.push(b'\n');
    let mut input = child.stdin.take().ok_or_else(|| ApiError::die("worker has no standard input"))?;
    input.write_all(&bytes)?;
    Ok(upid)
}
