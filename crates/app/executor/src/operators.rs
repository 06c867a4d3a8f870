//! `felhom-executor operators`: the operators' file from local media. Later versions come with the signatures of both.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use felhom_clock::Clock;
use felhom_model::Digest;
use felhom_signing::operators::{OperatorsFile, Role};
use serde_json::json;

use crate::audit::{Kind, Record};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::wiring::ledger;

/// What to do with the operators' file.
#[derive(Debug, Subcommand)]
pub enum OperatorsCommand {
    /// Put a file from local media into force; the executor must not run.
    #[command(
        after_help = "A box takes its first file, and later ones only with a higher version. Bring it on a medium that you \
                      trust, never from the hub.\n\nExample:\n  systemctl stop felhom-executor\n  felhom-executor operators install /media/usb/operators.json"
    )]
    Install {
        /// As `felhom operators init` wrote it.
        file: PathBuf,
        /// Say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// One line of JSON on standard output.
        #[arg(long)]
        json: bool,
    },
    /// The file in force: versions, people, keys.
    Show {
        /// One line of JSON on standard output.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn execute(config: &Config, command: &OperatorsCommand) -> ExitCode {
    let done = match command {
        OperatorsCommand::Install { file, dry_run, json } => install(config, file, *dry_run, *json),
        OperatorsCommand::Show { json } => show(config, *json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("felhom-executor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_force(ledger: &Ledger) -> anyhow::Result<Option<OperatorsFile>> {
    let document = ledger.operators()?;
    document
        .map(|bytes| OperatorsFile::parse(&bytes).context("the operators' file in the ledger"))
        .transpose()
}

fn install(config: &Config, path: &Path, dry_run: bool, json: bool) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let file = OperatorsFile::parse(&bytes).with_context(|| path.display().to_string())?;
    let ledger = ledger(config)?;
    let current = in_force(&ledger)?;
    if let Some(current) = &current {
        if ledger.operators()?.as_deref() == Some(&bytes) {
            return print(&file, "unchanged", json);
        }
        if file.version() <= current.version() {
            bail!(
                "version {} is in force, {} has version {}: versions never go back, and one version has one content",
                current.version(),
                path.display(),
                file.version()
            );
        }
    }
    if !dry_run {
        let data = json!({ "version": file.version(), "digest": Digest::of(&bytes) });
        let record = Record::new(Kind::OperatorsInstalled, data).by("local root");
        ledger.audit(Clock::of_machine().now(), &record)?;
        ledger.set_operators(file.version(), &bytes)?;
    }
    print(&file, if dry_run { "would be installed" } else { "installed" }, json)
}

fn show(config: &Config, json: bool) -> anyhow::Result<()> {
    match in_force(&ledger(config)?)? {
        Some(file) => print(&file, "in force", json),
        None if json => {
            println!("{}", json!({ "version": null }));
            Ok(())
        }
        None => {
            println!(
                "no operators' file: nobody can authorize anything; `felhom-executor operators install FILE`"
            );
            Ok(())
        }
    }
}

fn print(file: &OperatorsFile, what: &str, json: bool) -> anyhow::Result<()> {
    let role = |role: Role| match role {
        Role::Operator => "operator",
        Role::Recovery => "recovery",
    };
    let mut text = format!("operators' file version {}: {what}\n", file.version());
    let mut keys = Vec::new();
    for key in file.keys() {
        let fingerprint = key.key().fingerprint();
        text += &format!("  {:<16} {:<9} {fingerprint}\n", key.name(), role(key.role()));
        keys.push(json!({ "name": key.name(), "role": role(key.role()), "key": fingerprint }));
    }
    if json {
        eprint!("{text}");
        println!("{}", json!({ "version": file.version(), "outcome": what, "keys": keys }));
    } else {
        print!("{text}");
    }
    Ok(())
}
