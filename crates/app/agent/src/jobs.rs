//! Jobs of the hub: each goes to the executor's gate by the name it was given, known or not; what becomes of it is the
//! job's end, a refusal with its evidence too.
//!
//! A backup of a running guest is first offered to the guest's controller, so that it is a quiesced one.

use crate::ask::{self, PassError};
use crate::named;
use crate::observed::silent;
use crate::shared::Shared;
use crate::store::{Due, KeptJob};
use felhom_model::observed::{Observed, Power, Purpose};
use felhom_model::{GuestUuid, OperationState, StorageId};
use felhom_protocol::executor::{Observation, OperationRequest};
use felhom_protocol::hub_sync::{Job, JobReport};
use felhom_protocol::status;
use serde_json::Value;

/// The state of a job that has no operation yet.
const WAITS: &str = "accepted";

/// Begins the jobs that have no operation yet.
pub(crate) async fn step(
    shared: &Shared,
    observation: &Observation,
    seen: &Observed,
) -> Result<(), PassError> {
    for kept in shared.store.jobs()? {
        if kept.report.is_final() || kept.report.operation.is_some() {
            continue;
        }
        let report = match begin(shared, &kept.job, observation, seen).await {
            Ok(report) if report.state == WAITS => because(report, observation),
            Err(PassError::Executor(_)) if !observation.pve_reachable => {
                because(report(&kept.job, WAITS, "waits for its turn"), observation)
            }
            other => other?,
        };
        if report != kept.report {
            shared.store.note_job(&report)?;
        }
    }
    Ok(())
}

fn report(job: &Job, state: &str, message: impl Into<String>) -> JobReport {
    JobReport { id: job.id, state: state.to_owned(), message: message.into(), operation: None }
}

/// Says that it waits because Proxmox does not answer, where that is so.
fn because(report: JobReport, observation: &Observation) -> JobReport {
    let Some(why) = silent(observation) else { return report };
    JobReport { message: format!("{why}; {}", report.message), ..report }
}

async fn begin(
    shared: &Shared,
    job: &Job,
    observation: &Observation,
    seen: &Observed,
) -> Result<JobReport, PassError> {
    let late = shared.now() > job.deadline;
    let joined = shared.store.due()?.into_iter().find(|due| due.job == Some(job.id));
    if late && joined.is_none() {
        return Ok(report(job, "expired", format!("not begun before its deadline {}", job.deadline)));
    }
    let params = match named::with_uuids(job, observation) {
        Ok(params) => params,
        // An executor that never saw Proxmox knows no guest.
        Err(why) if !observation.pve_reachable => return Ok(report(job, WAITS, why)),
        Err(why) => return Ok(report(job, "refused", why)),
    };
    if job.kind == "backup_guest" {
        let params = with_target(params, shared, seen)?;
        return backup(shared, job, params, seen).await;
    }
    hand_over(shared, job, params).await
}

/// Passes a job to the executor as it is.
async fn hand_over(shared: &Shared, job: &Job, params: Value) -> Result<JobReport, PassError> {
    let request = OperationRequest {
        request_id: format!("job:{}", job.id),
        kind: job.kind.clone(),
        params,
        reason: format!("job of {}", job.author),
        asked_by: format!("job:{}", job.id),
    };
    match shared.executor.request(&request).await {
        Ok(operation) => Ok(from_operation(job, &operation)),
        // Until its deadline.
        Err(error) if ask::busy(&error) => Ok(report(job, WAITS, error.to_string())),
        // It understood the call and does not take it: wrong parameters, say.
        Err(error) if error.status().is_some_and(|status| (400..500).contains(&status)) => {
            Ok(report(job, "refused", error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Offers a backup to the guest's controller if the guest runs.
async fn backup(shared: &Shared, job: &Job, params: Value, seen: &Observed) -> Result<JobReport, PassError> {
    let guest = params.get("guest").and_then(Value::as_str).and_then(|text| text.parse::<GuestUuid>().ok());
    let target = params.get("target").and_then(Value::as_str).and_then(|text| text.parse::<StorageId>().ok());
    let runs = |uuid| {
        let guest = seen.guest(uuid);
        guest.is_some_and(|g| g.purpose == Purpose::Tenant && g.power == Power::Running)
    };
    let (Some(guest), Some(target)) = (guest.filter(|uuid| runs(*uuid)), target) else {
        return hand_over(shared, job, params).await;
    };
    let offered = shared.store.offer(&Due {
        guest,
        request_id: format!("job:{}", job.id),
        target,
        reason: format!("job of {}", job.author),
        asked_by: format!("job:{}", job.id),
        wish: None,
        job: Some(job.id),
        since: shared.now(),
        operation: None,
    })?;
    if offered {
        shared.tell();
    }
    if offered || shared.store.join_due(guest, job.id)? {
        return Ok(report(job, WAITS, "waits for the guest's controller"));
    }
    let mine = shared.store.due_of(guest)?.is_some_and(|due| due.job == Some(job.id));
    let message =
        if mine { "waits for the guest's controller" } else { "waits for the backup that is under way" };
    Ok(report(job, WAITS, message))
}

/// Where no target is named: the one of the guest's policy, else the first that the box knows.
fn with_target(mut params: Value, shared: &Shared, seen: &Observed) -> Result<Value, PassError> {
    if params.get("target").is_some_and(|target| !target.is_null()) || !params.is_object() {
        return Ok(params);
    }
    let guest = params.get("guest").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let name = guest.and_then(|uuid| seen.guest(uuid)).and_then(|guest| guest.name.clone());
    let held = shared.store.held()?;
    let policy =
        held.iter().flat_map(|held| &held.merged.guests).find(|guest| Some(&guest.name) == name.as_ref());
    let wanted = policy.and_then(|guest| guest.backup.as_ref()).map(|backup| backup.target.clone());
    let known = seen.storages.iter().find(|storage| storage.is_target).map(|storage| storage.id.clone());
    if let Some(target) = wanted.or(known) {
        params["target"] = Value::String(target.to_string());
    }
    Ok(params)
}

/// Notes where the operations of jobs stand.
pub(crate) async fn note(shared: &Shared) -> Result<(), PassError> {
    for KeptJob { job, report: old } in shared.store.jobs()? {
        let Some(id) = old.operation.filter(|_| !old.is_final()) else { continue };
        let new = match ask::find(shared, id).await? {
            Some(operation) if under_way(operation.state) => {
                let report = from_operation(&job, &operation);
                shared.view().observation.iter().fold(report, |report, seen| because(report, seen))
            }
            Some(operation) => from_operation(&job, &operation),
            None => JobReport {
                operation: Some(id),
                ..report(&job, "failed", "the executor does not know its operation any more")
            },
        };
        if new != old {
            shared.store.note_job(&new)?;
        }
    }
    Ok(())
}

fn under_way(state: OperationState) -> bool {
    matches!(state, OperationState::Pending | OperationState::Running | OperationState::RollingBack)
}

/// A job ends as its operation does.
fn from_operation(job: &Job, operation: &status::Operation) -> JobReport {
    let why = operation.reason.clone().unwrap_or_else(|| operation.verdict.clone());
    let (state, message) = match operation.state {
        OperationState::Done => ("done", "done".to_owned()),
        OperationState::Refused => ("refused", with_evidence(why, operation)),
        OperationState::Expired => ("expired", why),
        OperationState::Vetoed => ("vetoed", why),
        OperationState::RolledBack => ("failed", format!("rolled back: {why}")),
        OperationState::NeedsOperator => ("running", format!("needs an operator: {why}")),
        OperationState::PendingAuthorization => {
            ("pending_authorization", format!("waits for signatures: {why}"))
        }
        OperationState::Waiting => ("waiting", format!("authorized, waits for its grace: {why}")),
        OperationState::Pending | OperationState::Running | OperationState::RollingBack => {
            ("running", format!("{}", operation.state))
        }
    };
    JobReport { operation: Some(operation.id), ..report(job, state, message) }
}

fn with_evidence(why: String, operation: &status::Operation) -> String {
    let missing = operation.evidence.iter().filter(|line| !why.contains(&line.value));
    let lines: Vec<String> = missing.map(|line| format!("{}={}", line.key, line.value)).collect();
    if lines.is_empty() { why } else { format!("{why} ({})", lines.join(" ")) }
}
