//! One container: start, and what can be asked of it and done with it while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroup::{self, Groups};
use super::config::{self, Parts};
use super::network::{self, Interface, Network, Wire};
use super::program::{self, run};
use super::setup;
use crate::runtime::process::proc::{Process, pause};
use crate::runtime::{Mount, RuntimeError};

/// How long a monitor may take to be gone after its container ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const STEP: Duration = Duration::from_millis(5);
/// An address of a socket is no longer (`sun_path` of unix(7), without the first zero).
const SOCKET: usize = 107;

/// A guest of this runtime, running or not.
#[derive(Debug, Clone)]
pub struct Container {
    vmid: u32,
    state: PathBuf,
}

/// How a container is to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its host name.
    pub hostname: String,
    /// Tree of its root volume.
    pub rootfs: PathBuf,
    /// Its mount points other than that.
    pub mounts: Vec<Mount>,
    /// Its network interfaces.
    pub wires: Vec<Wire>,
    /// Addresses that go into the guest's own files.
    pub addresses: Vec<Address>,
    /// Whether containers may run in it.
    pub nesting: bool,
    /// MiB of memory, and of swap.
    pub memory: (u64, u64),
}

/// What a guest's own files say of an interface's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `eth0`.
    pub interface: String,
    /// `dhcp`, `manual` or an address with its prefix.
    pub ip: String,
    /// The gateway.
    pub gateway: Option<String>,
}

impl Container {
    /// The container of a guest; nothing is touched.
    #[must_use]
    pub fn new(state: &Path, vmid: u32) -> Self {
        Self { vmid, state: state.to_path_buf() }
    }

    /// Whether it runs: its monitor listens.
    #[must_use]
    pub fn running(&self) -> bool {
        let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let own = format!(" @{}", self.socket());
        sockets.lines().any(|line| line.ends_with(&own))
    }

    /// Process id and start time (clock ticks since boot) of its init; `None` if it does not run.
    #[must_use]
    pub fn init(&self) -> Option<(u32, u64)> {
        let process = self.running().then(|| self.first_process()).flatten()?;
        Some((u32::try_from(process.pid).ok()?, process.start_time))
    }

    fn first_process(&self) -> Option<Process> {
        let text = self.tool("lxc-info", &["-p", "-H"]).ok()?;
        Process::of(text.trim().parse().ok()?)
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.groups().memory().unwrap_or_default()
    }

    /// Starts it and returns when its init runs. What an earlier run left is ended first.
    ///
    /// # Errors
    /// [`RuntimeError::AlreadyRunning`], [`RuntimeError::StartFailed`] with LXC's own words, [`RuntimeError::Io`].
    pub fn start(&self, launch: &Launch) -> Result<(), RuntimeError> {
        if self.running() {
            return Err(RuntimeError::AlreadyRunning(self.vmid));
        }
        self.clear()?;
        let failed = |reason: String| RuntimeError::StartFailed { vmid: self.vmid, reason };
        if self.socket().len() > SOCKET {
            let most = SOCKET - (self.socket().len() - self.state.as_os_str().len());
            let path = self.state.display();
            return Err(failed(format!("the state directory's path '{path}' has more than {most} bytes")));
        }
        setup::write(&launch.rootfs, &launch.hostname, &launch.addresses)?;
        let text = config::text(&Parts {
            hostname: &launch.hostname,
            rootfs: &launch.rootfs,
            mounts: &launch.mounts,
            wires: &launch.wires,
            nesting: launch.nesting,
            memory: launch.memory,
            limits: cgroup::memory(),
            groups: &self.groups(),
        })
        .map_err(failed)?;
        let folder = self.lxcpath().join(self.vmid.to_string());
        fs::create_dir_all(&folder).map_err(RuntimeError::io("create", &folder))?;
        let config = folder.join("config");
        fs::write(&config, text).map_err(RuntimeError::io("write", &config))?;
        let log = folder.join("log");
        drop(fs::remove_file(&log));
        if let Err(error) = self.tool("lxc-start", &["--daemon", "-l", "WARN", "-o", &log.to_string_lossy()])
        {
            self.clear()?;
            return Err(failed(first_error(&log).unwrap_or_else(|| error.to_string())));
        }
        launch.wires.iter().filter(|wire| !wire.up).try_for_each(network::set_link)
    }

    /// Ends it at once, and what is left of it. No error if nothing is.
    ///
    /// # Errors
    /// [`RuntimeError::Timeout`], [`RuntimeError::Io`].
    pub fn stop(&self) -> Result<(), RuntimeError> {
        if self.running() {
            // What it does not end is ended below.
            drop(self.tool("lxc-stop", &["--kill"]));
            self.ended_within(PATIENCE);
        }
        self.clear()
    }

    /// Asks its init to end and waits up to `timeout`. Whether it ended.
    ///
    /// # Errors
    /// As [`Container::stop`].
    pub fn shutdown(&self, timeout: Duration) -> Result<bool, RuntimeError> {
        let started = Instant::now();
        if self.running() {
            // Fails if it does not end in time, which is seen below.
            drop(self.tool("lxc-stop", &["--nokill", "--timeout", &timeout.as_secs().max(1).to_string()]));
        }
        let ended = self.ended_within(timeout.saturating_sub(started.elapsed()).max(STEP));
        if ended {
            self.clear()?;
        }
        Ok(ended)
    }

    fn ended_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.running() {
            if Instant::now() >= deadline {
                return false;
            }
            pause(STEP);
        }
        true
    }

    /// Whether it is frozen; `None` if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Program`].
    pub fn frozen(&self) -> Result<Option<bool>, RuntimeError> {
        if !self.running() {
            return Ok(None);
        }
        Ok(match self.tool("lxc-info", &["-s", "-H"])?.trim() {
            "STOPPED" => None,
            state => Some(state == "FROZEN" || state == "FREEZING"),
        })
    }

    /// Freezes or thaws it.
    ///
    /// # Errors
    /// [`RuntimeError::Program`].
    pub fn set_frozen(&self, frozen: bool) -> Result<(), RuntimeError> {
        self.tool(if frozen { "lxc-freeze" } else { "lxc-unfreeze" }, &[]).map(drop)
    }

    /// Plugs an interface of the running container in or pulls it. No error if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Program`].
    pub fn set_link(&self, wire: &Wire) -> Result<(), RuntimeError> {
        if self.running() { network::set_link(wire) } else { Ok(()) }
    }

    /// Takes an interface of the running container away. No error if it is not there.
    ///
    /// # Errors
    /// [`RuntimeError::Program`].
    pub fn unplug(&self, outside: &str) -> Result<(), RuntimeError> {
        network::delete_leftover(outside)
    }

    /// Mounts a directory of this machine in the running container. No error if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Io`], [`RuntimeError::Program`].
    pub fn plug(&self, mount: &Mount) -> Result<(), RuntimeError> {
        let Some((pid, _)) = self.init() else { return Ok(()) };
        let mut own = program::command(crate::task::process::SELF);
        own.args(["plug", "--pid", &pid.to_string(), "--source"]).arg(&mount.source);
        own.arg("--path").arg(&mount.path);
        program::answer("mount", &mut own).map(drop)
    }

    /// Its interfaces with their addresses; none if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Program`].
    pub fn interfaces(&self) -> Result<Vec<Interface>, RuntimeError> {
        match self.first_process() {
            Some(init) if self.running() => network::interfaces_of(init.pid),
            _ => Ok(Vec::new()),
        }
    }

    /// The command that runs a program in it; its status is the program's own, 127 if there is none.
    #[must_use]
    pub fn attach(&self) -> std::process::Command {
        let mut command = program::command("lxc-attach");
        command.args(self.names()).arg("--clear-env").arg("--").stdin(std::process::Stdio::inherit());
        command
    }

    /// Ends processes, groups and interfaces that a dead monitor left.
    fn clear(&self) -> Result<(), RuntimeError> {
        self.groups().clear(self.vmid)?;
        let prefix = Network::of(&self.state, 0).outside(self.vmid, 0);
        let prefix = prefix.strip_suffix('0').unwrap_or(&prefix);
        for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) {
                network::delete_leftover(name)?;
            }
        }
        Ok(())
    }

    fn groups(&self) -> Groups {
        Groups::of(&super::mark(&self.state), self.vmid)
    }

    fn lxcpath(&self) -> PathBuf {
        self.state.join("var/lib/lxc")
    }

    /// Where its monitor listens.
    fn socket(&self) -> String {
        format!("{}/{}/command", self.lxcpath().display(), self.vmid)
    }

    fn names(&self) -> [String; 4] {
        ["-P".to_owned(), self.lxcpath().display().to_string(), "-n".to_owned(), self.vmid.to_string()]
    }

    fn tool(&self, name: &'static str, arguments: &[&str]) -> Result<String, RuntimeError> {
        run(name, self.names().iter().map(String::as_str).chain(arguments.iter().copied()))
    }
}

/// The first error in LXC's log, without time and place.
fn first_error(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains(" ERROR "))?;
    Some(line.rsplit_once(" - ").map_or(line, |(_, text)| text).to_owned())
}
