//! How observation, operations and events look on the socket.

use felhom_journal::{
    Event as JournalEvent, Operation as Journaled, Recorded, State, StepState, StepView, WayOut,
};
use felhom_model::desired::Tightening;
use felhom_model::observed::{ObservedGuest, Power, Provenance};
use felhom_model::{GuestName, GuestUuid, OperationState, Vmid};
use felhom_protocol::executor::{Event, Golden, Observation};
use felhom_protocol::local_api::{BackupPhase, BackupStatus};
use felhom_protocol::status;
use felhom_signing::{Context, Key};
use serde_json::Value;

use crate::ledger::{ArchiveRow, FreezeRow, GuestRow};
use crate::marks::from_journal;
use crate::observe::Seen;
use crate::request::Request;

/// The journal's state in the model's words.
#[must_use]
pub fn state(state: State) -> OperationState {
    match state {
        State::Pending => OperationState::Pending,
        State::Refused => OperationState::Refused,
        State::PendingAuthorization => OperationState::PendingAuthorization,
        State::Expired => OperationState::Expired,
        State::Waiting => OperationState::Waiting,
        State::Vetoed => OperationState::Vetoed,
        State::Running => OperationState::Running,
        State::Done => OperationState::Done,
        State::RollingBack => OperationState::RollingBack,
        State::RolledBack => OperationState::RolledBack,
        State::NeedsOperator => OperationState::NeedsOperator,
    }
}

fn step_word(state: StepState) -> &'static str {
    match state {
        StepState::Planned => "pending",
        StepState::Intended => "running",
        StepState::Confirmed => "done",
        StepState::Failed => "failed",
        StepState::Undoing => "undoing",
        StepState::Undone => "undone",
    }
}

/// An operation for people and programs.
#[must_use]
pub fn operation(op: &Journaled, now: jiff::Timestamp) -> status::Operation {
    let request = Request::of(op).ok();
    let chosen = request.as_ref().map(|r| r.chosen.clone()).unwrap_or_default();
    let mut evidence: Vec<status::Evidence> = Vec::new();
    let gate = request.iter().flat_map(|r| r.evidence.iter());
    evidence.extend(gate.map(|(k, v)| status::Evidence { key: k.clone(), value: v.clone() }));
    evidence.extend(op.notes.iter().map(|note| status::Evidence {
        key: note.name.clone(),
        value: if note.data.is_null() { note.at.to_string() } else { note.data.to_string() },
    }));
    let running = op.steps.iter().find(|s| !matches!(s.state, StepState::Confirmed | StepState::Undone));
    let ended = state(op.state).is_final() || op.state == State::NeedsOperator;
    status::Operation {
        id: from_journal(op.id()),
        kind: op.new.body.kind.clone(),
        state: state(op.state),
        guest: chosen.new_guest.or(chosen.guest),
        guest_name: chosen.name,
        asked_for: request.as_ref().map(|r| r.reason.clone()).unwrap_or_default(),
        asked_by: op.new.envelope.requested_by.clone(),
        verdict: request.map(|r| r.verdict).unwrap_or_default(),
        evidence,
        reason: op.reason.clone(),
        grace: None,
        steps: op.steps.iter().map(step).collect(),
        progress: running.filter(|_| !ended).and_then(|s| s.progress.as_ref().map(|p| progress(p, s, now))),
        created: op.new.created_at,
        ended: ended.then_some(op.updated_at),
        result: op.result.clone().unwrap_or_default(),
    }
}

fn step(step: &StepView) -> status::Step {
    let waits = step.stalled.as_ref().map(|why| format!("tries again: {why}"));
    let came = || step.outcome.as_ref().filter(|value| !value.is_null()).map(Value::to_string);
    let outcome = waits.or_else(|| step.failure.clone()).or_else(came);
    status::Step { name: step.name.clone(), state: step_word(step.state).to_owned(), outcome }
}

/// Rate and remaining time are reckoned here, once, so that every screen shows the same.
fn progress(p: &felhom_journal::Progress, step: &StepView, now: jiff::Timestamp) -> status::Progress {
    let began = step.started_at;
    status::Progress {
        done: p.done,
        total: p.total,
        unit: p.unit.clone(),
        rate_per_s: began.and_then(|began| p.rate_per_s(began, now)),
        left_s: began.and_then(|began| p.eta(began, now)).map(|left| left.as_secs()),
    }
}

/// A journaled event, if it is one that is shown.
#[must_use]
pub fn event(op: &Journaled, recorded: &Recorded) -> Event {
    let name = |n: &usize| op.steps.get(*n).map(|s| s.name.clone());
    let rolling = matches!(op.state, State::RollingBack | State::RolledBack);
    let (what, after, step, message) = match &recorded.event {
        JournalEvent::Refused { reason, .. } => ("ended", State::Refused, None, Some(reason.clone())),
        JournalEvent::AuthorizationNeeded { reason, .. } => {
            ("begun", State::PendingAuthorization, None, Some(reason.clone()))
        }
        JournalEvent::Authorized { .. } => ("authorized", State::PendingAuthorization, None, None),
        JournalEvent::Expired { reason } => ("ended", State::Expired, None, Some(reason.clone())),
        JournalEvent::Grace { reason, .. } => ("begun", State::Waiting, None, Some(reason.clone())),
        JournalEvent::GraceCounted { .. } => ("grace_counted", State::Waiting, None, None),
        JournalEvent::GraceLengthened { .. } => ("grace_lengthened", State::Waiting, None, None),
        JournalEvent::Vetoed { reason } => ("ended", State::Vetoed, None, Some(reason.clone())),
        JournalEvent::Started { .. } => ("begun", State::Running, None, None),
        JournalEvent::StepIntended { n, .. } => ("step_started", State::Running, name(n), None),
        JournalEvent::StepHandle { n, handle } => {
            let after = if rolling { State::RollingBack } else { State::Running };
            ("step_handle", after, name(n), Some(text(handle)))
        }
        JournalEvent::StepConfirmed { n, .. } => ("step_done", State::Running, name(n), None),
        JournalEvent::StepFailed { n, reason } => {
            ("step_failed", State::Running, name(n), Some(reason.clone()))
        }
        JournalEvent::Noted { n, name: noted, .. } => ("noted", State::Running, name(n), Some(noted.clone())),
        JournalEvent::CancelRequested { reason, .. } => {
            ("cancel_requested", State::Running, None, Some(reason.clone()))
        }
        JournalEvent::RollingBack { reason } => {
            ("undo_started", State::RollingBack, None, Some(reason.clone()))
        }
        JournalEvent::UndoIntended { n } => ("undo_started", State::RollingBack, name(n), None),
        JournalEvent::Undone { n } => ("undo_done", State::RollingBack, name(n), None),
        JournalEvent::RolledBack => ("ended", State::RolledBack, None, op.reason.clone()),
        JournalEvent::Done { .. } => ("ended", State::Done, None, None),
        JournalEvent::NeedsOperator { reason } => ("ended", State::NeedsOperator, None, Some(reason.clone())),
        JournalEvent::Resolved { way, reason, .. } => {
            let after = match way {
                WayOut::Retry => State::Running,
                WayOut::RollBack => State::RollingBack,
                WayOut::Accept => State::RolledBack,
            };
            (if after == State::RolledBack { "ended" } else { "resolved" }, after, None, Some(reason.clone()))
        }
    };
    Event {
        seq: recorded.seq,
        time: recorded.at,
        operation: from_journal(op.id()),
        kind: op.new.body.kind.clone(),
        state: state(after),
        step,
        what: what.to_owned(),
        message,
        progress: None,
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Progress as an event; it carries the number of the last journaled one.
#[must_use]
pub fn progress_event(
    op: &Journaled,
    n: usize,
    p: &felhom_journal::Progress,
    time: jiff::Timestamp,
) -> Event {
    Event {
        seq: op.last_seq,
        time,
        operation: from_journal(op.id()),
        kind: op.new.body.kind.clone(),
        state: state(op.state),
        step: op.steps.get(n).map(|s| s.name.clone()),
        what: "progress".to_owned(),
        message: None,
        progress: op.steps.get(n).map(|step| progress(p, step, time)),
    }
}

/// An archive of the ledger.
#[must_use]
pub fn archive(
    row: &ArchiveRow,
    present: bool,
    name: Option<GuestName>,
    said: &FreezeRow,
) -> status::Archive {
    let d = &row.detail;
    status::Archive {
        volid: row.volid.clone(),
        guest: row.guest,
        guest_name: name,
        operation: d.operation,
        target: d.target.clone(),
        taken_at: row.taken_at,
        bytes: d.bytes,
        digest: d.digest,
        consistency: d.consistency,
        downtime_ms: said.thawed.as_ref().and_then(|(t, _)| t.measured_ms()),
        proven_level: d.proven.map(|(level, _)| level),
        proven_at: d.proven.map(|(_, at)| at),
        present,
    }
}

fn guest(guest: &ObservedGuest, row: Option<&GuestRow>, addresses: Vec<String>) -> status::Guest {
    status::Guest {
        uuid: guest.uuid,
        vmid: guest.vmid,
        name: guest.name.clone(),
        purpose: guest.purpose.name().to_owned(),
        provenance: match guest.provenance {
            Provenance::Proven => "proven",
            Provenance::RowOnly => "row_only",
            Provenance::MarkOnly => "mark_only",
            Provenance::None => "none",
        }
        .to_owned(),
        power: match guest.power {
            Power::Running => "running",
            Power::Stopped => "stopped",
            Power::Missing => "missing",
            Power::Unknown => "unknown",
        }
        .to_owned(),
        lock: guest.lock.clone(),
        protection: guest.protection,
        cores: guest.limits.cores,
        memory_mib: guest.limits.memory_mib,
        swap_mib: guest.limits.swap_mib,
        apps: guest.apps.clone(),
        made_by: guest.made_by,
        restored_from: guest.restored_from,
        succeeded_by: guest.succeeded_by,
        addresses,
        token_digest: row.and_then(|row| row.detail.token_digest()),
        heartbeat: None,
    }
}

/// Everything that was seen, but the operations that run: this box signs what it says of some.
#[must_use]
pub fn observation(
    seen: &Seen,
    key: &Key,
    time: jiff::Timestamp,
    freezes: &[FreezeRow],
    addresses: &dyn Fn(Vmid) -> Vec<String>,
) -> Observation {
    let name =
        |uuid: GuestUuid| seen.rows.iter().find(|r| r.uuid == uuid).and_then(|r| r.detail.name.clone());
    let row = |g: &ObservedGuest| seen.rows.iter().find(|row| Some(row.uuid) == g.uuid);
    let nothing = FreezeRow::default();
    Observation {
        time,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        attestation_key: key.public(),
        pve_reachable: true,
        error: None,
        guests: seen.observed.guests.iter().map(|g| guest(g, row(g), addresses(g.vmid))).collect(),
        archives: seen
            .archives
            .iter()
            .enumerate()
            .map(|(i, (row, there))| {
                archive(row, *there, name(row.guest), freezes.get(i).unwrap_or(&nothing))
            })
            .collect(),
        storages: seen
            .observed
            .storages
            .iter()
            .map(|st| status::Storage {
                id: st.id.clone(),
                active: st.active,
                free: st.free,
                total: st.total,
                is_target: st.is_target,
            })
            .collect(),
        golden: seen
            .observed
            .golden
            .iter()
            .map(|g| Golden { digest: g.digest, release: g.release, apps: g.apps.clone(), bytes: g.bytes })
            .collect(),
        active: Vec::new(),
        challenges: Vec::new(),
        audit_head: None,
        wished_limits: Tightening::default(),
        used_names: seen.observed.used_names.clone(),
    }
}

/// The phase of a backup, from its notes and its end.
#[must_use]
pub fn backup_phase(op: &Journaled) -> BackupPhase {
    match op.state {
        State::Done => {
            let partial = op.result.as_ref().and_then(|r| r.get("missing")).and_then(Value::as_array);
            if partial.is_some_and(|m| !m.is_empty()) { BackupPhase::Partial } else { BackupPhase::Done }
        }
        State::Refused
        | State::Expired
        | State::Vetoed
        | State::RollingBack
        | State::RolledBack
        | State::NeedsOperator => BackupPhase::Failed,
        State::Pending | State::PendingAuthorization | State::Waiting | State::Running => {
            let phases = [
                ("verifying", BackupPhase::Verifying),
                ("archiving", BackupPhase::Archiving),
                ("snapshotted", BackupPhase::Snapshotted),
                ("frozen", BackupPhase::Frozen),
                ("granted", BackupPhase::Granted),
            ];
            let noted = |name: &str| op.notes.iter().any(|n| n.name == name);
            phases
                .into_iter()
                .find(|(name, _)| noted(name))
                .map_or(BackupPhase::Requested, |(_, phase)| phase)
        }
    }
}

/// Where a backup stands, signed where the guest acts on it.
#[must_use]
pub fn backup_status(op: &Journaled, key: &Key) -> BackupStatus {
    let (id, phase) = (from_journal(op.id()), backup_phase(op));
    let missing = op
        .result
        .as_ref()
        .and_then(|r| r.get("missing"))
        .filter(|m| m.as_array().is_some_and(|a| !a.is_empty()));
    let message = match phase {
        BackupPhase::Failed => op.reason.clone(),
        BackupPhase::Partial => missing.map(|m| format!("missing: {m}")),
        BackupPhase::Requested
        | BackupPhase::Granted
        | BackupPhase::Frozen
        | BackupPhase::Snapshotted
        | BackupPhase::Archiving
        | BackupPhase::Verifying
        | BackupPhase::Done => None,
    };
    let word = match phase {
        BackupPhase::Granted => Some("granted"),
        BackupPhase::Snapshotted => Some("snapshotted"),
        // Whoever asks late still has to know for certain that the snapshot was taken.
        BackupPhase::Archiving => Some("archiving"),
        BackupPhase::Verifying => Some("verifying"),
        BackupPhase::Done => Some("done"),
        BackupPhase::Partial => Some("partial"),
        BackupPhase::Requested | BackupPhase::Frozen | BackupPhase::Failed => None,
    };
    let signature = word.map(|word| key.sign(Context::BackupPhase, format!("{id} {word}").as_bytes()));
    BackupStatus { id, phase, message, signature }
}
