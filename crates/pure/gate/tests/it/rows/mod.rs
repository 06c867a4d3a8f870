//! Each row by example: what is allowed, each objection on its own, and whose signatures suffice.

mod backup;
mod cutover;
mod disks;
mod keys;
mod leftovers;
mod operators;
mod power;
mod provision;
mod prune;
mod reclaim;
mod scratch;
mod software;
mod support;

use crate::build::*;
use crate::sign::*;
use felhom_gate::*;
use felhom_model::backup::{Archive, Level};
use felhom_model::observed::*;
use felhom_model::operation::*;
use felhom_model::*;
use jiff::SignedDuration;

/// The word of a verdict without any consent; a refusal always comes with evidence and a text.
fn code(operation: &Operation, facts: &Facts) -> &'static str {
    let verdict = decide(operation, facts, &[]);
    match &verdict {
        Verdict::Allow(approved) => assert_eq!(approved.get(), operation),
        Verdict::Refuse(reason) => assert!(reason.evidence.iter().count() > 0 && !reason.text.is_empty()),
        Verdict::NeedsAuthorization(..) | Verdict::Wait { .. } => {}
    }
    word(&verdict)
}

fn refusal(operation: &Operation, facts: &Facts) -> Reason {
    match decide(operation, facts, &[]) {
        Verdict::Refuse(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// The facts of a healthy box with these about the operation.
fn about(concerning: Concerning) -> Facts {
    Facts { concerning, ..facts() }
}

/// Provenance, a twin, a lock, a missing guest: what each row that touches a standing guest objects to.
fn objects_to_a_bad_guest(operation: &Operation, good: &Facts) {
    let bend = |bend: &dyn Fn(&mut ObservedGuest)| {
        let mut facts = good.clone();
        bend(&mut facts.observed.guests[0]);
        code(operation, &facts)
    };
    for provenance in [Provenance::RowOnly, Provenance::MarkOnly, Provenance::None] {
        assert_eq!(bend(&|guest| guest.provenance = provenance), "provenance_not_proven");
    }
    assert_eq!(bend(&|guest| guest.uuid = Some(uuid(9))), "unknown_guest");
    let mut twins = good.clone();
    twins.observed.guests.push(guest(1, 2100, Purpose::Tenant));
    assert_eq!(code(operation, &twins), "two_guests_with_one_uuid");
}

/// The same for one that must stand there and be held by no task.
fn objects_to_a_guest_that_is_gone_or_held(operation: &Operation, good: &Facts) {
    objects_to_a_bad_guest(operation, good);
    let mut facts = good.clone();
    facts.observed.guests[0].lock = Some("backup".into());
    assert_eq!(code(operation, &facts), "guest_locked");
    facts.observed.guests[0].lock = None;
    facts.observed.guests[0].power = Power::Missing;
    assert_eq!(code(operation, &facts), "guest_missing");
    facts.observed.guests[0].power = Power::Unknown;
    assert_eq!(code(operation, &facts), "power_unknown");
}

/// The row refuses every purpose but these.
fn only_for(operation: &Operation, good: &Facts, purposes: &[Purpose], refused: &str) {
    for purpose in [Purpose::Tenant, Purpose::Copy, Purpose::Scratch, Purpose::Tombstone, Purpose::Foreign] {
        let mut facts = good.clone();
        facts.observed.guests[0].purpose = purpose;
        let got = code(operation, &facts);
        assert_eq!(
            got == refused,
            !purposes.contains(&purpose),
            "{} of a {}: {got}",
            operation.kind(),
            purpose.name()
        );
    }
}

/// Without the facts that the row is about, or with those of another row, it refuses.
fn only_with_its_facts(operation: &Operation, good: &Facts) {
    for concerning in [Concerning::Nothing, Concerning::Diagnostics { beyond_allow_list: false }] {
        let other = Facts { concerning, ..good.clone() };
        let reason = refusal(operation, &other);
        assert_eq!(reason.code, "fact_not_observed", "{}", operation.kind());
        assert!(reason.evidence.get("fact").is_some());
    }
}

#[test]
fn an_unknown_name_is_refused_by_name() {
    let unknown = "destroy_guest".parse::<OperationKind>().unwrap_err();
    let reason = refuse_unknown(&unknown);
    assert_eq!((reason.code, reason.evidence.get("operation")), ("unknown_operation", Some("destroy_guest")));
}
