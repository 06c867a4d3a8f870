//! Disks: keeping the data is allowed; giving it away or destroying it wants those whose data may lie there.

use super::*;

fn with(bend: impl FnOnce(&mut DiskFacts, &mut Facts)) -> Facts {
    let (mut disk, mut facts) = (disk_facts(), facts());
    bend(&mut disk, &mut facts);
    facts.concerning = Concerning::Disk(disk);
    facts
}

fn id() -> DurableId {
    "fs-1".parse().unwrap()
}

fn used(role: DiskRole, guest: Option<GuestUuid>) -> DiskUse {
    DiskUse { disk: id(), role, guest }
}

fn assign() -> Operation {
    Operation::AssignDisk(used(DiskRole::UserData, Some(uuid(1))))
}

fn format() -> Operation {
    Operation::FormatDisk(used(DiskRole::UserData, Some(uuid(1))))
}

fn neighbour(facts: &mut Facts, purpose: Purpose) {
    facts.observed.guests.push(guest(2, 2001, purpose));
}

#[test]
fn nobody_touches_a_disk_of_the_host_or_one_in_use() {
    let keeping =
        [Operation::AttachDisk(id()), Operation::DetachDisk(id()), Operation::DecommissionDisk(id())];
    for ask in &keeping {
        assert_eq!(code(ask, &with(|_, _| ())), "keeps_the_data");
    }
    let for_nobody = Operation::FormatDisk(used(DiskRole::Backup, None));
    for ask in keeping.into_iter().chain([assign(), format(), for_nobody]) {
        only_with_its_facts(&ask, &with(|_, _| ()));
        for (wanted, facts) in [
            ("disk_of_the_host", with(|disk, _| disk.of_the_host = true)),
            ("disk_of_the_host", with(|disk, _| disk.role = Some(DiskRole::System))),
            ("disk_in_use", with(|disk, _| disk.consumers = vec!["photos".into()])),
        ] {
            assert_eq!(code(&ask, &facts), wanted, "{}", ask.kind());
            let everybody = [operator("ada"), operator("bob"), customer(1)];
            assert_eq!(asked_with(&ask, &facts, &everybody), wanted, "{}, signed", ask.kind());
        }
    }
}

#[test]
fn no_disk_becomes_the_hosts_own_and_the_receiver_is_a_tenant_of_ours() {
    let system = used(DiskRole::System, Some(uuid(1)));
    for ask in [Operation::AssignDisk(system.clone()), Operation::FormatDisk(system)] {
        assert_eq!(code(&ask, &with(|_, _| ())), "role_system");
    }
    for ask in [assign(), format()] {
        objects_to_a_bad_guest(&ask, &with(|_, _| ()));
        only_for(&ask, &with(|_, _| ()), &[Purpose::Tenant], "not_a_tenant");
    }
}

#[test]
fn a_disk_that_is_meant_for_the_guest_is_assigned() {
    let one = Some(uuid(1));
    for facts in [
        with(|disk, _| disk.formatted_for = one),
        with(|disk, _| disk.marker_names = one),
        with(|disk, _| (disk.marker_names, disk.assigned_to) = (one, one)),
        with(|disk, facts| {
            disk.marker_names = one;
            neighbour(facts, Purpose::Tenant);
        }),
    ] {
        assert_eq!(code(&assign(), &facts), "meant_for_this_guest");
    }
}

#[test]
fn any_other_disk_needs_the_receiver_and_an_operator_where_others_live() {
    assert_eq!(needs(&assign(), &with(|_, _| ())), [(0, vec![uuid(1)])]);
    // That it was assigned once shows nothing about what is on it.
    assert_eq!(needs(&assign(), &with(|disk, _| disk.assigned_to = Some(uuid(1)))), [(0, vec![uuid(1)])]);
    for purpose in [Purpose::Tenant, Purpose::Copy, Purpose::Scratch, Purpose::Tombstone, Purpose::Foreign] {
        let facts = with(|_, facts| neighbour(facts, purpose));
        assert_eq!(needs(&assign(), &facts), [(1, vec![uuid(1)])], "beside a {}", purpose.name());
    }
    let of_itself = with(|_, facts| {
        neighbour(facts, Purpose::Copy);
        facts.observed.guests[1].restored_from = Some(uuid(1));
    });
    assert_eq!(needs(&assign(), &of_itself), [(0, vec![uuid(1)])]);
    let replaced = with(|_, facts| {
        neighbour(facts, Purpose::Tombstone);
        facts.observed.guests[1].succeeded_by = Some(uuid(1));
    });
    assert_eq!(needs(&assign(), &replaced), [(0, vec![uuid(1)])]);
}

#[test]
fn another_guests_disk_needs_its_customer_too() {
    for bend in [
        (|disk: &mut DiskFacts| disk.assigned_to = Some(uuid(2))) as fn(&mut DiskFacts),
        |disk| disk.marker_names = Some(uuid(2)),
        |disk| disk.formatted_for = Some(uuid(2)),
        |disk| (disk.formatted_for, disk.marker_names) = (Some(uuid(1)), Some(uuid(2))),
    ] {
        let facts = with(|disk, facts| {
            bend(disk);
            neighbour(facts, Purpose::Tenant);
        });
        assert_eq!(needs(&assign(), &facts), [(1, vec![uuid(2), uuid(1)])]);
        assert_eq!(needs(&format(), &facts), [(1, vec![uuid(1), uuid(2)])]);
    }
}

#[test]
fn a_role_without_a_guest_needs_an_operator() {
    let ask = Operation::AssignDisk(used(DiskRole::Backup, None));
    assert_eq!(needs(&ask, &with(|_, _| ())), [(1, vec![])]);
    assert_eq!(needs(&ask, &with(|disk, _| disk.marker_names = Some(uuid(1)))), [(1, vec![uuid(1)])]);
}

/// Else a guest could have the disk of the backups given to itself, and then have it formatted.
#[test]
fn a_disk_that_holds_backups_is_not_had_on_a_customers_word_alone() {
    let one = Some(uuid(1));
    let backups =
        with(|disk, _| (disk.role, disk.marker_names, disk.assigned_to) = (Some(DiskRole::Backup), one, one));
    assert_eq!(needs(&assign(), &backups), [(1, vec![uuid(1)])]);
    assert_eq!(needs(&format(), &backups), [(1, vec![uuid(1)])]);
    let kept = Operation::AssignDisk(used(DiskRole::Backup, one));
    assert_eq!(code(&kept, &backups), "meant_for_this_guest");
}

#[test]
fn formatting_a_disk_of_the_guest_needs_its_customer_and_any_other_an_operator_too() {
    let own = with(|disk, _| (disk.role, disk.assigned_to) = (Some(DiskRole::UserData), Some(uuid(1))));
    assert_eq!(needs(&format(), &own), [(0, vec![uuid(1)])]);
    // A marker alone is no assignment, and what looks blank belongs to nobody.
    assert_eq!(needs(&format(), &with(|disk, _| disk.marker_names = Some(uuid(1)))), [(1, vec![uuid(1)])]);
    assert_eq!(needs(&format(), &with(|_, _| ())), [(1, vec![uuid(1)])]);
    let to_nobody = Operation::FormatDisk(used(DiskRole::Backup, None));
    assert_eq!(needs(&to_nobody, &own), [(1, vec![uuid(1)])]);
}

#[test]
fn formatting_what_names_nobody_needs_every_customer() {
    let ask = Operation::FormatDisk(used(DiskRole::Backup, None));
    assert_eq!(
        needs(&ask, &with(|_, facts| neighbour(facts, Purpose::Tenant))),
        [(1, vec![uuid(1), uuid(2)])]
    );
    assert_eq!(needs(&ask, &with(|_, facts| neighbour(facts, Purpose::Tombstone))), [(1, vec![uuid(1)])]);
    let retired = with(|_, facts| facts.observed.guests[0].purpose = Purpose::Tombstone);
    assert_eq!(needs(&ask, &retired), [(1, vec![uuid(1)])]);
    assert_eq!(needs(&ask, &with(|_, facts| facts.observed.guests.clear())), [(1, vec![])]);
}
