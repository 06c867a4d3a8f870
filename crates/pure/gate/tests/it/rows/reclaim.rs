//! A tombstone goes after its grace, with operators, and with its customer where no proven copy is left.

use super::*;

#[test]
fn reclaim_of_what_is_no_tombstone_says_uuid_and_vmid() {
    for purpose in [Purpose::Tenant, Purpose::Copy, Purpose::Scratch, Purpose::Foreign] {
        let mut facts = facts();
        facts.observed.guests[0].purpose = purpose;
        let reason = refusal(&Operation::ReclaimGuest(uuid(1)), &facts);
        assert_eq!(reason.code, "not_a_tombstone");
        assert_eq!(reason.evidence.get("guest"), Some(uuid(1).to_string().as_str()));
        assert_eq!(reason.evidence.get("vmid"), Some("2000"));
    }
    assert_eq!(refusal(&Operation::ReclaimGuest(uuid(9)), &facts()).code, "unknown_guest");
}

fn tombstone() -> Facts {
    let mut facts = about(Concerning::Reclaim(reclaim_facts()));
    facts.observed.guests[0].purpose = Purpose::Tombstone;
    facts.observed.archives[0].proven = Some((Level::L3, at(5)));
    facts
}

fn with(bend: impl FnOnce(&mut ReclaimFacts, &mut Facts)) -> Facts {
    let (mut seen, mut facts) = (reclaim_facts(), tombstone());
    bend(&mut seen, &mut facts);
    facts.concerning = Concerning::Reclaim(seen);
    facts
}

#[test]
fn objections() {
    let ask = Operation::ReclaimGuest(uuid(1));
    objects_to_a_guest_that_is_gone_or_held(&ask, &tombstone());
    only_for(&ask, &tombstone(), &[Purpose::Tombstone], "not_a_tombstone");
    only_with_its_facts(&ask, &tombstone());
    let bulk = with(|seen, _| seen.bulk = vec!["mp1".into()]);
    assert_eq!(refusal(&ask, &bulk).evidence.get("mount_point"), Some("mp1"));
    assert_eq!(code(&ask, &bulk), "bulk_volume");
    let unknown = with(|_, facts| facts.observed.guests[0].power = Power::Unknown);
    assert_eq!(code(&ask, &unknown), "power_unknown", "what is unknown is not stopped");
    let runs = with(|_, facts| facts.observed.guests[0].power = Power::Running);
    assert_eq!(code(&ask, &runs), "tombstone_runs");
    let foreign = with(|seen, _| seen.volumes.referenced.push(volid("local:2000/x.raw")));
    assert_eq!(refusal(&ask, &foreign).evidence.get("volume"), Some("local:2000/x.raw"));
    // No signature helps against an objection.
    let everybody = [operator("ada"), operator("bob"), operator("cleo"), customer(1)];
    assert_eq!(asked_with(&ask, &bulk, &everybody), "bulk_volume");
    assert_eq!(asked_with(&ask, &foreign, &everybody), "foreign_volume");
}

#[test]
fn one_operator_where_a_backup_taken_after_it_stopped_is_proven() {
    let ask = Operation::ReclaimGuest(uuid(1));
    assert_eq!(needs(&ask, &tombstone()), [(1, vec![])]);
    let two_and_customer = [(2, vec![uuid(1)])];
    type Bend<'a> = &'a dyn Fn(&mut ReclaimFacts, &mut Facts);
    let unproven: [Bend<'_>; 6] = [
        &|_, facts| facts.observed.archives.clear(),
        &|_, facts| facts.observed.archives[0].proven = None,
        &|_, facts| facts.observed.archives[0].proven = Some((Level::L2, at(5))),
        &|_, facts| facts.observed.archives[0].guest = uuid(2),
        &|seen, _| seen.stopped_at = Some(at(0)),
        &|seen, _| seen.stopped_at = None,
    ];
    for (n, bend) in unproven.iter().enumerate() {
        assert_eq!(needs(&ask, &with(|seen, facts| bend(seen, facts))), two_and_customer, "case {n}");
    }
}

#[test]
fn two_operators_alone_only_after_the_notices_stayed_unanswered() {
    let ask = Operation::ReclaimGuest(uuid(1));
    let days = |days| {
        with(|seen, facts| {
            facts.observed.archives.clear();
            seen.unanswered_days = days;
        })
    };
    assert_eq!(needs(&ask, &days(89)), [(2, vec![uuid(1)])]);
    assert_eq!(needs(&ask, &days(90)), [(2, vec![uuid(1)]), (2, vec![])]);
}

#[test]
fn the_customer_is_that_of_the_guest_which_took_over() {
    let ask = Operation::ReclaimGuest(uuid(1));
    let replaced = with(|_, facts| {
        facts.observed.archives.clear();
        facts.observed.guests[0].succeeded_by = Some(uuid(2));
    });
    assert_eq!(needs(&ask, &replaced), [(2, vec![uuid(2)])]);
    let of_the_old = [operator("ada"), operator("bob"), customer(1)];
    assert_eq!(asked_with(&ask, &replaced, &of_the_old), "needs_authorization");
}

#[test]
fn it_waits_out_the_grace_of_the_box() {
    let ask = Operation::ReclaimGuest(uuid(1));
    let waited = |waited_s| with(|_, facts| facts.authorization.waited_s = waited_s);
    let day = 24 * 3600;
    assert_eq!(asked_with(&ask, &waited(7 * day - 1), &[operator("ada")]), "in_grace");
    assert_eq!(asked_with(&ask, &waited(7 * day), &[operator("ada")]), "consented");
    assert_eq!(asked_with(&ask, &waited(7 * day), &[]), "needs_authorization");
}
