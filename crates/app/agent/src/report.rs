//! What the box tells the hub, from memory and the newest view.

use crate::shared::Shared;
use crate::store::StoreError;
use felhom_model::Digest;
use felhom_protocol::hub_sync::Report;
use jiff::Timestamp;

/// Receipts that a report carries at most.
const RECEIPTS: usize = 50;
/// What is left of a grace is told again after so much of it.
const GRACE_STEP_S: u64 = 3600;
/// Free space is told again when it moved by this part of the whole.
const SPACE_STEPS: u64 = 100;

/// The report as things stand.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn report(shared: &Shared) -> Result<Report, StoreError> {
    let view = shared.view();
    let heartbeats = shared.heartbeats();
    let observation = view.observation.as_ref();
    let mut guests = observation.map(|seen| seen.guests.clone()).unwrap_or_default();
    for guest in &mut guests {
        guest.heartbeat = guest.uuid.and_then(|uuid| heartbeats.get(&uuid).cloned());
        // The hub has no use for it.
        guest.token_digest = None;
    }
    Ok(Report {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        executor_version: observation.map(|seen| seen.version.clone()),
        observed_generation: shared.store.planned()?,
        conditions: shared.store.conditions()?,
        guests,
        operations: view.operations.values().cloned().collect(),
        archives: observation.map(|seen| seen.archives.clone()).unwrap_or_default(),
        storages: observation.map(|seen| seen.storages.clone()).unwrap_or_default(),
        receipts: view.receipts.iter().take(RECEIPTS).cloned().collect(),
        jobs: shared.store.jobs()?.into_iter().map(|kept| kept.report).collect(),
        audit_head: observation.and_then(|seen| seen.audit_head.clone()),
        challenges: observation.map(|seen| seen.challenges.clone()).unwrap_or_default(),
        outcomes: shared.store.outcomes()?,
    })
}

/// A digest of what is worth telling: the time of a heartbeat, the last bytes of free space and the seconds that a challenge
/// still lives, or a grace still runs, are not.
pub(crate) fn fingerprint(report: &Report) -> Digest {
    let mut report = report.clone();
    for summary in report.guests.iter_mut().filter_map(|guest| guest.heartbeat.as_mut()) {
        summary.received = Some(Timestamp::UNIX_EPOCH);
    }
    for challenge in &mut report.challenges {
        challenge.left_s = 0;
    }
    for grace in report.operations.iter_mut().filter_map(|operation| operation.grace.as_mut()) {
        grace.left_s = grace.left_s / GRACE_STEP_S * GRACE_STEP_S;
    }
    for storage in &mut report.storages {
        let step = (storage.total / SPACE_STEPS).max(1);
        storage.free = storage.free / step * step;
    }
    Digest::of(&serde_json::to_vec(&report).unwrap_or_default())
}
