//! Guests of a box: as wanted and as they are, side by side, with the reason where they differ.

use askama::Template;
use felhom_protocol::desired::{GuestSpec, GuestState};
use felhom_protocol::hub_api::Enrolment;
use felhom_protocol::status::{Condition, ConditionStatus, Guest};

use super::parts;
use crate::fleet::Found;

/// The section's content.
#[derive(Template)]
#[template(path = "box_guests.html")]
pub(crate) struct Guests<'a> {
    box_name: &'a str,
    csrf: &'a str,
    enrolled: bool,
    guests: Vec<GuestView<'a>>,
}

/// A guest as wanted and as it is.
struct GuestView<'a> {
    name: String,
    observed: Option<&'a Guest>,
    /// Its `GuestConverged`, if that is not true.
    differs: Option<&'a Condition>,
    /// Field by field; empty for a guest that nobody wants anything of.
    rows: Vec<Row>,
}

/// A field of a guest.
struct Row {
    field: &'static str,
    desired: String,
    observed: String,
    differs: bool,
}

impl GuestView<'_> {
    /// Whether the comparison is worth opening.
    fn any_differs(&self) -> bool {
        self.rows.iter().any(|row| row.differs)
    }

    /// Whether it is a customer's guest that the buttons are for.
    fn is_tenant(&self) -> bool {
        self.observed.is_some_and(|guest| guest.purpose == "tenant" && guest.power != "missing")
    }
}

impl<'a> Guests<'a> {
    /// Of a box; wanted guests first, then the others that it reports.
    pub(crate) fn new(found: &'a Found, csrf: &'a str) -> Self {
        let detail = &found.detail;
        let report = detail.report.as_ref();
        let observed = report.map(|report| report.guests.as_slice()).unwrap_or_default();
        let conditions = report.map(|report| report.conditions.as_slice()).unwrap_or_default();
        let specs = detail.desired.as_ref().map(|version| version.spec.guests.as_slice()).unwrap_or_default();
        let is = |spec: &GuestSpec, guest: &Guest| {
            guest.purpose == "tenant" && guest.name.as_ref() == Some(&spec.name)
        };
        let wanted = specs.iter().map(|spec| {
            let guest = observed.iter().find(|guest| is(spec, guest));
            view(spec.name.to_string(), Some(spec), guest, conditions)
        });
        let others = observed.iter().filter(|guest| !specs.iter().any(|spec| is(spec, guest)));
        let others = others.map(|guest| {
            let name = report.map(|report| report.name_of(guest)).unwrap_or_default();
            view(name, None, Some(guest), conditions)
        });
        Self {
            box_name: &detail.summary.name,
            csrf,
            enrolled: detail.summary.enrolment == Enrolment::Enrolled,
            guests: wanted.chain(others).collect(),
        }
    }
}

fn view<'a>(
    name: String,
    spec: Option<&GuestSpec>,
    observed: Option<&'a Guest>,
    conditions: &'a [Condition],
) -> GuestView<'a> {
    let kind = format!("GuestConverged/{name}");
    let tenant = observed.is_none_or(|guest| guest.purpose == "tenant");
    let differs = conditions.iter().find(|c| tenant && c.kind == kind && c.status != ConditionStatus::True);
    let rows = spec.map(|spec| rows(spec, observed)).unwrap_or_default();
    GuestView { name, observed, differs, rows }
}

fn rows(spec: &GuestSpec, observed: Option<&Guest>) -> Vec<Row> {
    let row = |field, desired: Option<String>, observed: Option<String>| Row {
        field,
        differs: desired.is_some() && desired != observed,
        desired: desired.unwrap_or_else(|| "as it was".to_owned()),
        observed: observed.unwrap_or_else(|| "–".to_owned()),
    };
    let state = spec.state.map(|state| match state {
        GuestState::Running => "running",
        GuestState::Stopped => "stopped",
        GuestState::Retired => "retired",
    });
    let list = |apps: &[felhom_model::AppName]| {
        let names: Vec<&str> = apps.iter().map(felhom_model::AppName::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let mib = |mib: u32| format!("{mib} MiB");
    vec![
        row("State", state.map(str::to_owned), observed.map(|guest| guest.power.clone())),
        row("Cores", spec.cores.map(|n| n.to_string()), observed.map(|guest| guest.cores.to_string())),
        row("Memory", spec.memory_mib.map(mib), observed.map(|guest| mib(guest.memory_mib))),
        row("Swap", spec.swap_mib.map(mib), observed.map(|guest| mib(guest.swap_mib))),
        row("Apps", spec.apps.as_deref().map(list), observed.map(|guest| list(&guest.apps))),
        row("Backup", spec.backup.as_ref().map(|b| format!("{} to {}", b.schedule, b.target)), None).wish(),
        row("Restore test", spec.restore_test.as_ref().map(|t| t.schedule.clone()), None).wish(),
    ]
}

impl Row {
    /// A policy, which has no observed counterpart.
    fn wish(self) -> Self {
        Self { differs: false, ..self }
    }
}
