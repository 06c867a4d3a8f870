//! What every step is given: the world, the programs that run, how to call them, how to wait, and what earlier steps found.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::{
    call,
    screen::Screen,
    service::{self, Services},
    steps::Facts,
    world::{BOX, World},
};
use crate::{
    golden::{Profile, Runtime},
    run,
};

const POLL: Duration = Duration::from_millis(150);

/// A running demo.
pub(crate) struct Demo {
    /// Folders and addresses.
    pub(crate) world: World,
    /// Where progress goes.
    pub(crate) screen: Screen,
    /// The programs that stay up.
    pub(crate) services: Services,
    /// How much the app gets.
    pub(crate) load: Load,
    /// How the programs are configured, apart from where everything is.
    pub(crate) pace: Pace,
    /// What the steps found.
    pub(crate) facts: Facts,
    interrupted: Arc<AtomicBool>,
}

impl Demo {
    /// A demo in which nothing runs yet; from now on Ctrl-C is a wish and not an end.
    pub(crate) fn new(world: World, screen: Screen) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second one ends us at once.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))?;
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        let (services, load, facts) = (Services::default(), Load::default(), Facts::default());
        Ok(Self { world, screen, services, load, pace: Pace::default(), facts, interrupted })
    }

    /// The operator's command line.
    pub(crate) fn felhom(&self, args: &[&str]) -> Command {
        let mut command = self.world.program("felhom");
        command.arg("--config").arg(self.world.path("operator/config.toml")).arg("--json").args(args);
        command
    }

    /// The executor's command line, as root on the box would use it.
    pub(crate) fn executor(&self, args: &[&str]) -> Command {
        let mut command = self.world.program("felhom-executor");
        command.arg("--config").arg(self.world.path("etc/executor.toml")).args(args);
        command
    }

    /// The agent's command line.
    pub(crate) fn agent(&self, args: &[&str]) -> Command {
        let mut command = self.world.program("felhom-agent");
        command.arg("--config").arg(self.world.path("etc/agent.toml")).args(args);
        command
    }

    /// The simulated host's `pct`.
    pub(crate) fn pct(&self, args: &[&str]) -> Command {
        let mut command = self.world.program("pve-sim");
        command.arg("pct").arg("--state").arg(self.world.path("pve")).args(args);
        command
    }

    /// The box as the hub shows it.
    pub(crate) fn shown(&self) -> Result<Value> {
        call::json(&mut self.felhom(&["box", "show", BOX]))
    }

    /// The box's operations as the executor shows them.
    pub(crate) fn operations(&self) -> Result<Value> {
        call::json(&mut self.executor(&["ops", "--json"]))
    }

    /// The box's operations as the hub shows them.
    pub(crate) fn reported_operations(&self) -> Result<Value> {
        call::json(&mut self.felhom(&["ops", "list", BOX]))
    }

    /// Look until there is something. Errors are final, except those of `tolerated`, which are told if time runs out.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        most: Duration,
        mut look: impl FnMut() -> Result<Look<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + most;
        let mut last = String::new();
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            self.services.check()?;
            match look().with_context(|| format!("waiting for {what}"))? {
                Look::Found(found) => return Ok(found),
                Look::NotYet(state) => {
                    if !state.is_empty() {
                        self.screen.progress(&state);
                        last = state;
                    }
                }
            }
            if Instant::now() >= deadline {
                bail!("{what}: not within {} s; last seen: {last}", most.as_secs());
            }
            run::pause(POLL);
        }
    }

    /// Until Ctrl-C, or until a program ends by itself.
    pub(crate) fn stay_up(&self) {
        self.screen.print("\nCtrl-C ends it.");
        while !self.interrupted.load(Ordering::Relaxed) {
            if let Err(error) = self.services.check() {
                self.screen.print(&format!("{error:#}"));
                return;
            }
            run::pause(POLL);
        }
    }

    /// End all programs, the guests' too.
    pub(crate) fn stop(&self) {
        self.services.stop_all(&["agent", "executor", "hub", "pve-sim"]);
        if self.world.runtime == Runtime::Lxc {
            let mut off = self.world.program("pve-sim");
            off.arg("reboot").arg("--state").arg(self.world.path("pve")).arg("--off");
            if let Err(error) = run::check(&mut off) {
                self.screen.print(&format!("containers may be left over: {error:#}"));
            }
        }
        for _ in 0..50 {
            let left = service::processes_below(&self.world.dir);
            if left.is_empty() {
                return;
            }
            for pid in left {
                service::signal(pid, Signal::KILL);
            }
            run::pause(Duration::from_millis(20));
        }
    }
}

/// How much data there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Notes in its database.
    pub(crate) notes: usize,
    /// Files.
    pub(crate) files: usize,
    /// Bytes of each file.
    pub(crate) file_bytes: usize,
    /// What the golden archive holds beside its programs.
    pub(crate) ballast_mib: usize,
    /// How what runs in containers is built.
    pub(crate) profile: Profile,
}

impl Default for Load {
    fn default() -> Self {
        Self { notes: 40, files: 12, file_bytes: 512 << 10, ballast_mib: 0, profile: Profile::Dev }
    }
}

/// How the programs are configured, as lines of their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Of the hub.
    pub(crate) hub: String,
    /// Of the agent.
    pub(crate) agent: String,
    /// Of the executor.
    pub(crate) executor: String,
    /// Where boxes reach the hub, if not where it listens.
    pub(crate) hub_door: Option<SocketAddr>,
}

impl Default for Pace {
    /// Everything that waits for the next minute in a home waits for seconds here.
    fn default() -> Self {
        Self {
            hub: "next_sync_s = 5\n".to_owned(),
            agent: "observe_s = 2\nheartbeat_s = 1\nsync_wait_s = 10\n".to_owned(),
            // A box in a home waits for days; this one says so by its configuration.
            executor: "backup_min_interval_s = 60\nmax_guests = 2\ngrace_s = 3\n".to_owned(),
            hub_door: None,
        }
    }
}

/// What a look showed.
pub(crate) enum Look<T> {
    /// What was waited for.
    Found(T),
    /// Something else, in words for people.
    NotYet(String),
}

impl<T> Look<T> {
    /// Found if it is there.
    pub(crate) fn of(found: Option<T>, state: impl Into<String>) -> Self {
        found.map_or_else(|| Self::NotYet(state.into()), Self::Found)
    }
}

/// A call that may fail while a program is just being started: its error is a state, not an end.
pub(crate) fn tolerant<A, T>(result: Result<A>, then: impl FnOnce(A) -> Result<Look<T>>) -> Result<Look<T>> {
    match result {
        Ok(value) => then(value),
        Err(error) => Ok(Look::NotYet(format!("{error:#}"))),
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
