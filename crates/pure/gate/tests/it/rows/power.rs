//! Power and limits: reversible, where the guest is ours and no twin comes alive.

use super::*;

#[test]
fn power() {
    let (start, stop) = (Operation::StartGuest(uuid(1)), Operation::StopGuest(uuid(1)));
    let reboot = Operation::RebootGuest(uuid(1));
    for act in [&start, &stop, &reboot] {
        assert_eq!(code(act, &facts()), "reversible");
        for lock in ["backup", "snapshot", "create"] {
            let mut facts = facts();
            facts.observed.guests[0].lock = Some(lock.to_owned());
            assert_eq!(code(act, &facts), "guest_locked");
        }
        let mut facts = facts();
        facts.observed.guests[0].provenance = Provenance::RowOnly;
        assert_eq!(code(act, &facts), "provenance_not_proven");
    }
    let with = |purpose| {
        let mut facts = facts();
        facts.observed.guests[0].purpose = purpose;
        facts
    };
    for act in [&start, &reboot] {
        assert_eq!(code(act, &with(Purpose::Tombstone)), "start_of_tombstone");
        assert_eq!(code(act, &with(Purpose::Foreign)), "foreign_guest");
        for purpose in [Purpose::Copy, Purpose::Scratch] {
            assert_eq!(code(act, &with(purpose)), "start_outside_own_operation");
            let mut own = with(purpose);
            own.within = op(1);
            assert_eq!(code(act, &own), "reversible");
        }
    }
    let mut twins = facts();
    twins.observed.guests.push(guest(1, 2001, Purpose::Tenant));
    assert_eq!(code(&stop, &twins), "two_guests_with_one_uuid");
}

#[test]
fn configure() {
    let ask = |cores, memory_mib, disk_gib| {
        Operation::ConfigureGuest(Configure { guest: uuid(1), cores, memory_mib, swap_mib: None, disk_gib })
    };
    assert_eq!(code(&ask(Some(4), Some(1024), Some(8)), &facts()), "reversible");
    assert_eq!(code(&ask(Some(0), None, None), &facts()), "below_minimum_cores");
    assert_eq!(code(&ask(None, Some(63), None), &facts()), "below_minimum_memory");
    assert_eq!(code(&ask(None, None, Some(7)), &facts()), "disk_would_shrink");
    let mut copy = facts();
    copy.observed.guests[0].purpose = Purpose::Copy;
    assert_eq!(code(&ask(Some(4), None, None), &copy), "not_a_tenant");
}

#[test]
fn heal() {
    let ask = Operation::HealGuest(uuid(1));
    assert_eq!(code(&ask, &facts()), "restart_in_place");
    objects_to_a_guest_that_is_gone_or_held(&ask, &facts());
    only_for(&ask, &facts(), &[Purpose::Tenant], "not_a_tenant");
}

#[test]
fn stopping_is_for_everything_of_ours_and_starting_is_not() {
    let stop = Operation::StopGuest(uuid(1));
    let own = [Purpose::Tenant, Purpose::Copy, Purpose::Scratch, Purpose::Tombstone];
    only_for(&stop, &facts(), &own, "foreign_guest");
    for ask in [stop, Operation::StartGuest(uuid(1)), Operation::RebootGuest(uuid(1))] {
        objects_to_a_guest_that_is_gone_or_held(&ask, &facts());
    }
}

#[test]
fn configure_grows_by_what_the_box_knows_and_keeps_the_old_values() {
    let limits = |disk_gib| Configure {
        guest: uuid(1),
        cores: Some(1),
        memory_mib: Some(64),
        swap_mib: None,
        disk_gib,
    };
    let ask = Operation::ConfigureGuest(limits(None));
    objects_to_a_guest_that_is_gone_or_held(&ask, &facts());
    let Verdict::Allow(approved) = decide(&ask, &facts(), &[]) else { panic!("not allowed") };
    let evidence = &approved.reason().evidence;
    let old = ["old_cores", "old_memory_mib", "old_swap_mib"].map(|key| evidence.get(key));
    assert_eq!(old, [Some("1"), Some("512"), Some("0")]);
    let mut unknown = facts();
    unknown.observed.guests[0].disk_gib = None;
    assert_eq!(code(&ask, &unknown), "reversible");
    assert_eq!(code(&Operation::ConfigureGuest(limits(Some(9))), &unknown), "fact_not_observed");
    let grow = Operation::ConfigureGuest(limits(Some(9)));
    assert_eq!(code(&grow, &facts()), "fact_not_observed");
    let with = |free: u64, total: u64| {
        let mut facts = facts();
        facts.concerning = Concerning::Grow { storage: store() };
        facts.limits.reserve_bytes = 2 << 30;
        (facts.observed.storages[0].free, facts.observed.storages[0].total) = (free << 30, total << 30);
        facts
    };
    assert_eq!(code(&grow, &with(3, 11)), "reversible");
    assert_eq!(code(&grow, &with(2, 11)), "not_enough_space");
    assert_eq!(code(&grow, &with(3, 10)), "disk_beyond_storage");
    let mut elsewhere = with(3, 11);
    elsewhere.observed.storages[0].active = false;
    assert_eq!(code(&grow, &elsewhere), "storage_not_active");
}
