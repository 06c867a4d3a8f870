//! The commands, one module a noun.

mod backup;
mod boxes;
mod desired;
mod job;
mod ops;
mod restore_test;

use crate::args::{Cli, Command, RestoreCommand};
use crate::config::Config;
use crate::exit::Failure;
use crate::known_boxes::KnownBoxes;
use crate::output::Output;
use clap::CommandFactory as _;
use felhom_client::hub::HubClient;
use jiff::Timestamp;

/// What every command is given.
pub(crate) struct Context {
    pub(crate) hub: HubClient,
    pub(crate) known: KnownBoxes,
    pub(crate) out: Output,
    pub(crate) now: Timestamp,
}

/// Runs the command.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let out = Output { json: cli.global.json };
    if let Command::Completion { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "felhom", &mut std::io::stdout());
        return Ok(());
    }
    let config = Config::load(&cli.global)?;
    if let Command::Box(crate::args::BoxCommand::Pin { name, fingerprint, replace }) = &cli.command {
        return boxes::pin(&config.known_boxes(), out, name, fingerprint, *replace);
    }
    let context = Context { hub: config.hub()?, known: config.known_boxes(), out, now: Timestamp::now() };
    match cli.command {
        Command::Box(command) => boxes::run(&context, command).await,
        Command::Desired(command) => desired::run(&context, command).await,
        Command::Ops(command) => ops::run(&context, command).await,
        Command::Backup(command) => backup::run(&context, command).await,
        Command::Restore(RestoreCommand::Run { guest, archive }) => {
            let params = serde_json::json!({ "guest": guest.guest, "archive": archive });
            job::run_and_wait(&context, &guest.name, "restore_guest", params, guest.no_wait).await
        }
        Command::RestoreTest(command) => restore_test::run(&context, command).await,
        Command::Job(command) => job::run(&context, command).await,
        Command::Completion { .. } => Ok(()),
    }
}
