//! Each reason for doing, and for not doing, something.

use crate::build::*;
use felhom_model::desired::*;
use felhom_model::observed::*;
use felhom_model::*;
use felhom_planner::*;
use jiff::{SignedDuration, Timestamp};

fn now() -> Timestamp {
    time("2026-06-01T12:00:00Z")
}

fn plan(desired: &[DesiredGuest], observed: &Observed) -> Plan {
    reconcile(&state(desired), observed, &Damping::default(), now())
}

/// Kinds of the operations, and the reason of the first guest's condition.
fn told(plan: &Plan) -> (Vec<OperationKind>, &'static str) {
    (plan.operations.iter().map(|one| one.operation.kind()).collect(), plan.conditions[1].reason)
}

#[test]
fn a_missing_guest_is_provisioned_once() {
    let box_ = observed(&[]);
    let first = plan(&[desired("a")], &box_);
    assert_eq!(told(&first), (vec![OperationKind::ProvisionGuest], "Missing"));
    assert!(first.operations[0].key.starts_with("provision_guest:a:"), "{}", first.operations[0].key);
    assert_eq!(first, plan(&[desired("a")], &box_), "deterministic");
    let mut under_way = observed(&[]);
    under_way.active.push(active(OperationKind::ProvisionGuest, None, Some(name("a"))));
    assert_eq!(told(&plan(&[desired("a")], &under_way)), (vec![], "InProgress"));
}

#[test]
fn what_is_lost_is_never_made_anew() {
    let mut gone = observed(&[]);
    gone.used_names.push(name("a"));
    assert_eq!(told(&plan(&[desired("a")], &gone)), (vec![], "NameUsedBefore"));
    let mut lost = observed(&[guest(1, "a")]);
    lost.guests[0].power = Power::Missing;
    assert_eq!(told(&plan(&[desired("a")], &lost)), (vec![], "GuestMissing"));
    lost.guests[0].power = Power::Unknown;
    assert_eq!(told(&plan(&[desired("a")], &lost)), (vec![], "PowerUnknown"));
    let mut tombstone = observed(&[guest(1, "a")]);
    tombstone.guests[0].purpose = Purpose::Tombstone;
    assert_eq!(told(&plan(&[desired("a")], &tombstone)), (vec![], "NameUsedBefore"));
}

#[test]
fn what_the_golden_archive_must_hold() {
    let mut none = observed(&[]);
    none.golden.clear();
    assert_eq!(told(&plan(&[desired("a")], &none)), (vec![], "GoldenMissing"));
    let mut other = desired("a");
    other.golden = Some(Digest::of(b"other"));
    assert_eq!(told(&plan(&[other], &observed(&[]))), (vec![], "GoldenMissing"));
    let mut app = desired("a");
    app.apps = Some(vec!["unknown".parse().unwrap()]);
    assert_eq!(told(&plan(&[app.clone()], &observed(&[]))), (vec![], "AppNotInGolden"));
    assert_eq!(told(&plan(&[app], &observed(&[guest(1, "a")]))), (vec![], "AppNotDeployed"));
}

#[test]
fn drift_and_power() {
    let healthy = observed(&[guest(1, "a")]);
    let as_is = plan(&[desired("a")], &healthy);
    assert_eq!(told(&as_is), (vec![], "AsDesired"));
    assert_eq!((as_is.conditions[0].kind.as_str(), as_is.conditions[0].status), ("Converged", Status::True));

    let mut more = desired("a");
    more.memory_mib = Some(1024);
    let changed = plan(&[more], &healthy);
    assert_eq!(told(&changed), (vec![OperationKind::ConfigureGuest], "LimitsDiffer"));
    assert_eq!(changed.operations[0].reason, "memory 512 → 1024 MiB");
    assert_eq!(changed.conditions[0].status, Status::False);
    assert_eq!(
        told(&plan(&[DesiredGuest::named(name("a"))], &healthy)),
        (vec![], "AsDesired"),
        "nothing said"
    );

    let mut down = observed(&[guest(1, "a")]);
    down.guests[0].power = Power::Stopped;
    assert_eq!(told(&plan(&[desired("a")], &down)), (vec![OperationKind::StartGuest], "Stopped"));
    let mut stop = desired("a");
    stop.power = Some(DesiredPower::Stopped);
    assert_eq!(
        told(&plan(std::slice::from_ref(&stop), &healthy)),
        (vec![OperationKind::StopGuest], "Running")
    );
    assert_eq!(told(&plan(&[stop], &down)), (vec![], "AsDesired"));
}

#[test]
fn what_holds_everything_back() {
    let mut down = observed(&[guest(1, "a")]);
    down.guests[0].power = Power::Stopped;
    let with = |bend: &dyn Fn(&mut Observed)| {
        let mut observed = down.clone();
        bend(&mut observed);
        observed
    };
    let backup = active(OperationKind::BackupGuest, Some(uuid(1)), None);
    let test = active(OperationKind::RestoreTest, Some(uuid(1)), None);
    assert_eq!(
        told(&plan(&[desired("a")], &with(&|o| o.active.push(backup.clone())))),
        (vec![], "InProgress")
    );
    let during_test = plan(&[desired("a")], &with(&|o| o.active.push(test.clone())));
    assert_eq!(
        told(&during_test).0,
        vec![OperationKind::StartGuest],
        "a restore test does not hold the guest"
    );
    assert_eq!(
        told(&plan(&[desired("a")], &with(&|o| o.guests[0].lock = Some("backup".into())))),
        (vec![], "Locked")
    );
    let unproven = with(&|o| o.guests[0].provenance = Provenance::RowOnly);
    assert_eq!(told(&plan(&[desired("a")], &unproven)), (vec![], "ProvenanceNotProven"));
    let mut retired = desired("a");
    retired.power = Some(DesiredPower::Retired);
    assert_eq!(told(&plan(&[retired.clone()], &down)), (vec![], "NeedsAuthorization"));
    assert_eq!(told(&plan(&[retired], &observed(&[]))), (vec![], "NothingToRetire"));
}

#[test]
fn absence_means_nothing() {
    let plan = plan(&[], &observed(&[guest(1, "a")]));
    assert!(plan.operations.is_empty());
    assert_eq!((plan.conditions[1].reason, plan.conditions[1].status), ("NotMentioned", Status::Unknown));
    assert_eq!(plan.conditions[0].status, Status::True);
}

#[test]
fn repetition_is_held_back_and_a_changed_wish_is_not() {
    let mut down = observed(&[guest(1, "a")]);
    down.guests[0].power = Power::Stopped;
    let first = plan(&[desired("a")], &down).operations.remove(0);
    assert!(first.key.ends_with("#0"));
    let ended = |ago: i64, recent| {
        let last_ended = now() - SignedDuration::from_secs(ago);
        Damping::from_iter([(first.wish.clone(), Past { tries: 7, recent, last_ended })])
    };
    let again =
        |damping: &Damping, desired: DesiredGuest| reconcile(&state(&[desired]), &down, damping, now());
    assert_eq!(told(&again(&ended(10, 1), desired("a"))), (vec![], "HeldBack"));
    assert_eq!(again(&ended(15, 1), desired("a")).operations[0].key, format!("{}#7", first.wish));
    assert_eq!(told(&again(&ended(100, 4), desired("a"))), (vec![], "HeldBack"));
    assert!(!again(&ended(3600, 60), desired("a")).operations.is_empty(), "never held back for good");
    assert!(!again(&ended(-900, 3), desired("a")).operations.is_empty(), "nor by a clock that went back");
    let mut other = desired("a");
    other.memory_mib = Some(2048);
    assert_eq!(again(&ended(1, 9), other).operations.len(), 1);
}

#[test]
fn merging_keeps_what_is_not_said() {
    let mut old = desired("a");
    old.power = Some(DesiredPower::Stopped);
    old.backup = Some(BackupPolicy { schedule: "0 2 * * *".into(), target: store() });
    let previous = state(&[old.clone(), desired("b")]);
    assert_eq!(merge(&previous, &state(&[])), previous);
    assert_eq!(absent(&previous, &state(&[desired("b")])), vec![name("a")]);
    let mut said = DesiredGuest::named(name("a"));
    said.cores = Some(4);
    let merged = merge(&previous, &state(&[said, desired("c")]));
    assert_eq!(merged.guests.len(), 3);
    assert_eq!(merged.guests[0], DesiredGuest { cores: Some(4), ..old });
}

#[test]
fn only_what_never_was_is_forgotten() {
    let mut box_ = observed(&[guest(1, "made")]);
    box_.used_names.push(name("gone"));
    box_.active.push(active(OperationKind::ProvisionGuest, None, Some(name("making"))));
    let all = ["made", "gone", "making", "never"].map(name);
    assert_eq!(never_made(&all, &box_), vec![name("never")]);
    let kept = forget(&state(&[desired("made"), desired("never")]), &[name("never")]);
    assert_eq!(kept, state(&[desired("made")]));
}

#[test]
fn a_retired_guest_says_how_to_take_it_back_and_what_else_differs() {
    let mut said = desired("a");
    said.power = Some(DesiredPower::Retired);
    let mut next = DesiredGuest::named(name("a"));
    (next.memory_mib, next.apps) = (Some(1024), Some(vec!["nope".parse().unwrap()]));
    let held = merge(&state(&[said]), &state(&[next]));
    let healthy = observed(&[guest(1, "a")]);
    let kept = plan(&held.guests, &healthy);
    assert_eq!(told(&kept), (vec![], "NeedsAuthorization"));
    let message = &kept.conditions[1].message;
    for part in ["`state`", "`state = \"running\"`", "memory 512 → 1024 MiB", "app `nope` was added"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let mut back = DesiredGuest::named(name("a"));
    back.power = Some(DesiredPower::Running);
    let back = plan(&merge(&held, &state(&[back])).guests, &healthy);
    assert_eq!(told(&back), (vec![OperationKind::ConfigureGuest], "LimitsDiffer"));
    assert!(plan(&held.guests, &observed(&[])).conditions[1].message.contains("`state = \"running\"`"));
}
