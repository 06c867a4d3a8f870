//! Desired against observed, guest by guest. For each: what hinders → what is missing → what drifted → who should run.

use crate::damping::{Damping, wish};
use felhom_model::desired::{DesiredGuest, DesiredPower, DesiredState};
use felhom_model::observed::{Observed, ObservedGuest, Power, Provenance, Purpose};
use felhom_model::operation::{Configure, Provision};
use felhom_model::{GuestUuid, Operation, OperationKind};
use jiff::Timestamp;

/// What to ask for, and how things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which to ask; at most one a guest.
    pub operations: Vec<PlannedOperation>,
    /// `Converged`, and `GuestConverged/NAME` for each guest that is named.
    pub conditions: Vec<Condition>,
}

/// An operation with why it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedOperation {
    /// What.
    pub operation: Operation,
    /// Why, for people.
    pub reason: String,
    /// The wish that it belongs to; its end is noted under it for [`Damping`].
    pub wish: String,
    /// Idempotency key: the same key is the same operation.
    pub key: String,
}

/// The value of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As wanted.
    True,
    /// Not as wanted.
    False,
    /// Nothing was said, or nothing could be seen.
    Unknown,
}

/// How something stands, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name, e.g. `Converged`.
    pub kind: String,
    /// True, false or unknown.
    pub status: Status,
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

enum Step {
    Nothing(Status, &'static str, String),
    Do(Operation, &'static str, String),
}

fn hold(reason: &'static str, message: impl Into<String>) -> Step {
    Step::Nothing(Status::False, reason, message.into())
}

/// What to do so that `observed` becomes as `desired` says.
///
/// Never errs and never plans what destroys; `damping` holds back what was just tried.
pub fn reconcile(desired: &DesiredState, observed: &Observed, damping: &Damping, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    for guest in &desired.guests {
        let step = step(guest, observed);
        add(&mut plan, guest, step, damping, now);
    }
    let named = |guest: &ObservedGuest| desired.guests.iter().any(|d| Some(&d.name) == guest.name.as_ref());
    for guest in observed.guests.iter().filter(|g| g.purpose == Purpose::Tenant && !named(g)) {
        let name = guest.name.as_ref().map_or_else(|| guest.vmid.to_string(), ToString::to_string);
        plan.conditions.push(Condition {
            kind: format!("GuestConverged/{name}"),
            status: Status::Unknown,
            reason: "NotMentioned",
            message: "desired state says nothing about this guest, so nothing is done with it".to_owned(),
        });
    }
    let open: Vec<&str> =
        plan.conditions.iter().filter(|c| c.status == Status::False).map(|c| c.kind.as_str()).collect();
    let overall = if open.is_empty() {
        condition("Converged", Status::True, "AsDesired", "everything is as desired state says".to_owned())
    } else {
        condition("Converged", Status::False, "GuestsDiffer", format!("not as desired: {}", open.join(", ")))
    };
    plan.conditions.insert(0, overall);
    plan
}

fn condition(kind: &str, status: Status, reason: &'static str, message: String) -> Condition {
    Condition { kind: kind.to_owned(), status, reason, message }
}

fn add(plan: &mut Plan, guest: &DesiredGuest, step: Step, damping: &Damping, now: Timestamp) {
    let kind = format!("GuestConverged/{}", guest.name);
    let (operation, reason, message) = match step {
        Step::Nothing(status, reason, message) => {
            return plan.conditions.push(condition(&kind, status, reason, message));
        }
        Step::Do(operation, reason, message) => (operation, reason, message),
    };
    let wish = wish(operation.kind().name(), guest.name.as_str(), &format!("{operation:?}"));
    match damping.next(&wish, now) {
        Ok(key) => {
            plan.conditions.push(condition(&kind, Status::False, reason, message.clone()));
            plan.operations.push(PlannedOperation { operation, reason: message, wish, key });
        }
        Err(until) => {
            let message = format!("{message}; tried before, next try not before {until:.0}");
            plan.conditions.push(condition(&kind, Status::False, "HeldBack", message));
        }
    }
}

fn step(desired: &DesiredGuest, observed: &Observed) -> Step {
    let Some(guest) = observed.tenant(&desired.name) else { return without_guest(desired, observed) };
    match guest.power {
        Power::Missing => {
            let text =
                "the ledger has this guest, Proxmox has not; it is never made anew, a backup can be restored";
            return hold("GuestMissing", text);
        }
        Power::Unknown => {
            return hold(
                "PowerUnknown",
                "Proxmox does not know just now whether it runs; it is looked at again",
            );
        }
        Power::Running | Power::Stopped => {}
    }
    match guest.provenance {
        Provenance::Proven => {}
        Provenance::RowOnly | Provenance::MarkOnly | Provenance::None => {
            let text = "ledger and the mark in the guest's description do not agree; nothing is done with it";
            return hold("ProvenanceNotProven", text);
        }
    }
    if desired.power() == DesiredPower::Retired {
        return hold("NeedsAuthorization", retired(desired, guest));
    }
    if let Some(active) = observed
        .active
        .iter()
        .find(|active| active.guest.is_some() && active.guest == guest.uuid && holds_its_guest(active.kind))
    {
        return hold("InProgress", format!("`{}` {} is under way", active.kind, active.id));
    }
    if let Some(lock) = &guest.lock {
        return hold("Locked", format!("Proxmox holds the guest with lock `{lock}`"));
    }
    with_guest(desired, guest)
}

/// How a wish to retire ends, which leaving the field out does not do.
const TAKE_BACK: &str = "the field `state` is kept from the document that said it last, also by documents without it, \
                         until one says `state = \"running\"` (or `\"stopped\"`)";

/// Why a guest is not retired, and what else is not as desired: nothing is done about that meanwhile, but it is told.
fn retired(desired: &DesiredGuest, guest: &ObservedGuest) -> String {
    let mut text = format!(
        "`state = \"retired\"` needs the customer's confirmation or an operator's signature; the guest stays as it is; \
         {TAKE_BACK}"
    );
    let limits = guest.uuid.and_then(|uuid| limits(desired, guest, uuid)).map(|wanted| drift(&wanted, guest));
    let mut others: Vec<String> = limits.into_iter().collect();
    if let Step::Nothing(Status::False, _, message) = as_desired(desired, guest) {
        others.push(message);
    }
    if !others.is_empty() {
        text = format!("{text}. Not as desired either: {}", others.join("; "));
    }
    text
}

/// Restores read archives and leave the guest itself alone.
fn holds_its_guest(kind: OperationKind) -> bool {
    !matches!(kind, OperationKind::RestoreTest | OperationKind::RestoreGuest)
}

fn without_guest(desired: &DesiredGuest, observed: &Observed) -> Step {
    if desired.power() == DesiredPower::Retired {
        let text = format!("there is no guest of this name to retire; {TAKE_BACK}");
        return Step::Nothing(Status::True, "NothingToRetire", text);
    }
    if let Some(active) = observed.active.iter().find(|active| active.name.as_ref() == Some(&desired.name)) {
        return hold("InProgress", format!("`{}` {} is under way", active.kind, active.id));
    }
    if observed.used_names.contains(&desired.name) {
        let text = "a guest of this name existed on this box; a name is never used twice and a lost guest is never \
                    made anew: restore a backup, or choose another name";
        return hold("NameUsedBefore", text);
    }
    let golden = match desired.golden {
        Some(digest) => observed.golden.iter().find(|golden| golden.digest == digest),
        None => observed.golden.first(),
    };
    let Some(golden) = golden else {
        let which = desired.golden.map_or("no golden archive".to_owned(), |digest| format!("{digest} not"));
        let text = format!("{which} imported; run `felhom-executor golden import FILE` on the box");
        return hold("GoldenMissing", text);
    };
    if let Some(app) = desired.apps().iter().find(|app| !golden.apps.contains(app)) {
        let text = format!(
            "the golden archive does not hold app `{app}`; desired state may only name what it holds"
        );
        return hold("AppNotInGolden", text);
    }
    let provision = Provision {
        name: desired.name.clone(),
        golden: desired.golden,
        limits: desired.limits(),
        disk_gib: desired.disk_gib(),
        apps: desired.apps().to_vec(),
    };
    Step::Do(Operation::ProvisionGuest(provision), "Missing", format!("guest `{}` is missing", desired.name))
}

fn with_guest(desired: &DesiredGuest, guest: &ObservedGuest) -> Step {
    let Some(uuid) = guest.uuid else {
        return hold("ProvenanceNotProven", "the guest has no uuid in the ledger");
    };
    if let Some(configure) = limits(desired, guest, uuid) {
        let text = drift(&configure, guest);
        return Step::Do(Operation::ConfigureGuest(configure), "LimitsDiffer", text);
    }
    match (desired.power(), guest.power) {
        (DesiredPower::Running, Power::Stopped) => {
            Step::Do(Operation::StartGuest(uuid), "Stopped", "it should run and does not".to_owned())
        }
        (DesiredPower::Stopped, Power::Running) => {
            Step::Do(Operation::StopGuest(uuid), "Running", "it should be stopped and runs".to_owned())
        }
        (DesiredPower::Running, Power::Running)
        | (DesiredPower::Stopped, Power::Stopped)
        | (DesiredPower::Running | DesiredPower::Stopped, Power::Missing | Power::Unknown)
        | (DesiredPower::Retired, _) => as_desired(desired, guest),
    }
}

/// The limits that differ, if any do.
fn limits(desired: &DesiredGuest, guest: &ObservedGuest, uuid: GuestUuid) -> Option<Configure> {
    let now = guest.limits;
    let configure = Configure {
        guest: uuid,
        cores: desired.cores.filter(|cores| *cores != now.cores),
        memory_mib: desired.memory_mib.filter(|memory| *memory != now.memory_mib),
        swap_mib: desired.swap_mib.filter(|swap| *swap != now.swap_mib),
        disk_gib: None,
    };
    let differs = configure.cores.is_some() || configure.memory_mib.is_some() || configure.swap_mib.is_some();
    differs.then_some(configure)
}

fn as_desired(desired: &DesiredGuest, guest: &ObservedGuest) -> Step {
    let missing = desired.apps.iter().flatten().find(|app| !guest.apps.contains(app));
    match missing {
        Some(app) => {
            hold("AppNotDeployed", format!("app `{app}` was added; deploying apps later is not built yet"))
        }
        None => Step::Nothing(Status::True, "AsDesired", "as desired state says".to_owned()),
    }
}

fn drift(configure: &Configure, guest: &ObservedGuest) -> String {
    let now = guest.limits;
    let parts = [
        configure.cores.map(|wanted| format!("cores {} → {wanted}", now.cores)),
        configure.memory_mib.map(|wanted| format!("memory {} → {wanted} MiB", now.memory_mib)),
        configure.swap_mib.map(|wanted| format!("swap {} → {wanted} MiB", now.swap_mib)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
