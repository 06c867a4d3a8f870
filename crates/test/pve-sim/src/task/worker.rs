//! A worker process: reads its order, does it, and writes the result as the last line of its log.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Upid;
use super::log::{self, Log};
use super::spawn::Order;
use crate::destroyed;
use crate::error::ApiError;
use crate::fault;
use crate::state::Host;
use crate::work;

/// What a job has at hand.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The host.
    pub(crate) host: Host,
    /// The task.
    pub(crate) upid: Upid,
    /// Its log.
    pub(crate) log: Log,
    /// Warnings so far; with some, the result is `WARNINGS: n`.
    pub(crate) warnings: u32,
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// One line in the log.
    pub(crate) fn say(&mut self, text: impl AsRef<str>) {
        self.log.line(text.as_ref());
    }

    /// A warning that counts.
    pub(crate) fn warn(&mut self, text: &str) {
        self.warnings += 1;
        self.log.line(&format!("WARN: {text}"));
    }

    /// Whether somebody asked the task to stop (SIGTERM).
    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The same, and the request counts as heard: a signal ends what it meets, and no more.
    pub(crate) fn take_stop(&self) -> bool {
        self.stop.swap(false, Ordering::Relaxed)
    }

    /// Ends the job if somebody asked for it.
    ///
    /// # Errors
    /// `interrupted by signal`.
    pub(crate) fn check_stop(&self) -> Result<(), ApiError> {
        if self.stopping() { Err(ApiError::die("interrupted by signal")) } else { Ok(()) }
    }

    /// A place where a fault can be wanted: `TYPE.name` of this task. A held task that is asked to stop goes on to its end.
    ///
    /// # Errors
    /// The fault's text.
    pub(crate) fn phase(&self, name: &str) -> Result<(), ApiError> {
        fault::point(&self.host, &format!("{}.{name}", self.upid.kind), &self.upid.id, || self.stopping())
    }

    /// Who started the task.
    pub(crate) fn authid(&self) -> &str {
        &self.upid.authid
    }

    /// Whether it was root@pam by ticket.
    pub(crate) fn is_root(&self) -> bool {
        self.upid.authid == "root@pam"
    }
}

/// The `worker` subcommand.
///
/// # Errors
/// If the order or the state directory cannot be read. What goes wrong in the job is in the log only.
pub(crate) fn run(state: &Path) -> io::Result<()> {
    let host = Host::open(state)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    let upid: Upid = order.upid.parse().map_err(|()| io::Error::other("bad UPID in order"))?;
    destroyed::acting_as(&order.upid);
    let stop = listen_for_stop()?;
    let log = Log::open(&log::path(&host, &upid))?;
    let mut worker = Worker { host, upid, log, warnings: 0, stop };
    let result = worker.phase("begin").and_then(|()| work::run(&mut worker, order.job));
    let last = match result {
        Ok(()) if worker.warnings > 0 => format!("TASK WARNINGS: {}", worker.warnings),
        Ok(()) => "TASK OK".to_owned(),
        Err(error) => format!("TASK ERROR: {}", error.to_string().replace('\n', " ")),
    };
    worker.say(last);
    Ok(())
}

/// SIGTERM and SIGINT set the flag; the job looks at it between steps, as Perl runs signal handlers.
fn listen_for_stop() -> io::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut term, mut int) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                flag.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(stop)
}
