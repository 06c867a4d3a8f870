//! `felhom ops`.

use super::{Context, job};
use crate::args::OpsCommand;
use crate::exit::Failure;
use crate::time::{ago, bytes, millis, seconds};
use felhom_model::{OperationId, OperationState};
use felhom_protocol::status::{Operation, Progress};
use serde_json::json;
use std::time::Duration;

/// Characters of what came of a step that people are shown.
const OUTCOME: usize = 300;
/// How often the hub is asked while something is watched.
const POLL: Duration = Duration::from_millis(500);

pub(crate) async fn run(context: &Context, command: OpsCommand) -> Result<(), Failure> {
    match command {
        OpsCommand::List { name } => list(context, &name).await,
        OpsCommand::Show { name, id } => {
            let operation = find(context, &name, id).await?;
            print(context, &operation);
            context.out.result(&operation)
        }
        OpsCommand::Watch { name, id } => watch(context, &name, id).await,
        OpsCommand::Resolve { name, id, way, no_wait } => {
            let params = json!({ "operation": id, "way": way });
            job::run_and_wait(context, &name, "resolve_operation", params, no_wait).await
        }
    }
}

async fn list(context: &Context, name: &str) -> Result<(), Failure> {
    let operations = context.hub.operations(name).await?;
    let rows = operations.iter().map(|op| {
        vec![
            op.id.to_string(),
            op.kind.clone(),
            op.guest_name.as_ref().map_or_else(String::new, ToString::to_string),
            op.state.to_string(),
            ago(op.created, context.now),
            op.ended.map_or_else(String::new, |end| millis(duration_ms(op, end))),
            why(op),
        ]
    });
    let head = ["id", "operation", "guest", "state", "begun", "took", "why"];
    context.out.table(&head, rows.collect(), "No operations yet.");
    context.out.result(&operations)
}

/// Its reason; of one that runs, why a step tries again; else what it was asked for.
fn why(op: &Operation) -> String {
    let again = op.steps.iter().find(|step| step.state == "running" || step.state == "undoing");
    let again = again.and_then(|step| step.outcome.clone()).filter(|_| !op.state.is_final());
    op.reason.clone().or(again).unwrap_or_else(|| op.asked_for.clone())
}

/// As much of what came of a step as fits beside its name; all of it is in the JSON.
fn cut(outcome: &str) -> String {
    match outcome.char_indices().nth(OUTCOME) {
        Some((at, _)) => format!("{}… (--json shows all)", &outcome[..at]),
        None => outcome.to_owned(),
    }
}

fn duration_ms(op: &Operation, end: jiff::Timestamp) -> u64 {
    u64::try_from(end.as_millisecond() - op.created.as_millisecond()).unwrap_or_default()
}

async fn find(context: &Context, name: &str, id: OperationId) -> Result<Operation, Failure> {
    let found = context.hub.operations(name).await?.into_iter().find(|op| op.id == id);
    found.ok_or_else(|| {
        Failure::Failed(format!("{name} has reported no operation {id}; see `felhom ops list {name}`"))
    })
}

/// An operation with everything that is known of it.
pub(crate) fn print(context: &Context, op: &Operation) {
    let out = context.out;
    let guest = op.guest_name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    out.say(format!("{}{guest}  {}  {}", op.kind, op.state, op.id));
    out.say(format!("  asked for by {}: {}", op.asked_by, op.asked_for));
    out.say(format!("  gate: {}", op.verdict));
    for evidence in &op.evidence {
        out.say(format!("    {}: {}", evidence.key, evidence.value));
    }
    if let Some(reason) = &op.reason {
        out.say(format!("  reason: {reason}"));
    }
    if let Some(grace) = &op.grace {
        let left = seconds(grace.left_s);
        out.say(format!("  grace: {left} left; to stop it: felhom veto {} --reason …", op.id));
    }
    for step in &op.steps {
        let outcome = step.outcome.as_ref().map_or_else(String::new, |o| format!("  {}", cut(o)));
        out.say(format!("  [{:^7}] {}{outcome}", step.state, step.name));
    }
    if let Some(progress) = &op.progress {
        out.say(format!("  progress: {}", progress_text(progress)));
    }
    if !op.result.is_null() {
        out.say(format!("  result: {}", op.result));
    }
}

fn progress_text(progress: &Progress) -> String {
    let amount = |n: u64| if progress.unit == "bytes" { bytes(n) } else { format!("{n} {}", progress.unit) };
    let done = match progress.total {
        Some(total) if total > 0 => {
            format!("{} of {} ({} %)", amount(progress.done), amount(total), progress.done * 100 / total)
        }
        _ => amount(progress.done),
    };
    let rate = progress.rate_per_s.map(|n| format!(", {}/s", amount(n))).unwrap_or_default();
    let left = progress.left_s.map(|s| format!(", {} left", seconds(s))).unwrap_or_default();
    format!("{done}{rate}{left}")
}

async fn watch(context: &Context, name: &str, id: Option<OperationId>) -> Result<(), Failure> {
    let mut shown: Vec<(OperationId, String)> = Vec::new();
    loop {
        let operations = context.hub.operations(name).await?;
        let begun = shown.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let wanted = |op: &&Operation| match id {
            Some(id) => op.id == id,
            None => !op.state.is_final() || begun.contains(&op.id),
        };
        let current: Vec<&Operation> = operations.iter().filter(wanted).collect();
        for op in &current {
            let line = line(op);
            match shown.iter_mut().find(|(id, _)| *id == op.id) {
                Some((_, last)) if *last == line => continue,
                Some((_, last)) => last.clone_from(&line),
                None => shown.push((op.id, line.clone())),
            }
            context.out.say(line);
        }
        if current.iter().all(|op| op.state.is_final() || op.state == OperationState::NeedsOperator) {
            if current.is_empty() {
                context.out.say(if id.is_some() {
                    "No such operation was reported."
                } else {
                    "Nothing runs."
                });
            }
            return match current.iter().try_for_each(|op| verdict(op)) {
                Ok(()) => context.out.result(&current),
                Err(failure) => Err(context.out.failed_result(serde_json::json!(current), failure)),
            };
        }
        tokio::time::sleep(POLL).await;
    }
}

fn line(op: &Operation) -> String {
    let guest = op.guest_name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    let step = op.steps.iter().find(|step| step.state == "running").map_or_else(String::new, |step| {
        let done = op.steps.iter().filter(|step| step.state == "done").count();
        format!("  step {}/{} {}", done + 1, op.steps.len(), step.name)
    });
    let progress = op.progress.as_ref().map_or_else(String::new, |p| format!("  {}", progress_text(p)));
    format!("{}{guest}  {}{step}{progress}", op.kind, op.state)
}

/// Whether an operation that is over went well, as an exit code.
pub(crate) fn verdict(op: &Operation) -> Result<(), Failure> {
    let reason = op.reason.as_deref().unwrap_or(&op.verdict);
    let text = format!("{} {}: {reason}", op.kind, op.state);
    match op.state {
        OperationState::Done => Ok(()),
        OperationState::Refused | OperationState::Expired | OperationState::Vetoed => {
            Err(Failure::Refused(text))
        }
        OperationState::Pending
        | OperationState::PendingAuthorization
        | OperationState::Waiting
        | OperationState::Running
        | OperationState::RollingBack
        | OperationState::RolledBack
        | OperationState::NeedsOperator => Err(Failure::Failed(text)),
    }
}
