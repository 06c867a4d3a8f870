//! The command lines of `install` and `uninstall`: parse, call, print.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use felhom_model::StorageId;

use super::{BoxChoices, InstallError, InstallOptions, Part, install, uninstall};
use crate::setup::Line;

/// Options of `install`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Put programs, users, directories, configuration and systemd units onto this host",
    after_help = "Run it again at any time, also with newer programs: what was edited is left alone and named. It starts \
                  nothing; `systemctl enable --now felhom-executor felhom-agent` does, after `felhom-executor setup`.\n\n\
                  Exit codes: 0 done, or nothing to do; 1 failed; 2 something has to be named first.\n\n\
                  Examples:\n  felhom-executor install --guest-storage local-zfs --backup-storage local \
                  --release-key release.pub --address 192.168.1.10\n  felhom-executor install --dry-run\n  \
                  felhom-executor install --hub --address 192.168.1.20"
)]
pub struct InstallArgs {
    /// Install the operator's hub instead of a box's agent and executor.
    #[arg(long)]
    pub hub: bool,
    /// Storage for guests' volumes; needed for the first configuration.
    #[arg(long, value_name = "ID")]
    pub guest_storage: Option<StorageId>,
    /// Storage for backups; needed for the first configuration.
    #[arg(long, value_name = "ID")]
    pub backup_storage: Option<StorageId>,
    /// Storage for golden archives [default: the one for backups].
    #[arg(long, value_name = "ID")]
    pub golden_storage: Option<StorageId>,
    /// File with the key that golden archives are signed with, as in a `.pub` file; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub release_key: Vec<PathBuf>,
    /// This host's address: the one that guests see, needed for the first configuration; with `--hub`, the one that boxes see.
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Directory with the programs [default: where this one is].
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Install below this directory instead of onto the running host.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Say what would be done and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// One line of JSON on standard output; people's text goes to standard error.
    #[arg(long)]
    pub json: bool,
}

/// Options of `uninstall`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Take away what install put here, as far as it holds no data and was not edited",
    after_help = "What stays is named with the command that removes it. Rights at Proxmox are taken away by `teardown`, \
                  before this.\n\nExit codes: 0 done, or nothing to do; 1 failed.\n\n\
                  Examples:\n  felhom-executor uninstall --dry-run\n  felhom-executor uninstall\n  \
                  felhom-executor uninstall --hub"
)]
pub struct UninstallArgs {
    /// Take the hub away instead of agent and executor.
    #[arg(long)]
    pub hub: bool,
    /// Where it was installed.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Say what would go and what would stay, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// One line of JSON on standard output; people's text goes to standard error.
    #[arg(long)]
    pub json: bool,
}

fn part(hub: bool) -> Part {
    if hub { Part::Hub } else { Part::Box }
}

/// Runs `install`.
pub async fn execute_install(args: &InstallArgs) -> ExitCode {
    // The agent's user has to get to its program, whatever root's own files are like.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let own = std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from));
    let options = InstallOptions {
        part: part(args.hub),
        root: args.root.clone(),
        from: args.from.clone().or(own).unwrap_or_default(),
        choices: BoxChoices {
            guest_storage: args.guest_storage.clone(),
            backup_storage: args.backup_storage.clone(),
            golden_storage: args.golden_storage.clone(),
            release_keys: args.release_key.clone(),
            address: args.address,
        },
        dry_run: args.dry_run,
    };
    ended("install", install(&options).await, args.json)
}

/// Runs `uninstall`.
pub async fn execute_uninstall(args: &UninstallArgs) -> ExitCode {
    let done = uninstall(part(args.hub), args.root.clone(), args.dry_run).await;
    ended("uninstall", done, args.json)
}

fn ended(name: &str, done: Result<Vec<Line>, InstallError>, json: bool) -> ExitCode {
    match done {
        Ok(lines) => {
            let text = match lines.len() {
                0 => "nothing of ours is there\n".to_owned(),
                _ => lines.iter().map(Line::text).collect(),
            };
            if json {
                eprint!("{text}");
                println!("{}", serde_json::json!({ "ok": true, "lines": lines }));
            } else {
                print!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            if json {
                println!("{}", serde_json::json!({ "ok": false, "error": error.to_string() }));
            }
            ExitCode::from(if matches!(error, InstallError::Needs { .. }) { 2 } else { 1 })
        }
    }
}
