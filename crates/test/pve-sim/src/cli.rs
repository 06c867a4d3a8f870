//! The command line. A command only translates: parse, call, print.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::api::describe;
use crate::daemon::Limits;
use crate::error::ApiError;
use crate::fault::edit::{self, FaultArgs};
use crate::pct;
use crate::preset::Preset;
use crate::pvestatd::{self, PvestatdArgs};
use crate::reboot::{self, RebootArgs};
use crate::runtime::lxc;
use crate::serve::{self, Options};
use crate::state::storage::Storages;
use crate::state::{Host, RuntimeKind};
use crate::task::worker;
use crate::work::tar;

const EXAMPLES: &str = "\
Without a command it serves: `pve-sim --state DIR --listen ADDR …` is `pve-sim serve --state DIR --listen ADDR …`.

Examples:
  printf 'secret-password' > root.pw && chmod 600 root.pw
  pve-sim --state ./state --listen 127.0.0.1:8006 --root-password-file root.pw
  pve-sim --state ./lab --listen 127.0.0.1:0 --preset busy --runtime none --json
  pve-sim pct --state ./state exec 101 -- /bin/true
  pve-sim pct --state ./state unlock 101
  pve-sim pct --state ./state rescan --vmid 101
  pve-sim pct --state ./state set 101 --mp7 /srv/photos,mp=/photos
  pve-sim lxc-unfreeze --state ./state -n 101
  pve-sim pveum --state ./state acl modify /vms/101 --roles PVEVMUser --users me@pve --propagate 0
  pve-sim pvesm --state ./state path local:backup/vzdump-lxc-101-2026_11_23-11_28_42.tar.zst
  pve-sim fault --state ./state set '{\"at\": \"vzdump.archive\", \"do\": \"kill\"}'
  pve-sim reboot --state ./state
  pve-sim routes --json";

#[derive(Debug, Parser)]
#[command(name = "pve-sim", version, about = "A simulated Proxmox VE host in one program", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API of a host whose state is in a directory.
    Serve(ServeArgs),
    /// The node's `pct`, as far as it goes.
    Pct(pct::PctArgs),
    /// The node's `pvesm`, as far as it goes.
    Pvesm(pct::PvesmArgs),
    /// The node's `pveum`, as far as it goes.
    Pveum(pct::pveum::PveumArgs),
    /// Thaw all processes of a guest.
    LxcUnfreeze(pct::lxc::LxcArgs),
    /// Say whether a guest is RUNNING, FROZEN or STOPPED.
    LxcInfo(pct::lxc::LxcArgs),
    /// Make things go wrong: tasks, calls, storages, the clock.
    Fault(FaultArgs),
    /// A power cycle of the host: tasks and guests are gone, files stay.
    Reboot(RebootArgs),
    /// One round of status collection at once: lists show what changed, dead tasks leave the list of active ones.
    Pvestatd(PvestatdArgs),
    /// Print which endpoints there are.
    Routes {
        /// With parameters and permission expressions, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// One task (internal).
    #[command(hide = true)]
    Worker {
        /// State directory.
        #[arg(long)]
        state: PathBuf,
    },
    /// The archiver (internal).
    #[command(hide = true)]
    Tar,
    /// Mount a directory in a running container (internal).
    #[command(hide = true)]
    Plug(lxc::PlugArgs),
    /// One running guest (internal).
    #[command(hide = true)]
    Monitor(pct::MonitorArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// State directory; made if it does not exist.
    #[arg(long, env = "PVE_SIM_STATE")]
    state: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8006")]
    listen: SocketAddr,
    /// Node name.
    #[arg(long, default_value = "pve")]
    node: String,
    /// How guests run: as processes, as containers (needs root and LXC), or only marked as running.
    #[arg(long, value_enum, default_value = "process")]
    runtime: RuntimeKind,
    /// Number of this host among several on one machine: guests' addresses are in 127.N.0.0/16, containers' in 10.198.N.0/24.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..))]
    net: u8,
    /// File with the password of root@pam; a trailing newline is ignored. Without it one is made up and kept in the state directory.
    #[arg(long)]
    root_password_file: Option<PathBuf>,
    /// What a new state directory holds.
    #[arg(long, value_enum, default_value = "default")]
    preset: Preset,
    /// Print the ready line as JSON.
    #[arg(long)]
    json: bool,
    /// Milliseconds a failed authentication is held back (3000 on a real host).
    #[arg(long, default_value_t = 3000, hide_short_help = true)]
    auth_delay_ms: u64,
    /// Milliseconds after which a protected call is answered 596 (30000 on a real host).
    #[arg(long, default_value_t = 30_000, hide_short_help = true)]
    proxy_timeout_ms: u64,
    /// Milliseconds after which a silent connection is dropped (5000 on a real host).
    #[arg(long, default_value_t = 5000, hide_short_help = true)]
    idle_timeout_ms: u64,
    /// Milliseconds between two rounds of status collection (10000 on a real host).
    #[arg(long, default_value_t = 10_000, hide_short_help = true)]
    status_interval_ms: u64,
    /// Milliseconds each volume waits at its first mount after a rollback to a snapshot of a running guest (42000 on a real host).
    #[arg(long, default_value_t = 0, hide_short_help = true)]
    mmp_wait_ms: u64,
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(with_command(std::env::args_os()));
    match cli.command {
        Command::Serve(args) => serve_command(&args),
        Command::Pct(args) => pct::run_pct(&args),
        Command::Pvesm(args) => pct::run_pvesm(&args, volume_path),
        Command::Pveum(args) => pct::pveum::run(&args),
        Command::LxcUnfreeze(args) => pct::lxc::unfreeze(&args),
        Command::LxcInfo(args) => pct::lxc::info(&args),
        Command::Monitor(args) => pct::run_monitor(&args),
        Command::Worker { state } => report(worker::run(&state).map_err(|e| e.to_string())),
        Command::Fault(args) => report(edit::run(&args).map_err(|e| format!("pve-sim fault: {e}"))),
        Command::Reboot(args) => report(reboot::run(&args).map_err(|e| format!("pve-sim reboot: {e}"))),
        Command::Pvestatd(args) => report(pvestatd::run(&args).map_err(|e| format!("pve-sim pvestatd: {e}"))),
        Command::Routes { json } => report(routes(json).map_err(|e| e.to_string())),
        Command::Plug(args) => report(lxc::plug(&args).map_err(|e| e.to_string())),
        Command::Tar => report(tar::run()),
    }
}

/// `pve-sim --state …` serves.
fn with_command(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = arguments.collect();
    let own = ["-h", "--help", "-V", "--version"];
    let first = all.get(1).and_then(|a| a.to_str()).unwrap_or_default();
    if first.starts_with('-') && !own.contains(&first) {
        all.insert(1, "serve".into());
    }
    all
}

fn routes(json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let all = describe::routes();
    if json {
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        writeln!(out, "[\n{}\n]", lines.join(",\n"))?;
    } else {
        for route in all {
            writeln!(
                out,
                "{:6} {}",
                route["method"].as_str().unwrap_or(""),
                route["path"].as_str().unwrap_or("")
            )?;
        }
    }
    Ok(())
}

fn volume_path(state: &Path, volume: &str) -> Result<PathBuf, ApiError> {
    let host = Host::open(state)?;
    Storages::load(&host)?.path_of(volume).map(|(_, path)| path)
}

fn report(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn serve_command(args: &ServeArgs) -> ExitCode {
    let options = Options {
        state: args.state.clone(),
        listen: args.listen,
        node: args.node.clone(),
        runtime: args.runtime,
        net: args.net,
        mmp_wait_ms: args.mmp_wait_ms,
        root_password_file: args.root_password_file.clone(),
        preset: args.preset,
        json: args.json,
        limits: Limits {
            auth_delay: Duration::from_millis(args.auth_delay_ms),
            proxy: Duration::from_millis(args.proxy_timeout_ms),
            idle: Duration::from_millis(args.idle_timeout_ms),
        },
        status_interval: Duration::from_millis(args.status_interval_ms),
    };
    report(serve::run(&options).map_err(|e| format!("pve-sim serve: {e:#}")))
}
