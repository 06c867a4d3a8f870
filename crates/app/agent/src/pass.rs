//! One pass: hand over messages → observe → note what ended → reconcile → jobs → backups → restore tests → conditions.
//!
//! Level-triggered: a pass decides on what is there now, so a lost event, a missed pass or a restart changes nothing. It is
//! run at least every `observe_s`, and at once when an operation begins or ends, a document or a job came, or a guest asks.

use crate::ask::{self, PassError};
use crate::observed::{observed, silent, tested};
use crate::shared::Shared;
use crate::store::Held;
use crate::{backups, jobs, messages};
use felhom_client::Error as ClientError;
use felhom_model::observed::Observed;
use felhom_model::{GuestName, OperationId, OperationState};
use felhom_planner::schedule::{self, Input};
use felhom_planner::{Condition, Status};
use felhom_protocol::executor::{self as wire, Observation};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two passes that are asked for one after the other.
const PAUSE: Duration = Duration::from_millis(200);
/// Operations that are over and still kept for the report.
const KEPT: usize = 200;

/// Passes for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let longest = Duration::from_secs(shared.config.observe_s.into());
    loop {
        let begun = Instant::now();
        match pass(&shared).await {
            Ok(()) => tracing::debug!("a pass took {} µs", begun.elapsed().as_micros()),
            Err(error) => tracing::error!("{error}"),
        }
        shared.tell();
        tokio::time::sleep(PAUSE).await;
        // A timeout is the ordinary way on: nothing happened meanwhile.
        let _ = tokio::time::timeout(longest, shared.pass.notified()).await;
    }
}

/// One pass.
///
/// # Errors
/// Why it could not be finished; the next one begins anew.
pub(crate) async fn pass(shared: &Shared) -> Result<(), PassError> {
    // First, so that what they lead to is seen in the same pass.
    messages::deliver(shared).await?;
    let Some(observation) = observe(shared).await? else { return Ok(()) };
    refresh_operations(shared).await?;
    note(shared).await?;
    let held = shared.store.held()?;
    tighten(shared, held.as_ref(), &observation).await?;
    let seen = observed(&observation);
    if observation.pve_reachable {
        reconcile(shared, held, &seen).await?;
    }
    jobs::step(shared, &observation, &seen).await?;
    if observation.pve_reachable {
        scheduled(shared, &seen).await?;
    }
    backups::without_controller(shared).await?;
    refresh_operations(shared).await?;
    note(shared).await
}

/// Asks the executor what it sees; `None` if it does not answer.
async fn observe(shared: &Shared) -> Result<Option<Arc<Observation>>, PassError> {
    let observation = match shared.executor.observation().await {
        Ok(observation) => Arc::new(observation),
        Err(error) => {
            shared.condition("ExecutorReachable", Status::False, "NoAnswer", error.to_string())?;
            return Ok(None);
        }
    };
    shared.condition("ExecutorReachable", Status::True, "Answers", "the executor answers")?;
    if observation.pve_reachable {
        shared.condition("ProxmoxReachable", Status::True, "Answers", "Proxmox answers the executor")?;
    } else {
        let why = observation.error.clone().unwrap_or_else(|| "it does not answer".to_owned());
        shared.condition("ProxmoxReachable", Status::False, "NoAnswer", why)?;
    }
    if let Some(why) = silent(&observation) {
        let message = format!("{why}; how the guests stand cannot be seen");
        shared.condition("Converged", Status::Unknown, "ProxmoxUnreachable", message)?;
    }
    shared.set_view(|view| {
        // After the clock went back a new operation sorts before ones that are over; the list alone would miss it.
        view.operations.extend(observation.active.iter().map(|active| (active.id, active.clone())));
        view.observation = Some(observation.clone());
    });
    Ok(Some(observation))
}

/// Says which limits the operator wishes, if the executor holds others. Nothing else waits for that.
async fn tighten(shared: &Shared, held: Option<&Held>, observation: &Observation) -> Result<(), PassError> {
    let wish = held.map(|held| held.merged.limits).unwrap_or_default();
    if wish == observation.wished_limits {
        return Ok(());
    }
    match shared.executor.set_limits(&wish).await {
        Ok(()) => {
            shared.condition("LimitsTold", Status::True, "Taken", "the executor knows the wished limits")?
        }
        Err(error) => {
            tracing::warn!("{error}");
            shared.condition("LimitsTold", Status::False, "NotTaken", error.to_string())?;
        }
    }
    Ok(())
}

/// Reads the operations that are new or were not over.
pub(crate) async fn refresh_operations(shared: &Shared) -> Result<(), ClientError> {
    let view = shared.view();
    let open = view.operations.values().filter(|operation| !operation.state.is_final());
    // Those that wait for people do so for days, and are asked for by their ids: the list is long and comes in pages.
    let (long, open): (Vec<_>, Vec<_>) = open.partition(|operation| waits_for_people(operation.state));
    // All others before the first open one are over, so only later ones can have changed.
    let before = |open: OperationId| OperationId::from_parts(open.unix_ms().saturating_sub(1), u128::MAX);
    let newest = view.operations.keys().next_back().copied();
    let after = open.first().map(|open| before(open.id)).or(newest);
    let mut news = shared.executor.operations(after).await?;
    for waits in long {
        if news.iter().all(|operation| operation.id != waits.id) {
            match shared.executor.operation(waits.id).await {
                Ok(operation) => news.push(operation),
                // Its database was lost; who asked for it notices by itself.
                Err(error) if error.status() == Some(404) => {}
                Err(error) => return Err(error),
            }
        }
    }
    news.retain(|operation| view.operations.get(&operation.id) != Some(operation));
    let test_ended =
        news.iter().any(|operation| operation.kind == "restore_test" && operation.state.is_final());
    let receipts = if test_ended || view.operations.is_empty() {
        Some(shared.executor.receipts(None).await?)
    } else {
        None
    };
    if news.is_empty() && receipts.is_none() {
        return Ok(());
    }
    shared.set_view(|view| {
        view.operations.extend(news.into_iter().map(|operation| (operation.id, operation)));
        let over: Vec<_> =
            view.operations.values().filter(|op| op.state.is_final()).map(|op| op.id).collect();
        for id in &over[..over.len().saturating_sub(KEPT)] {
            view.operations.remove(id);
        }
        if let Some(receipts) = receipts {
            view.receipts = receipts;
        }
    });
    Ok(())
}

fn waits_for_people(state: OperationState) -> bool {
    matches!(
        state,
        OperationState::PendingAuthorization | OperationState::Waiting | OperationState::NeedsOperator
    )
}

/// Notes the end of what is under way: tries, backups, jobs.
async fn note(shared: &Shared) -> Result<(), PassError> {
    for (wish, id) in shared.store.all_inflight()? {
        if let Some(ended) = ask::ended(shared, id).await? {
            shared.store.ended(&wish, ended)?;
        }
    }
    backups::note(shared).await?;
    jobs::note(shared).await
}

/// Desired against observed.
async fn reconcile(shared: &Shared, held: Option<Held>, seen: &Observed) -> Result<(), PassError> {
    let now = shared.now();
    let held = match held {
        Some(held) => Some(without_never_made(shared, held, seen)?),
        None => None,
    };
    let (merged, absent, generation) = match &held {
        Some(held) => (held.merged.clone(), held.absent.clone(), held.generation),
        None => Default::default(),
    };
    let plan = felhom_planner::reconcile(&merged, seen, &shared.store.damping(now)?, now);
    let kept = absent.iter().map(|name| Condition {
        kind: format!("GuestKept/{name}"),
        status: Status::True,
        reason: "AbsentFromDesiredState",
        message:
            "the newest desired state does not name this guest; absence means nothing, so what was said last \
                  still holds and the guest stays as it is"
                .to_owned(),
    });
    let mut conditions: Vec<Condition> = plan.conditions.into_iter().chain(kept).collect();
    if held.is_none() {
        for overall in conditions.iter_mut().filter(|condition| condition.kind == "Converged") {
            (overall.status, overall.reason) = (Status::Unknown, "NoDesiredState");
            overall.message = "no desired state was ever received; guests stay as they are".to_owned();
        }
    }
    shared.store.set_plan(&conditions, generation, now)?;
    for planned in plan.operations {
        let request = wire::OperationRequest {
            request_id: planned.key,
            kind: planned.operation.kind().name().to_owned(),
            params: wire::params(&planned.operation),
            reason: format!("desired state generation {generation}: {}", planned.reason),
            asked_by: "desired_state".to_owned(),
        };
        ask::wished(shared, &planned.wish, &request).await?;
    }
    Ok(())
}

/// Forgets guests that the newest document does not name and that were never made here: there is nothing to keep.
fn without_never_made(shared: &Shared, held: Held, seen: &Observed) -> Result<Held, PassError> {
    let names = felhom_planner::never_made(&held.absent, seen);
    if names.is_empty() {
        return Ok(held);
    }
    let absent = held.absent.iter().filter(|name| !names.contains(name)).cloned().collect();
    let less = Held { merged: felhom_planner::forget(&held.merged, &names), absent, ..held };
    // A document that came meanwhile is judged in the next pass.
    if shared.store.forget(&less)? {
        let names: Vec<&str> = names.iter().map(GuestName::as_str).collect();
        tracing::info!("not named any more and never made, forgotten: {}", names.join(", "));
    }
    Ok(less)
}

/// What the schedules say.
async fn scheduled(shared: &Shared, seen: &Observed) -> Result<(), PassError> {
    let now = shared.now();
    let Some(held) = shared.store.held()? else { return Ok(()) };
    let tested = tested(&shared.view().receipts);
    let damping = shared.store.damping(now)?;
    let input = Input {
        desired: &held.merged,
        observed: seen,
        tested: &tested,
        damping: &damping,
        zone: &shared.zone,
        now,
    };
    for due in schedule::due_backups(&input, shared.config.backup_slots as usize) {
        backups::scheduled(shared, due)?;
    }
    let Some(due) = schedule::due_restore_test(&input) else { return Ok(()) };
    let params =
        wire::RestoreTestParams { guest: due.guest, archive: Some(due.archive), level: Some(due.level) };
    let request = wire::OperationRequest {
        request_id: due.key,
        kind: "restore_test".to_owned(),
        params: serde_json::to_value(params).map_err(PassError::Json)?,
        reason: due.reason,
        asked_by: "schedule".to_owned(),
    };
    ask::wished(shared, &due.wish, &request).await
}
