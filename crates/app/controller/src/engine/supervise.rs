//! One service: found again or started, watched, restarted by its policy, stopped.
//!
//! 1. The recorded instance is taken over if it runs (the controller was killed, the service was not).
//! 2. Otherwise what the last instance left is ended, and the launcher starts a new one.
//! 3. Until it ends or is to stop, its health is checked.
//! 4. It ended: by the restart policy it is started again, later each time; after [`FLAPS`] quick ends it is `failed`.

use super::{
    RunState,
    health::HealthClient,
    instance::{Instance, ServiceFiles},
    launch, proc, service_root,
};
use crate::{
    app::{App, Service, service::Restart},
    files,
    paths::Paths,
};
use rustix::process::Signal;
use std::{
    net::Ipv4Addr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    sync::{RwLock, watch},
};

/// Ends in a row, each within [`QUICK`], after which a service is `failed`.
const FLAPS: u32 = 6;
/// An instance that lived longer starts a new count.
const QUICK: Duration = Duration::from_secs(10);
/// How often a process that is not our child is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long SIGKILL may take.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// How long the launcher may take.
const START_WITHIN: Duration = Duration::from_secs(10);
/// The log of a service starts anew when it is larger, in bytes.
const LOG_LIMIT: u64 = 4 << 20;

/// What all services share.
#[derive(Debug)]
pub struct Shared {
    /// The guest's paths.
    pub paths: Paths,
    /// The guest's loopback address.
    pub lo: Ipv4Addr,
    /// This program, which is also the launcher.
    pub program: PathBuf,
    /// Makes health checks.
    pub health: HealthClient,
    /// Read while something is started, written while nothing may be.
    pub starts: Arc<RwLock<()>>,
}

/// What a service does, as its supervisor saw it last.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Its process, while there is one.
    pub instance: Option<Instance>,
    /// Whether the last health checks passed.
    pub healthy: bool,
    /// Nothing more is done for it: it is `failed`, or a service that need not run again is `stopped`.
    pub over: Option<RunState>,
    /// Why it does not run or is not healthy.
    pub message: Option<String>,
}

impl View {
    /// The state, looked up now: a process that stands still is frozen whoever stopped it.
    pub fn state(&self) -> RunState {
        match (&self.instance, self.over) {
            (Some(instance), _) if instance.process.state() == Some('T') => RunState::Frozen,
            (Some(_), _) if self.healthy => RunState::Running,
            (None, Some(over)) => over,
            (Some(_) | None, _) => RunState::Starting,
        }
    }
}

/// Runs one service until it is told to stop.
pub struct Supervisor {
    shared: Arc<Shared>,
    app: Arc<App>,
    service: Service,
    files: ServiceFiles,
    view: Arc<Mutex<View>>,
    stop: watch::Receiver<bool>,
}

/// A process to wait for: our own child, or one that was taken over.
enum Process {
    Child(Box<Child>),
    Adopted(proc::ProcessId),
}

impl Process {
    /// Waits for its end; the status of one that was taken over is not known.
    async fn ended(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Child(child) => child.wait().await.ok(),
            Self::Adopted(process) => {
                while process.is_alive() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                None
            }
        }
    }
}

impl Supervisor {
    /// For `service` of `app`; `stop` turning true ends it.
    pub fn new(
        shared: Arc<Shared>,
        app: Arc<App>,
        service: Service,
        view: Arc<Mutex<View>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let files = ServiceFiles::new(&shared.paths, &app.name, &service.name);
        Self { shared, app, service, files, view, stop }
    }

    /// Runs it; returns when it was stopped or given up.
    pub async fn run(mut self) {
        let mut flaps = 0;
        while !*self.stop.borrow() {
            let begun = Instant::now();
            let (succeeded, what) = match self.take_over_or_start().await {
                Ok((instance, mut process)) => {
                    self.set(|view| *view = View { instance: Some(instance.clone()), ..View::default() });
                    let status = self.watch(&instance, &mut process).await;
                    let what = status.map_or("it ended".into(), |status| format!("it ended with {status}"));
                    (status.is_some_and(|status| status.success()), what)
                }
                Err(e) => (false, e.to_string()),
            };
            if *self.stop.borrow() {
                break;
            }
            flaps = if begun.elapsed() > QUICK { 1 } else { flaps + 1 };
            let again = match self.service.restart {
                Restart::Always => flaps < FLAPS,
                Restart::OnFailure(limit) => {
                    !succeeded && flaps < FLAPS && limit.is_none_or(|limit| flaps <= limit)
                }
                Restart::No => false,
            };
            let over = match (again, succeeded) {
                (true, _) => None,
                (false, true) => Some(RunState::Stopped),
                (false, false) => Some(RunState::Failed),
            };
            let message = format!("service `{}`: {what}; {}", self.service.name, self.last_words());
            tracing::warn!(app = %self.app.name, service = self.service.name, again, "{message}");
            self.set(|view| *view = View { instance: None, healthy: false, over, message: Some(message) });
            if over.is_some() {
                return;
            }
            let pause = Duration::from_millis(200 << flaps.min(6));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.stop.changed() => {}
            }
        }
        self.set(|view| *view = View::default());
    }

    fn set(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn take_over_or_start(&self) -> std::io::Result<(Instance, Process)> {
        let _starts = self.shared.starts.read().await;
        if let Some(instance) = self.files.running()? {
            let pid = instance.process.pid;
            tracing::info!(app = %self.app.name, service = self.service.name, pid, "taken over");
            let process = Process::Adopted(instance.process);
            return Ok((instance, process));
        }
        if let Some(old) = self.files.recorded()? {
            end_leftovers(&old).await;
        }
        self.start().await
    }

    /// Starts it; returns when the launcher has recorded it, in a session of its own and with the lock.
    async fn start(&self) -> std::io::Result<(Instance, Process)> {
        let nonce = crate::random_hex()?;
        let Shared { paths, lo, .. } = &*self.shared;
        let launch = service_root::prepare(paths, &self.app, &self.service, *lo, nonce.clone())?;
        // The environment may hold secrets: the file is 0600 and none of it is in argv.
        files::write_json(&self.files.launch(), &launch)?;
        let log = self.open_log()?;
        let mut child = Command::new(&self.shared.program)
            .arg("launch")
            .arg(self.files.launch())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|e| files::about("starting", &self.shared.program, &e))?;
        let deadline = Instant::now() + START_WITHIN;
        loop {
            // Whether it ended is asked first: a service may be recorded and over at once.
            let ended = child.try_wait()?;
            if let Some(instance) = self.files.recorded()?.filter(|instance| instance.nonce == nonce) {
                tracing::info!(app = %self.app.name, service = self.service.name, pid = instance.process.pid, "started");
                return Ok((instance, Process::Child(Box::new(child))));
            }
            match ended.map(|status| (status.code(), status)) {
                Some((Some(launch::LOCKED), _)) => {
                    return Err(std::io::Error::other("another instance of it still runs"));
                }
                Some((_, status)) => {
                    return Err(std::io::Error::other(format!("the launcher ended with {status}")));
                }
                None if Instant::now() > deadline => {
                    let _ = child.start_kill();
                    return Err(std::io::Error::other("the launcher did not start it in time"));
                }
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    fn open_log(&self) -> std::io::Result<std::fs::File> {
        let path = self.shared.paths.service_log(&self.app.name, &self.service.name);
        let open = || {
            std::fs::create_dir_all(path.parent().unwrap_or(self.shared.paths.root()))?;
            let fresh = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_LIMIT);
            if fresh {
                std::fs::remove_file(&path)?;
            }
            std::fs::OpenOptions::new().create(true).append(true).open(&path)
        };
        open().map_err(|e| files::about("opening", &path, &e))
    }

    /// Checks health until the process ends, or ends it because it is to stop.
    async fn watch(&mut self, instance: &Instance, process: &mut Process) -> Option<ExitStatus> {
        let status = {
            let mut stop = self.stop.clone();
            let checks = self.check_health(instance);
            tokio::pin!(checks);
            tokio::select! {
                status = process.ended() => status,
                () = &mut checks => None,
                () = stopped(&mut stop) => self.end(instance, process).await,
            }
        };
        end_leftovers(instance).await;
        status
    }

    /// Never returns.
    async fn check_health(&self, instance: &Instance) {
        let checks = self.app.health_of(&self.service.name);
        if checks.is_empty() {
            self.set(|view| view.healthy = true);
            return std::future::pending().await;
        }
        let interval = checks.iter().map(|(check, _)| check.interval).min().unwrap_or(QUICK);
        let retries = checks.iter().map(|(check, _)| check.retries).min().unwrap_or(1);
        let (mut failures, mut was_healthy) = (0, false);
        loop {
            let mut result = Ok(());
            for (check, status) in &checks {
                result = self.shared.health.check(self.shared.lo, check, *status, &instance.nonce).await;
                if result.is_err() {
                    break;
                }
            }
            // A service that is made to stand still does not become unhealthy by it.
            if instance.process.state() != Some('T') {
                failures = if result.is_ok() { 0 } else { failures + 1 };
                if result.is_ok() || failures >= retries || !was_healthy {
                    was_healthy = result.is_ok();
                    let message = result.err().map(|e| format!("service `{}`: {e}", self.service.name));
                    self.set(|view| (view.healthy, view.message) = (was_healthy, message));
                }
            }
            let pause = if was_healthy { interval } else { interval.min(Duration::from_millis(100)) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn end(&self, instance: &Instance, process: &mut Process) -> Option<ExitStatus> {
        let pid = instance.process.pid;
        let _ = proc::signal(pid, Signal::TERM);
        let _ = proc::signal(pid, Signal::CONT);
        if let Ok(status) = tokio::time::timeout(self.service.stop_grace, process.ended()).await {
            return status;
        }
        tracing::warn!(app = %self.app.name, service = self.service.name, pid, "killed: it did not end in time");
        let _ = proc::signal(pid, Signal::KILL);
        tokio::time::timeout(KILL_WITHIN, process.ended()).await.ok().flatten()
    }

    /// The last line of the service's log.
    fn last_words(&self) -> String {
        let path = self.shared.paths.service_log(&self.app.name, &self.service.name);
        let text = std::fs::read(&path).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
        match tail.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => format!("its last words: {}", line.chars().take(300).collect::<String>()),
            None => "it said nothing".to_owned(),
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Ends what is left of an instance whose main process is gone, as a container ends with its first process. Only
/// processes of its session that carry its nonce are its own.
async fn end_leftovers(instance: &Instance) {
    if instance.process.is_alive() {
        return;
    }
    let deadline = Instant::now() + KILL_WITHIN;
    while Instant::now() < deadline {
        let own = |stat: &proc::Stat| proc::has_variable(stat.id.pid, "HEALTH_NONCE", &instance.nonce);
        let left: Vec<_> = proc::of_session(instance.process.pid).into_iter().filter(own).collect();
        if left.is_empty() {
            return;
        }
        for stat in left {
            let _ = proc::signal(stat.id.pid, Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
