//! The commands `pct`, `pvesm`, `pveum` and LXC's own, as far as they are needed on a Proxmox host.
//!
//! cli.rs has `Pct(pct::PctArgs)`, `Pvesm(pct::PvesmArgs)`, `Pveum(pct::pveum::PveumArgs)` and the hidden `Monitor(pct::MonitorArgs)` among its subcommands
//! and returns what the `run_…` functions return.

pub mod alloc;
pub mod lxc;
pub mod node;
pub mod pveum;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::destroyed::{self, Kind};
use crate::runtime::{self, Guest, GuestTree, Resolved, RuntimeError, Started};
use crate::state::Host;
use crate::volume::VolumeError;
use crate::volume::owners::{Owner, Owners, disk_mode};

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
    Push(PushArgs),
    /// Everything else.
    #[command(flatten)]
    Node(node::NodeCommand),
}

/// `pct push VMID FILE DESTINATION`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The (unique) ID of the VM.
    pub vmid: u32,
    /// Path to a local file.
    pub file: PathBuf,
    /// Destination inside the container to write to.
    pub destination: OsString,
    /// File permissions to use (octal by default, prefix with '0x' for hexadecimal).
    #[arg(long)]
    pub perms: Option<String>,
    /// Owner user name or id. When using a name it must exist inside the container.
    #[arg(long)]
    pub user: Option<String>,
    /// Owner group name or id. When using a name it must exist inside the container.
    #[arg(long)]
    pub group: Option<String>,
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
        PctCommand::Push(push) => push_file(&args.state, push).map(|()| ExitCode::SUCCESS),
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
    let Some((guest, started)) = running(state, vmid)? else { return Err(PctError::ExecNotRunning(vmid)) };
    let mut command = runtime::command(&started, argv)?;
    // A process that joins a frozen container does not run before the thaw.
    while guest.frozen()? {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Err(PctError::io("run", Path::new(command.get_program()))(command.exec()))
}

fn push_file(state: &Path, args: &PushArgs) -> Result<(), PctError> {
    let Some((guest, started)) = running(state, args.vmid)? else { return Err(PctError::PushNotRunning) };
    let tree = GuestTree::new(&started.rootfs, &started.mounts);
    let owner = Owner {
        uid: args.user.as_deref().map_or(Ok(0), |user| id(&tree, "user", "/etc/passwd", user))?,
        gid: args.group.as_deref().map_or(Ok(0), |group| id(&tree, "group", "/etc/group", group))?,
        mode: args.perms.as_deref().map_or(Ok(0o644), permissions)?,
    };
    let bytes = fs::read(&args.file).map_err(PctError::io("failed to open for reading", &args.file))?;
    let place = tree.resolve(&args.destination, true)?;
    if place.host.is_dir() {
        let value = args.destination.to_string_lossy().into_owned();
        return Err(PctError::BadParameter { parameter: "destination", reason: "is a directory", value });
    }
    // A state directory that no host was served from has no log.
    if place.host.exists()
        && let Ok(host) = Host::open(state)
    {
        let id = format!("{}:{}", args.vmid, args.destination.display());
        destroyed::note(&host, Kind::GuestFile, &id).map_err(PctError::io("log in", state))?;
    }
    replace(&place.host, &bytes, owner)?;
    record_owner(&guest, &place, owner)
}

fn running(state: &Path, vmid: u32) -> Result<Option<(Guest, Started)>, PctError> {
    if !state.join(format!("etc/pve/lxc/{vmid}.conf")).exists() {
        return Err(PctError::NoGuest { node: node_name(state), vmid });
    }
    Ok(Guest::open(state, vmid)?)
}

/// For the error text only.
fn node_name(state: &Path) -> String {
    let host = fs::read(state.join("etc/host.json")).ok();
    let host = host.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    host.and_then(|host| host.get("node")?.as_str().map(str::to_owned)).unwrap_or_else(|| "pve".to_owned())
}

/// The whole file appears at once; nobody ever sees it with other permissions.
fn replace(path: &Path, bytes: &[u8], owner: Owner) -> Result<(), PctError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(disk_mode(owner.mode, false)))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        drop(fs::remove_file(&temporary));
        PctError::io("write", path)(error)
    })
}

/// Two pushes at once must not lose each other's entry.
fn record_owner(guest: &Guest, place: &Resolved, owner: Owner) -> Result<(), PctError> {
    let Some(volume) = &place.volume else { return Ok(()) };
    let path = guest.dir.join("owners.lock");
    let lock = File::create(&path).map_err(PctError::io("open", &path))?;
    lock.lock().map_err(PctError::io("lock", &path))?;
    let mut owners = Owners::load(volume)?;
    let before = owners.clone();
    owners.set(&place.inside, owner, false);
    if owners != before {
        owners.save(volume)?;
    }
    Ok(())
}

/// A number, or a name from the guest's own `/etc/passwd` or `/etc/group` (name first, id third).
fn id(tree: &GuestTree, parameter: &'static str, file: &str, value: &str) -> Result<u32, PctError> {
    if let Ok(id) = value.parse() {
        return Ok(id);
    }
    let text =
        tree.resolve(OsStr::new(file), true).ok().and_then(|place| fs::read_to_string(place.host).ok());
    let found = text.as_deref().unwrap_or_default().lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == value).then(|| fields.nth(1)?.parse().ok())?
    });
    found.ok_or_else(|| PctError::BadParameter {
        parameter,
        reason: "no such name in the container",
        value: value.to_owned(),
    })
}

/// Octal with or without leading zero, or hexadecimal with `0x`.
fn permissions(text: &str) -> Result<u32, PctError> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => u32::from_str_radix(text, 8),
    };
    parsed.ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| PctError::BadParameter {
        parameter: "perms",
        reason: "no valid file permissions",
        value: text.to_owned(),
    })
}
