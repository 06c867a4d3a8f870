//! The commands `pct`, `pvesm`, `pveum` and LXC's own, as far as they are needed on a Proxmox host.
//!
//! cli.rs has `Pct(pct::PctArgs)`, `Pvesm(pct::PvesmArgs)`, `Pveum(pct::pveum::PveumArgs)` and the hidden `Monitor(pct::MonitorArgs)` among its subcommands
//! and returns what the `run_…` functions return.

pub mod alloc;
pub mod lxc;
pub mod node;
pub mod push;
pub mod pveum;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::destroyed;
use crate::runtime::lxc::Container;
use crate::runtime::{self, Guest, RuntimeError};
use crate::state::{Host, RuntimeKind};
use crate::volume::VolumeError;

/// `pve-sim pct --state DIR …`.
#[derive(Debug, Args)]
pub struct PctArgs {
    /// State directory of the simulator.
    #[arg(long, env = "PVE_SIM_STATE")]
    pub state: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: PctCommand,
}

/// Commands of `pct`.
#[derive(Debug, Subcommand)]
pub enum PctCommand {
    /// Launch a command inside the specified container.
    Exec {
        /// The (unique) ID of the VM.
        vmid: u32,
        /// Program and arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Copy a local file to the container.
    Push(push::PushArgs),
    /// Everything else.
    #[command(flatten)]
    Node(node::NodeCommand),
}

/// `pve-sim pvesm --state DIR …`.
#[derive(Debug, Args)]
pub struct PvesmArgs {
    /// State directory of the simulator.
    #[arg(long, env = "PVE_SIM_STATE")]
    pub state: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: PvesmCommand,
}

/// Commands of `pvesm`.
#[derive(Debug, Subcommand)]
pub enum PvesmCommand {
    /// Get filesystem path for specified volume.
    Path {
        /// Volume identifier.
        volume: String,
    },
    /// Allocate a volume that no guest's configuration names.
    Alloc(alloc::AllocArgs),
}

/// `pve-sim monitor …`: internal, started by [`Guest::start`].
#[derive(Debug, Args)]
pub struct MonitorArgs {
    /// Directory of the guest's records.
    #[arg(long)]
    pub dir: PathBuf,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum PctError {
    #[error("Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist")]
    NoGuest { node: String, vmid: u32 },
    #[error("container '{0}' not running!")]
    ExecNotRunning(u32),
    #[error("can only push files to a running CT")]
    PushNotRunning,
    #[error("{parameter}: {reason}: '{value}'")]
    BadParameter { parameter: &'static str, reason: &'static str, value: String },
    #[error("{action} '{path}': {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl PctError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// Runs a `pct` command. Messages go to standard error. `exec` becomes the program, so its exit status is the program's own;
/// it ends with 127 if the guest has no such program and with 255 on any other failure, as `lxc-attach` and `pct` do.
#[must_use]
pub fn run_pct(args: &PctArgs) -> ExitCode {
    destroyed::acting_as("pct");
    let result = match &args.command {
        PctCommand::Exec { vmid, command } => exec(&args.state, *vmid, command),
        PctCommand::Push(push) => push::run(&args.state, push),
        PctCommand::Node(command) => Ok(node::run(&args.state, command)),
    };
    result.unwrap_or_else(|error| match error {
        PctError::Runtime(RuntimeError::NoProgram { .. }) => {
            complain(&error);
            ExitCode::from(127)
        }
        other => complain(&other),
    })
}

/// Runs a `pvesm` command. `path_of` finds a volid's path from the state directory and the volid.
#[must_use]
pub fn run_pvesm<E: Display>(
    args: &PvesmArgs,
    path_of: impl FnOnce(&Path, &str) -> Result<PathBuf, E>,
) -> ExitCode {
    let volume = match &args.command {
        PvesmCommand::Path { volume } => volume,
        PvesmCommand::Alloc(alloc) => return alloc::run(&args.state, alloc),
    };
    match path_of(&args.state, volume) {
        Ok(path) => match writeln!(io::stdout(), "{}", path.display()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        },
        Err(error) => complain(&error),
    }
}

/// Runs the monitor of one guest until the guest's init has ended.
#[must_use]
pub fn run_monitor(args: &MonitorArgs) -> ExitCode {
    match runtime::monitor(&args.dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn complain(error: &dyn Display) -> ExitCode {
    drop(writeln!(io::stderr(), "{error}"));
    ExitCode::from(255)
}

fn exec(state: &Path, vmid: u32, argv: &[OsString]) -> Result<ExitCode, PctError> {
    let host = host_of(state, vmid)?;
    if let Some(host) = host.filter(|host| host.runtime == RuntimeKind::Lxc) {
        let container = Container::new(host.dir.root(), vmid);
        if !container.running() {
            return Err(PctError::ExecNotRunning(vmid));
        }
        return Err(PctError::io("run", Path::new("lxc-attach"))(container.attach().args(argv).exec()));
    }
    let Some((guest, started)) = Guest::open(state, vmid)? else {
        return Err(PctError::ExecNotRunning(vmid));
    };
    let mut command = runtime::process::command(&started, argv)?;
    // A process that joins a frozen container does not run before the thaw.
    while guest.frozen()? {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Err(PctError::io("run", Path::new(command.get_program()))(command.exec()))
}

/// The host, if one was served from this directory; an error if it has no such guest.
fn host_of(state: &Path, vmid: u32) -> Result<Option<Host>, PctError> {
    if !state.join(format!("etc/pve/lxc/{vmid}.conf")).exists() {
        return Err(PctError::NoGuest { node: node_name(state), vmid });
    }
    Ok(Host::open(state).ok())
}

/// For the error text only.
fn node_name(state: &Path) -> String {
    let host = fs::read(state.join("etc/host.json")).ok();
    let host = host.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    host.and_then(|host| host.get("node")?.as_str().map(str::to_owned)).unwrap_or_else(|| "pve".to_owned())
}
