//! A restored copy takes over, back again, and a guest is retired: reversible, but the customer sees other data.

use super::*;

/// Tenant 1 and its restored copy 2.
fn pair() -> Facts {
    let mut facts = about(Concerning::Cutover(CutoverFacts { archive_of: Some(uuid(1)) }));
    let mut copy = guest(2, 2800, Purpose::Copy);
    copy.restored_from = Some(uuid(1));
    facts.observed.guests.push(copy);
    facts
}

/// The same after the cutover: what stood before is tombstone 2.
fn replaced() -> Facts {
    let mut facts = pair();
    (facts.observed.guests[0].vmid, facts.observed.guests[1].vmid) = (vmid(2800), vmid(2000));
    facts.observed.guests[1].purpose = Purpose::Tombstone;
    facts.observed.guests[1].succeeded_by = Some(uuid(1));
    facts
}

fn tombstone_of_1(n: u8) -> ObservedGuest {
    let mut one = guest(n, 2000 + u32::from(n), Purpose::Tombstone);
    one.succeeded_by = Some(uuid(1));
    one
}

fn cutover() -> Operation {
    Operation::CutoverGuest(Cutover { guest: uuid(1), copy: uuid(2) })
}

#[test]
fn cutover_wants_its_customer_or_an_operator() {
    assert_eq!(needs(&cutover(), &pair()), [(0, vec![uuid(1)]), (1, vec![])]);
    assert_eq!(asked_with(&cutover(), &pair(), &[customer(2)]), "needs_authorization");
    let Verdict::NeedsAuthorization(_, evidence) = decide(&cutover(), &pair(), &[]) else { panic!() };
    assert_eq!((evidence.get("vmid"), evidence.get("successor_at_vmid")), (Some("2000"), Some("2800")));
}

#[test]
fn cutover_objections() {
    objects_to_a_guest_that_is_gone_or_held(&cutover(), &pair());
    only_for(&cutover(), &pair(), &[Purpose::Tenant], "not_a_tenant");
    only_with_its_facts(&cutover(), &pair());
    type Bend<'a> = &'a dyn Fn(&mut Facts);
    let cases: [(&str, Bend<'_>); 10] = [
        ("unknown_guest", &|facts| facts.observed.guests[1].uuid = Some(uuid(3))),
        ("provenance_not_proven", &|facts| facts.observed.guests[1].provenance = Provenance::RowOnly),
        ("guest_missing", &|facts| facts.observed.guests[1].power = Power::Missing),
        ("guest_locked", &|facts| facts.observed.guests[1].lock = Some("create".into())),
        ("not_a_copy", &|facts| facts.observed.guests[1].purpose = Purpose::Scratch),
        ("not_a_copy", &|facts| facts.observed.guests[1].purpose = Purpose::Tenant),
        ("not_a_copy", &|facts| facts.observed.guests[1].purpose = Purpose::Foreign),
        ("archive_of_another_guest", &|facts| {
            facts.concerning = Concerning::Cutover(CutoverFacts { archive_of: Some(uuid(3)) });
        }),
        ("archive_of_another_guest", &|facts| {
            facts.concerning = Concerning::Cutover(CutoverFacts { archive_of: None });
        }),
        ("one_tombstone_per_guest", &|facts| facts.observed.guests.push(tombstone_of_1(3))),
    ];
    for (n, (wanted, bend)) in cases.iter().enumerate() {
        let mut facts = pair();
        bend(&mut facts);
        assert_eq!(code(&cutover(), &facts), *wanted, "case {n}");
        let everybody = [operator("ada"), operator("bob"), customer(1), customer(2)];
        assert_eq!(asked_with(&cutover(), &facts, &everybody), *wanted, "case {n}, signed");
    }
    let mut of_another = pair();
    let mut tombstone = tombstone_of_1(3);
    tombstone.succeeded_by = Some(uuid(4));
    of_another.observed.guests.push(tombstone);
    assert_eq!(code(&cutover(), &of_another), "needs_authorization");
}

#[test]
fn a_cutover_that_already_changed_the_places_may_go_on_but_not_begin() {
    let at_stage = |stage, bend: &dyn Fn(&mut Facts)| {
        let mut facts = Facts { stage, ..replaced() };
        bend(&mut facts);
        code(&cutover(), &facts)
    };
    assert_eq!(at_stage(Stage::Resume, &|_| ()), "needs_authorization");
    assert_eq!(at_stage(Stage::Begin, &|_| ()), "not_a_copy");
    assert_eq!(at_stage(Stage::BeforeAct, &|_| ()), "not_a_copy");
    let others = |facts: &mut Facts| facts.observed.guests[1].succeeded_by = Some(uuid(3));
    assert_eq!(at_stage(Stage::Resume, &others), "not_a_copy");
}

#[test]
fn reverse_cutover() {
    let ask = Operation::ReverseCutoverGuest(uuid(1));
    assert_eq!(needs(&ask, &replaced()), [(0, vec![uuid(1)]), (1, vec![])]);
    objects_to_a_guest_that_is_gone_or_held(&ask, &replaced());
    only_for(&ask, &replaced(), &[Purpose::Tenant], "not_a_tenant");
    only_with_its_facts(&ask, &replaced());
    type Bend<'a> = &'a dyn Fn(&mut Facts);
    let cases: [(&str, Bend<'_>); 7] = [
        ("no_tombstone", &|facts| facts.observed.guests[1].succeeded_by = Some(uuid(3))),
        ("no_tombstone", &|facts| facts.observed.guests[1].purpose = Purpose::Copy),
        ("two_tombstones", &|facts| facts.observed.guests.push(tombstone_of_1(3))),
        ("provenance_not_proven", &|facts| facts.observed.guests[1].provenance = Provenance::MarkOnly),
        ("guest_missing", &|facts| facts.observed.guests[1].power = Power::Missing),
        ("guest_locked", &|facts| facts.observed.guests[1].lock = Some("backup".into())),
        ("archive_of_another_guest", &|facts| {
            facts.concerning = Concerning::Cutover(CutoverFacts { archive_of: Some(uuid(2)) });
        }),
    ];
    for (n, (wanted, bend)) in cases.iter().enumerate() {
        let mut facts = replaced();
        bend(&mut facts);
        assert_eq!(code(&ask, &facts), *wanted, "case {n}");
    }
}

#[test]
fn retire() {
    let ask = Operation::RetireGuest(uuid(1));
    assert_eq!(needs(&ask, &facts()), [(0, vec![uuid(1)]), (1, vec![])]);
    objects_to_a_guest_that_is_gone_or_held(&ask, &facts());
    only_for(&ask, &facts(), &[Purpose::Tenant], "not_a_tenant");
    // Its own steps have made it a tombstone already.
    let resumed = Facts { stage: Stage::Resume, ..facts() };
    only_for(&ask, &resumed, &[Purpose::Tenant, Purpose::Tombstone], "not_a_tenant");
}
