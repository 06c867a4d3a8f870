//! What the fleet needs of a report: pure, and made once, when the report comes in.
//!
//! Everything here is a fact of the report with its own time; what depends on the present (ages, silence) is judged by
//! [`crate::risk`] when somebody looks.

use std::collections::BTreeMap;

use felhom_model::{Generation, GuestUuid, OperationState};
use felhom_protocol::hub_sync::Report;
use felhom_protocol::status::{Condition, ConditionStatus, Guest, Operation};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How bad something is, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Nothing to say.
    Ok,
    /// Waits for somebody or something.
    Waiting,
    /// Somebody should look.
    Attention,
    /// Data or service is at stake.
    Danger,
}

impl Severity {
    /// The word on wire and screens.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::Attention => "attention",
            Self::Danger => "danger",
        }
    }
}

/// What the fleet needs of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Generation that the box has acted on.
    pub(crate) observed_generation: Generation,
    /// Its tenants.
    pub(crate) guests: Vec<GuestFacts>,
    /// What is wrong by the box's own word.
    pub(crate) troubles: Vec<Trouble>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestFacts {
    /// Its name.
    pub(crate) name: String,
    /// Whether it runs.
    pub(crate) running: bool,
    /// When it was made.
    pub(crate) made: Option<Timestamp>,
    /// When its newest archive that is present was taken.
    pub(crate) last_backup: Option<Timestamp>,
    /// When its newest proven backup was taken.
    pub(crate) last_proven: Option<Timestamp>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// How bad.
    pub(crate) severity: Severity,
    /// Since when.
    pub(crate) since: Timestamp,
    /// What kind, which decides how long it is shown.
    pub(crate) kind: TroubleKind,
    /// In words.
    pub(crate) text: String,
}

/// What kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TroubleKind {
    /// A condition that is not true.
    Condition,
    /// A guest that is not as desired, which is normal for a while.
    NotConverged,
    /// An operation that waits for a person.
    Operation,
    /// An operation that the gate refused.
    Refusal,
    /// A restore test that proves nothing.
    Proof,
    /// A guest or an app that does not do what it should.
    Guest,
}

/// What the receipts say, by guest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proofs {
    /// When the newest proven backup was taken.
    pub(crate) proven: BTreeMap<GuestUuid, Timestamp>,
    /// Why the newest restore test proves nothing.
    pub(crate) failed: BTreeMap<GuestUuid, String>,
    /// Why the newest restore test of the archive that was taken then proves nothing.
    pub(crate) unproven: BTreeMap<(GuestUuid, Timestamp), String>,
}

/// Reads the facts out of a report that came in at `received`, and out of the operations that the box ever told: what it
/// refused stays known when an agent that was started again does not repeat it.
pub(crate) fn read(report: &Report, told: &[Operation], proofs: &Proofs, received: Timestamp) -> Facts {
    let tenants: Vec<&Guest> = report.guests.iter().filter(|guest| guest.purpose == "tenant").collect();
    let mut troubles: Vec<Trouble> = report.conditions.iter().filter_map(of_condition).collect();
    troubles.extend(told.iter().filter_map(of_operation));
    for guest in &tenants {
        troubles.extend(of_guest(guest, received));
        troubles.extend(of_archives(guest, report, proofs, received));
    }
    Facts {
        observed_generation: report.observed_generation,
        guests: tenants.iter().map(|guest| guest_facts(guest, report, proofs)).collect(),
        troubles,
    }
}

fn name_of(guest: &Guest) -> String {
    guest.name.as_ref().map_or_else(|| format!("VMID {}", guest.vmid), ToString::to_string)
}

fn guest_facts(guest: &Guest, report: &Report, proofs: &Proofs) -> GuestFacts {
    let archives = report.archives.iter().filter(|a| a.present && Some(a.guest) == guest.uuid);
    let made = guest.made_by.and_then(|id| Timestamp::from_millisecond(id.unix_ms().try_into().ok()?).ok());
    GuestFacts {
        name: name_of(guest),
        running: guest.power == "running",
        made,
        last_backup: archives.map(|archive| archive.taken_at).max(),
        last_proven: guest.uuid.and_then(|uuid| proofs.proven.get(&uuid).copied()),
    }
}

/// `Converged` repeats what the guests' own conditions say, and `GuestConverged` is unknown where nothing was wanted.
fn of_condition(condition: &Condition) -> Option<Trouble> {
    let Condition { kind, status, message, since, .. } = condition;
    let guest = kind.strip_prefix("GuestConverged/");
    let counts = match status {
        ConditionStatus::True => false,
        ConditionStatus::False => kind != "Converged",
        ConditionStatus::Unknown => guest.is_none() && kind.ends_with("Reachable"),
    };
    if !counts {
        return None;
    }
    let (severity, kind, text) = match (guest, kind.as_str()) {
        (Some(guest), _) => {
            (Severity::Attention, TroubleKind::NotConverged, format!("{guest}: not as desired: {message}"))
        }
        (None, "ExecutorReachable") => {
            (Severity::Danger, TroubleKind::Condition, format!("the executor does not answer: {message}"))
        }
        (None, "ProxmoxReachable") => {
            (Severity::Danger, TroubleKind::Condition, format!("Proxmox does not answer: {message}"))
        }
        (None, other) => (Severity::Attention, TroubleKind::Condition, format!("{other}: {message}")),
    };
    Some(Trouble { severity, since: *since, kind, text })
}

fn of_operation(operation: &Operation) -> Option<Trouble> {
    let (severity, kind) = match operation.state {
        OperationState::NeedsOperator => (Severity::Danger, TroubleKind::Operation),
        OperationState::PendingAuthorization | OperationState::Waiting => {
            (Severity::Attention, TroubleKind::Operation)
        }
        OperationState::Refused => (Severity::Attention, TroubleKind::Refusal),
        OperationState::Pending
        | OperationState::Expired
        | OperationState::Vetoed
        | OperationState::Running
        | OperationState::Done
        | OperationState::RollingBack
        | OperationState::RolledBack => return None,
    };
    let on = operation.guest_name.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let why = operation.reason.as_deref().unwrap_or(&operation.verdict);
    let text = format!("{}{on} {}: {why}", operation.kind, operation.state.name().replace('_', " "));
    Some(Trouble { severity, since: operation.ended.unwrap_or(operation.created), kind, text })
}

fn of_guest(guest: &Guest, received: Timestamp) -> Vec<Trouble> {
    let name = name_of(guest);
    let trouble = |severity, kind, text: String| Trouble {
        severity,
        since: received,
        kind,
        text: format!("{name}: {text}"),
    };
    let mut found = Vec::new();
    if guest.power == "missing" {
        let text = "the ledger has this guest, Proxmox has not".to_owned();
        found.push(trouble(Severity::Danger, TroubleKind::Guest, text));
    }
    let apps = guest.heartbeat.iter().flat_map(|heartbeat| &heartbeat.apps);
    for app in apps.filter(|app| app.state == "failed") {
        let why = app.message.as_deref().unwrap_or("no reason given");
        let text = format!("app {} failed: {why}", app.app);
        found.push(trouble(Severity::Attention, TroubleKind::Guest, text));
    }
    found
}

/// What is wrong with the newest archive of a guest; an older one that restores does not make up for it.
fn of_archives(guest: &Guest, report: &Report, proofs: &Proofs, received: Timestamp) -> Vec<Trouble> {
    let Some(uuid) = guest.uuid else { return Vec::new() };
    let of_guest = report.archives.iter().filter(|archive| archive.guest == uuid);
    let newest = of_guest.max_by_key(|archive| archive.taken_at);
    let mut texts = Vec::new();
    let mut told = None;
    if let Some(newest) = newest {
        let volid = &newest.volid;
        told = proofs.unproven.get(&(uuid, whole_ms(newest.taken_at)));
        if !newest.present {
            texts.push(format!("archive {volid}, its newest, is missing: its storage has no such file"));
        }
        if let Some(why) = told {
            texts.push(format!(
                "archive {volid}, its newest, is not proven: its last restore test proves nothing: {why}"
            ));
        }
    }
    if let Some(why) = proofs.failed.get(&uuid).filter(|why| told != Some(*why)) {
        texts.push(format!("the last restore test proves nothing: {why}"));
    }
    let name = name_of(guest);
    let trouble = |text| Trouble {
        severity: Severity::Danger,
        since: received,
        kind: TroubleKind::Proof,
        text: format!("{name}: {text}"),
    };
    texts.into_iter().map(trouble).collect()
}

/// As the database keeps times.
fn whole_ms(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: ConditionStatus) -> Condition {
        let (reason, message) = ("Word".to_owned(), "so it is".to_owned());
        Condition { kind: kind.to_owned(), status, reason, message, since: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn conditions_count_once_and_only_if_they_say_something() {
        use ConditionStatus::{False, True, Unknown};
        let kind = |kind: &str, status| of_condition(&condition(kind, status)).map(|trouble| trouble.kind);
        assert_eq!(kind("Converged", False), None);
        assert_eq!(kind("GuestConverged/family", False), Some(TroubleKind::NotConverged));
        assert_eq!(kind("GuestConverged/family", Unknown), None);
        assert_eq!(kind("GuestKept/family", True), None);
        assert_eq!(kind("ExecutorReachable", Unknown), Some(TroubleKind::Condition));
        assert_eq!(kind("DesiredStateValid", Unknown), None);
        assert_eq!(kind("ClockPlausible", False), Some(TroubleKind::Condition));
    }
}
