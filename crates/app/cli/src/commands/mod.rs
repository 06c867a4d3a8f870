//! The commands, one module a noun.

mod approve;
mod audit;
mod backup;
mod boxes;
mod challenges;
mod desired;
mod job;
mod man;
mod operators;
mod ops;
mod restore_test;
mod veto;

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
    if let Command::Man { dir } = &cli.command {
        return man::write(out, dir);
    }
    let config = Config::load(&cli.global)?;
    let Some(command) = without_hub(&config, out, cli.command)? else { return Ok(()) };
    let context = Context { hub: config.hub()?, known: config.known_boxes(), out, now: Timestamp::now() };
    match command {
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
        Command::Challenges(command) => challenges::run(&context, command).await,
        Command::Approve(args) => approve::run(&context, &args, &config).await,
        Command::Veto(args) => veto::run(&context, &args, &config).await,
        Command::Audit(command) => audit::run(&context, command).await,
        Command::Operators(command) => operators::run(&context, command).await,
        Command::Completion { .. } | Command::Man { .. } => Ok(()),
    }
}

/// Runs a command that asks nobody; gives back one that needs the hub.
fn without_hub(config: &Config, out: Output, command: Command) -> Result<Option<Command>, Failure> {
    let known = config.known_boxes();
    match command {
        Command::Operators(command) => {
            return Ok(operators::local(config, out, command)?.map(Command::Operators));
        }
        Command::Approve(args) => {
            let Some(file) = &args.offline else { return Ok(Some(Command::Approve(args))) };
            approve::offline(&known, out, &args, config, file)?;
        }
        Command::Audit(command) => return Ok(audit::local(&known, out, command)?.map(Command::Audit)),
        Command::Box(command) => return Ok(boxes::local(&known, out, command)?.map(Command::Box)),
        other => return Ok(Some(other)),
    }
    Ok(None)
}
