//! The subcommand `pve-sim fault`: changes the control file, each change at once or not at all.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Faults, Rule, count, places};
use crate::error::ApiError;
use crate::state::{Host, atomic, lock};

/// What can be written as a rule, for `--help`.
const HELP: &str = "\
A rule is JSON: {\"at\": PLACE, \"do\": WHAT} and, as needed, \"id\", \"method\", \"path\", \"nth\", \"probability\".
  tasks      at TYPE.PHASE (vzdump.begin, vzdump.archive, vzrestore.unpack …), id: the UPID's
             do: \"hold\" | \"kill\" | {\"delay_ms\": N} | {\"fail\": \"text\"}; TYPE.* is each of a type's phases, *.* each of all
  rounds     at pvestatd.round, after which lists show what changed; do: \"hold\" | {\"delay_ms\": N}
  calls      at http, method: GET…, path: /nodes/*/lxc/** (* one segment, a last ** the rest)
             do: \"drop_before\" | \"drop_after\" | \"timeout\" (596) | {\"fail\": \"text\"} (500) | {\"delay_ms\": N} | \"hold\"
  storages   at storage, id: the storage's; do: \"offline\"
  daemon     at pvedaemon; do: \"dead\" (595)
  clock      at clock; do: {\"shift_s\": N}
  nth: N acts on the Nth arrival only; probability: P on a share of them, chosen by the seed.

Examples:
  pve-sim fault --state ./state set '{\"at\": \"vzdump.archive\", \"id\": \"101\", \"do\": \"kill\"}'
  pve-sim fault --state ./state set '{\"at\": \"http\", \"method\": \"POST\", \"do\": \"drop_after\", \"probability\": 0.1}' --seed 7
  pve-sim fault --state ./state list
  pve-sim fault --state ./state clear vzdump.archive
  pve-sim fault --state ./state clear";

/// `pve-sim fault --state DIR …`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct FaultArgs {
    /// State directory.
    #[arg(long, env = "PVE_SIM_STATE")]
    state: PathBuf,
    #[command(subcommand)]
    command: FaultCommand,
}

#[derive(Debug, Subcommand)]
enum FaultCommand {
    /// Add a rule, or several; an equal one begins to count anew.
    Set {
        /// The rule as JSON.
        #[arg(required = true)]
        rules: Vec<String>,
        /// The number that chooses arrivals of rules with a probability.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Remove all rules, or those of one place.
    Clear {
        /// The place.
        at: Option<String>,
    },
    /// Print the rules, one a line.
    List,
}

/// Runs it.
///
/// # Errors
/// A state directory that was never served; what is no rule.
pub(crate) fn run(args: &FaultArgs) -> Result<(), ApiError> {
    let host = Host::open(&args.state)?;
    let _held = host.lock("faults-file", lock::GUEST_TIMEOUT, &mut || ())?;
    let mut faults = Faults::load(&host)?;
    match &args.command {
        FaultCommand::List => return list(&faults),
        FaultCommand::Set { rules, seed } => {
            faults.seed = seed.unwrap_or(faults.seed);
            for text in rules {
                let rule: Rule = serde_json::from_str(text).map_err(|e| {
                    ApiError::die(format!("no rule: {e}\n  {text}\nsee `pve-sim fault --help`"))
                })?;
                places::check(&rule).map_err(|e| {
                    ApiError::die(format!(
                        "a rule that can never act: {e}\n  {text}\nsee `pve-sim fault --help`"
                    ))
                })?;
                count::forget(&host, &rule.key())?;
                faults.rules.retain(|old| *old != rule);
                faults.rules.push(rule);
            }
        }
        FaultCommand::Clear { at: None } => {
            faults = Faults::default();
            count::forget_all(&host)?;
        }
        FaultCommand::Clear { at: Some(at) } => {
            for rule in faults.rules.iter().filter(|rule| rule.at == *at) {
                count::forget(&host, &rule.key())?;
            }
            faults.rules.retain(|rule| rule.at != *at);
        }
    }
    let text = serde_json::to_vec_pretty(&faults).map_err(std::io::Error::other)?;
    Ok(atomic::write(&host.dir.faults(), &text)?)
}

fn list(faults: &Faults) -> Result<(), ApiError> {
    let mut out = std::io::stdout().lock();
    for rule in &faults.rules {
        writeln!(out, "{}", serde_json::to_string(rule).map_err(std::io::Error::other)?)?;
    }
    Ok(())
}
