//! Preview of a plan: the planner on the last report, as far as the hub can know it.
//!
//! Steps: merge all generations as the box does, read the report as an observation, reconcile, put it in words. The box
//! plans again with what it sees itself; its executor's gate decides.

use felhom_model::Operation;
use felhom_model::desired::DesiredState;
use felhom_model::observed::{Golden, Observed};
use felhom_model::{Digest, GuestName, GuestUuid};
use felhom_planner::{Damping, Status, absent, forget, merge, never_made, reconcile, schedule};
use felhom_protocol::desired::Spec;
use felhom_protocol::hub_api::{PlanPreview, PlannedOperation};
use felhom_protocol::hub_sync::Report;
use felhom_protocol::status;
use jiff::Timestamp;

use crate::store::reports::StoredReport;

/// Checks what an operator wrote; the reason names the guest and the field.
///
/// # Errors
/// In words.
pub(crate) fn check(spec: &Spec) -> Result<DesiredState, String> {
    let desired = spec.to_model().map_err(|e| e.to_string())?;
    for guest in &desired.guests {
        let at = |field: &'static str| move |e| format!("guest `{}`: {field}: {e}", guest.name);
        if let Some(backup) = &guest.backup {
            schedule::check(&backup.schedule).map_err(at("backup.schedule"))?;
        }
        if let Some(test) = &guest.restore_test {
            schedule::check(&test.schedule).map_err(at("restore_test.schedule"))?;
        }
    }
    Ok(desired)
}

/// What `spec` would lead to on top of the generations that were set before, oldest first.
///
/// # Errors
/// As [`check`].
pub(crate) fn preview(
    spec: &Spec,
    before: &[Spec],
    stored: Option<&StoredReport>,
    now: Timestamp,
) -> Result<PlanPreview, String> {
    let wanted = check(spec)?;
    let kept = before
        .iter()
        .filter_map(|old| old.to_model().ok())
        .fold(DesiredState::default(), |kept, next| merge(&kept, &next));
    let desired = merge(&kept, &wanted);
    let mut notes: Vec<String> = absent(&kept, &wanted)
        .iter()
        .map(|name| format!("{name}: not named any more. That means nothing: the guest and its data stay"))
        .collect();
    let Some(stored) = stored else {
        notes.push(
            "the box has not reported yet: nothing is known of it, all guests count as missing".to_owned(),
        );
        let observed = observe(None, &desired);
        return Ok(in_words(&desired, &observed, notes, None, now));
    };
    let observed = observe(Some(&stored.report), &desired);
    // The box forgets what is not named any more and was never made.
    let dropped = never_made(&absent(&kept, &wanted), &observed);
    let desired = forget(&desired, &dropped);
    for (name, note) in absent(&kept, &wanted).iter().zip(&mut notes) {
        if dropped.contains(name) {
            *note = format!("{name}: not named any more, and the box never made it: it is forgotten");
        }
    }
    Ok(in_words(&desired, &observed, notes, Some(stored.received), now))
}

fn in_words(
    desired: &DesiredState,
    observed: &Observed,
    mut notes: Vec<String>,
    based_on: Option<Timestamp>,
    now: Timestamp,
) -> PlanPreview {
    let plan = reconcile(desired, observed, &Damping::default(), now);
    let held = plan.conditions.iter().filter_map(|condition| {
        let guest = condition.kind.strip_prefix("GuestConverged/")?;
        let planned = plan.operations.iter().any(|p| p.reason == condition.message);
        (condition.status == Status::False && !planned).then(|| format!("{guest}: {}", condition.message))
    });
    notes.extend(held);
    let provisions = plan.operations.iter().any(|p| matches!(p.operation, Operation::ProvisionGuest(_)));
    if provisions {
        notes.push(
            "reports do not list golden archives: a new guest needs one on the box that holds all its apps"
                .to_owned(),
        );
    }
    let operations = plan
        .operations
        .iter()
        .map(|planned| PlannedOperation {
            kind: planned.operation.kind().name().to_owned(),
            guest: subject(&planned.operation, observed),
            reason: planned.reason.clone(),
        })
        .collect();
    PlanPreview { operations, notes, based_on }
}

fn subject(operation: &Operation, observed: &Observed) -> String {
    let name = |uuid: GuestUuid| {
        let known = observed.guest(uuid).and_then(|guest| guest.name.as_ref());
        known.map_or_else(|| uuid.to_string(), ToString::to_string)
    };
    match operation {
        Operation::ProvisionGuest(provision) => provision.name.to_string(),
        Operation::StartGuest(uuid) | Operation::StopGuest(uuid) | Operation::RebootGuest(uuid) => {
            name(*uuid)
        }
        Operation::ConfigureGuest(configure) => name(configure.guest),
        _ => String::new(),
    }
}

fn observe(report: Option<&Report>, desired: &DesiredState) -> Observed {
    let golden = desired.guests.iter().map(|guest| Golden {
        digest: guest.golden.unwrap_or(Digest::from_bytes([0; 32])),
        release: 0,
        apps: desired.guests.iter().flat_map(|guest| guest.apps().to_vec()).collect(),
        bytes: 0,
    });
    let mut observed = Observed { golden: golden.collect(), ..Observed::default() };
    let Some(report) = report else { return observed };
    observed.guests = report.guests.iter().map(status::Guest::to_model).collect();
    observed.storages = report.storages.iter().map(status::Storage::to_model).collect();
    observed.active = report.operations.iter().filter_map(status::Operation::to_active).collect();
    let named = report.guests.iter().filter_map(|guest| guest.name.clone());
    let made = report.operations.iter().filter(|o| o.kind == "provision_guest" && o.state.is_final());
    let used: Vec<GuestName> = named.chain(made.filter_map(|o| o.guest_name.clone())).collect();
    observed.used_names = used;
    observed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        let text = format!("schema = \"felhom.desired/v1\"\n{text}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_removed_guest_leads_to_nothing() {
        let before = [spec("[[guest]]\nname = \"family\"")];
        let preview = preview(&spec(""), &before, None, Timestamp::UNIX_EPOCH).unwrap();
        assert!(preview.notes[0].contains("family: not named any more"), "{preview:?}");
        assert!(preview.operations.iter().all(|operation| operation.kind == "provision_guest"));
    }

    #[test]
    fn a_removed_guest_that_was_never_made_is_forgotten() {
        let before = [spec("[[guest]]\nname = \"evil\"")];
        let stored = StoredReport {
            received: Timestamp::UNIX_EPOCH,
            report: serde_json::from_value(serde_json::json!({
                "agent_version": "1", "executor_version": null, "observed_generation": 1, "conditions": [], "guests": [],
                "operations": [], "archives": [], "storages": [], "receipts": [], "jobs": []
            }))
            .unwrap(),
        };
        let preview = preview(&spec(""), &before, Some(&stored), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(preview.operations, vec![]);
        assert_eq!(preview.notes, ["evil: not named any more, and the box never made it: it is forgotten"]);
    }

    #[test]
    fn a_new_guest_is_provisioned() {
        let wanted = spec("[[guest]]\nname = \"family\"\napps = [\"sample\"]");
        let preview = preview(&wanted, &[], None, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(preview.operations[0].kind, "provision_guest");
        assert_eq!(preview.operations[0].guest, "family");
    }

    #[test]
    fn a_schedule_that_never_comes_is_named() {
        let text =
            "[[guest]]\nname = \"family\"\n[guest.backup]\nschedule = \"61 * * * *\"\ntarget = \"local\"";
        let why = check(&spec(text)).unwrap_err();
        assert!(why.contains("guest `family`: backup.schedule"), "{why}");
    }
}
