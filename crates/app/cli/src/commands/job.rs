//! `felhom job`, and how every command that asks for a job waits for its end.

use super::{Context, ops};
use crate::args::JobCommand;
use crate::exit::Failure;
use crate::time::ago;
use felhom_model::Digest;
use felhom_protocol::hub_api::{AddJob, ChallengeState, ChallengeView, JobView};
use felhom_protocol::hub_sync::FINAL_JOB_STATES;
use felhom_protocol::status::Operation;
use serde_json::{Map, Value, json};
use std::time::Duration;

const POLL: Duration = Duration::from_millis(500);
/// How often the hub is asked for a challenge before it is said where challenges are listed.
const CHALLENGE_TRIES: u32 = 10;

pub(crate) async fn run(context: &Context, command: JobCommand) -> Result<(), Failure> {
    match command {
        JobCommand::Run { name, kind, params, no_wait } => {
            run_and_wait(context, &name, &kind, read_params(&params)?, no_wait).await
        }
        JobCommand::List { name } => {
            let jobs = context.hub.jobs(&name).await?;
            let row = |job: &JobView| {
                let (id, state) = (job.id.to_string(), job.state.clone());
                vec![id, job.kind.clone(), state, ago(job.created, context.now), job.message.clone()]
            };
            let rows = jobs.iter().map(row).collect();
            context.out.table(&["id", "kind", "state", "asked", "message"], rows, "No jobs yet.");
            context.out.result(&jobs)
        }
    }
}

fn read_params(params: &[String]) -> Result<Value, Failure> {
    let mut map = Map::new();
    for param in params {
        let (key, value) =
            param.split_once('=').ok_or_else(|| Failure::Failed(format!("`{param}` is no KEY=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        map.insert(key.to_owned(), value);
    }
    Ok(Value::Object(map))
}

/// Asks for a job and, unless told otherwise, follows it to its end; a refusal of the box comes with its evidence.
pub(crate) async fn run_and_wait(
    context: &Context,
    name: &str,
    kind: &str,
    params: Value,
    no_wait: bool,
) -> Result<(), Failure> {
    let request = AddJob { kind: kind.to_owned(), params: without_nulls(params), ttl_s: None };
    let job = context.hub.add_job(name, &request).await?;
    context.out.say(format!("{kind}: job {} is queued for {name}.", job.id));
    follow(context, name, job, no_wait).await
}

/// Follows a job as [`run_and_wait`] does.
pub(crate) async fn follow(
    context: &Context,
    name: &str,
    mut job: JobView,
    no_wait: bool,
) -> Result<(), Failure> {
    let kind = job.kind.clone();
    let mut state = job.state.clone();
    while !no_wait && !is_over(&job) && !waits_for_people(&job) {
        tokio::time::sleep(POLL).await;
        job = find(context, name, &job).await?;
        if job.state != state {
            context.out.say(format!("{kind}: {} {}", job.state, job.message));
            state.clone_from(&job.state);
        }
    }
    let operations = context.hub.operations(name).await?;
    let operation = operations.into_iter().find(|op| Some(op.id) == job.operation);
    if let Some(operation) = &operation {
        ops::print(context, operation);
    }
    let challenge = asked_for(context, &job).await?;
    let result = json!({ "job": job, "operation": operation, "challenge": challenge });
    match outcome(&kind, &job, operation.as_ref()) {
        Ok(()) => context.out.result(&result),
        Err(failure) => Err(context.out.failed_result(result, failure)),
    }
}

/// Whether what was asked for went well. A restore test that ran to its end and failed did not.
fn outcome(kind: &str, job: &JobView, operation: Option<&Operation>) -> Result<(), Failure> {
    match job.state.as_str() {
        "refused" | "vetoed" => {
            return Err(Failure::Refused(format!("{kind} was {}: {}", job.state, job.message)));
        }
        "failed" | "expired" => {
            return Err(Failure::Failed(format!("{kind} {}: {}", job.state, job.message)));
        }
        _ => {}
    }
    match operation.map(|operation| &operation.result) {
        Some(result) if result["verdict"] == "failed" => {
            let check = result["failed_check"].as_str().unwrap_or("see its receipt");
            Err(Failure::Failed(format!("the backup does not restore: {check}")))
        }
        _ => Ok(()),
    }
}

fn is_over(job: &JobView) -> bool {
    FINAL_JOB_STATES.contains(&job.state.as_str())
}

/// That can take days; nobody follows it so long.
fn waits_for_people(job: &JobView) -> bool {
    matches!(job.state.as_str(), "pending_authorization" | "waiting")
}

/// The challenge that the job's operation waits for: the hub has it a moment later than the operation.
async fn asked_for(context: &Context, job: &JobView) -> Result<Option<Digest>, Failure> {
    if !waits_for_people(job) {
        return Ok(None);
    }
    let mut found = challenge_of(context, job).await?;
    for _ in 0..CHALLENGE_TRIES {
        if found.is_some() || job.state == "waiting" {
            break;
        }
        tokio::time::sleep(POLL).await;
        found = challenge_of(context, job).await?;
    }
    let next = match (found, job.operation) {
        (Some(digest), _) => format!("felhom approve {}", &digest.hex()[..12]),
        (None, Some(id)) if job.state == "waiting" => format!("felhom veto {id} --reason … (to stop it)"),
        (None, _) => "felhom challenges list".to_owned(),
    };
    context.out.say(format!("It waits for people: {next}"));
    Ok(found)
}

async fn challenge_of(context: &Context, job: &JobView) -> Result<Option<Digest>, Failure> {
    let open = |view: &ChallengeView| matches!(view.state, ChallengeState::Open | ChallengeState::Answered);
    let of = |view: &ChallengeView| view.operation.is_some() && view.operation == job.operation && open(view);
    Ok(context.hub.challenges().await?.into_iter().find(of).map(|view| view.digest))
}

async fn find(context: &Context, name: &str, job: &JobView) -> Result<JobView, Failure> {
    let found = context.hub.jobs(name).await?.into_iter().find(|other| other.id == job.id);
    found.ok_or_else(|| Failure::Failed(format!("the hub does not know job {} any more", job.id)))
}

/// An absent option is not sent at all.
fn without_nulls(params: Value) -> Value {
    match params {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_test_that_failed_is_no_success() {
        let job: JobView = serde_json::from_value(json!({
            "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "kind": "restore_test", "params": {}, "author": "ada",
            "created": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:00Z", "state": "done", "message": "done",
            "operation": null,
        }))
        .unwrap();
        let operation = |verdict: &str| -> Operation {
            serde_json::from_value(json!({
                "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "kind": "restore_test", "state": "done", "asked_for": "",
                "asked_by": "", "verdict": "", "created": "2026-01-01T00:00:00Z",
                "result": { "verdict": verdict, "failed_check": "L1 archive digest" },
            }))
            .unwrap()
        };
        assert!(outcome("restore_test", &job, Some(&operation("passed"))).is_ok());
        let failure = outcome("restore_test", &job, Some(&operation("failed"))).unwrap_err();
        assert_eq!((failure.code(), failure.to_string().contains("L1")), (1, true));
    }

    #[test]
    fn params_are_json_where_they_can_be() {
        let params =
            read_params(&["guest=family".to_owned(), "cores=2".to_owned(), "x=a=b".to_owned()]).unwrap();
        assert_eq!(params, json!({ "guest": "family", "cores": 2, "x": "a=b" }));
        assert!(read_params(&["guest".to_owned()]).is_err());
        assert_eq!(without_nulls(json!({ "a": null, "b": 1 })), json!({ "b": 1 }));
    }
}
