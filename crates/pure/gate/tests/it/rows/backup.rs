//! Backups and what is restored from them.

use super::*;

#[test]
fn backup() {
    let ask = Operation::BackupGuest(Backup { guest: uuid(1), target: store(), quiesced: true });
    let with = |bend: &dyn Fn(&mut BackupFacts, &mut Facts)| {
        let (mut about, mut facts) = (backup_facts(), facts());
        bend(&mut about, &mut facts);
        facts.concerning = Concerning::Backup(about);
        facts
    };
    type Bend<'a> = &'a dyn Fn(&mut BackupFacts, &mut Facts);
    let cases: [(&str, Bend<'_>); 16] = [
        ("only_adds", &|_, _| ()),
        ("not_a_target", &|_, facts| facts.observed.storages[0].is_target = false),
        ("storage_not_active", &|_, facts| facts.observed.storages[0].active = false),
        ("not_built_yet", &|about, _| about.target_kind = TargetKind::OffTheBox),
        ("target_full", &|_, facts| facts.observed.storages[0].free = 5 << 30),
        ("not_enough_space", &|about, facts| {
            let left = facts.observed.storages[0].free - facts.limits.reserve_bytes;
            about.projected_bytes = left + 1;
        }),
        ("only_adds", &|about, facts| {
            about.projected_bytes = facts.observed.storages[0].free - facts.limits.reserve_bytes;
        }),
        ("foreign_host_setting", &|about, _| {
            about.foreign_settings = Seen::Is(vec!["exclude-path: /x".into()])
        }),
        ("too_soon", &|about, _| about.last_success = Some(at(9_401))),
        ("only_adds", &|about, _| about.last_success = Some(at(9_400))),
        ("only_adds", &|about, _| {
            (about.last_success, about.last_stopped) = (Some(at(9_900)), Some(at(9_901)))
        }),
        ("too_soon", &|about, _| {
            (about.last_success, about.last_stopped) = (Some(at(9_900)), Some(at(9_900)))
        }),
        ("too_soon", &|about, facts| about.last_success = Some(facts.now)),
        ("only_adds", &|about, _| about.last_success = Some(at(300_000_000))),
        ("guest_locked", &|_, facts| facts.observed.guests[0].lock = Some("snapshot".into())),
        ("not_a_tenant", &|_, facts| facts.observed.guests[0].purpose = Purpose::Scratch),
    ];
    for (n, (wanted, bend)) in cases.iter().enumerate() {
        assert_eq!(code(&ask, &with(bend)), *wanted, "case {n}");
    }
}

#[test]
fn too_soon_says_how_long_to_wait() {
    let ask = Operation::BackupGuest(Backup { guest: uuid(1), target: store(), quiesced: true });
    let mut facts = facts();
    let waits = |facts: &mut Facts, second| {
        facts.concerning =
            Concerning::Backup(BackupFacts { last_success: Some(at(second)), ..backup_facts() });
        refusal(&ask, facts).text
    };
    let whole = facts.limits.backup_interval.as_secs();
    assert!(waits(&mut facts, 9_401).ends_with("wait 1 s"));
    assert!(waits(&mut facts, 10_000).ends_with(&format!("wait {whole} s")));
}

#[test]
fn restore_and_test() {
    let copy = Operation::RestoreGuest(Restore { guest: uuid(1), archive: None });
    let test = Operation::RestoreTest(RestoreTest { guest: uuid(1), archive: None, level: Level::L4 });
    type Bend<'a> = &'a dyn Fn(&mut RestoreFacts, &mut Facts);
    let cases: [(&str, Bend<'_>); 10] = [
        ("own_archive_beside", &|_, _| ()),
        ("own_archive_beside", &|_, facts| facts.observed.guests.clear()),
        ("archive_not_in_ledger", &|_, facts| facts.observed.archives.clear()),
        ("archive_of_another_guest", &|_, facts| facts.observed.archives[0].guest = uuid(2)),
        ("archive_of_another_guest", &|about, _| about.notes_guest = Seen::Is(uuid(2))),
        ("digest_differs", &|about, _| about.digest = Seen::Is(Digest::of(b"flipped"))),
        ("fact_not_observed", &|about, _| about.digest = Seen::NotYet),
        ("archive_config_not_allowed", &|about, _| about.forbidden_config = Seen::Is(vec!["dev0: x".into()])),
        ("vmid_out_of_range", &|about, _| about.vmid = free(2000)),
        ("not_enough_space", &|_, facts| facts.observed.storages[0].free = 1 << 30),
    ];
    for (ask, id) in [(&copy, 2800), (&test, 2900)] {
        for (n, (wanted, bend)) in cases.iter().enumerate() {
            let (mut about, mut facts) = (restore_facts(id), facts());
            bend(&mut about, &mut facts);
            facts.concerning = Concerning::Restore(about);
            assert_eq!(code(ask, &facts), *wanted, "{} case {n}", ask.kind());
        }
    }
}

#[test]
fn one_copy_a_guest_and_one_scratch_a_host() {
    let copy = Operation::RestoreGuest(Restore { guest: uuid(1), archive: None });
    let test = Operation::RestoreTest(RestoreTest { guest: uuid(1), archive: None, level: Level::L1 });
    let mut facts = facts();
    facts.concerning = Concerning::Restore(restore_facts(2801));
    let mut standing = guest(7, 2800, Purpose::Copy);
    standing.restored_from = Some(uuid(2));
    facts.observed.guests.push(standing);
    assert_eq!(code(&copy, &facts), "own_archive_beside");
    facts.observed.guests[1].restored_from = Some(uuid(1));
    assert_eq!(code(&copy, &facts), "one_copy_per_guest");
    facts.observed.guests[1].made_by = Some(facts.within);
    assert_eq!(code(&copy, &facts), "own_archive_beside");
    facts.concerning = Concerning::Restore(restore_facts(2901));
    facts.observed.guests.push(guest(8, 2900, Purpose::Scratch));
    assert_eq!(code(&test, &facts), "one_scratch_per_host");
    facts.observed.guests.pop();
    let active = ActiveOperation { id: op(5), kind: OperationKind::RestoreTest, guest: None, name: None };
    facts.observed.active.push(active);
    assert_eq!(code(&test, &facts), "one_scratch_per_host");
    // Itself, a younger one and an older one of another kind take nothing away.
    for (id, kind) in [
        (facts.within, OperationKind::RestoreTest),
        (op(u64::MAX >> 20), OperationKind::RestoreTest),
        (op(5), OperationKind::RestoreGuest),
    ] {
        facts.observed.active[0] = ActiveOperation { id, kind, guest: None, name: None };
        assert_eq!(code(&test, &facts), "own_archive_beside", "{id} {kind}");
    }
}

#[test]
fn of_two_restores_of_a_guest_the_older_one_goes_on() {
    let copy = Operation::RestoreGuest(Restore { guest: uuid(1), archive: None });
    let mut facts = facts();
    facts.concerning = Concerning::Restore(restore_facts(2801));
    let kind = OperationKind::RestoreGuest;
    for (wanted, id, kind, guest) in [
        ("one_copy_per_guest", op(5), kind, Some(uuid(1))),
        ("own_archive_beside", op(5), kind, Some(uuid(2))),
        ("own_archive_beside", op(5), kind, None),
        ("own_archive_beside", op(5), OperationKind::BackupGuest, Some(uuid(1))),
        ("own_archive_beside", facts.within, kind, Some(uuid(1))),
        ("own_archive_beside", op(u64::MAX >> 20), kind, Some(uuid(1))),
    ] {
        facts.observed.active = vec![ActiveOperation { id, kind, guest, name: None }];
        assert_eq!(code(&copy, &facts), wanted, "{id} {kind} {guest:?}");
    }
}

#[test]
fn the_archive_that_is_restored_is_the_one_that_was_asked_for() {
    let asked = |archive| Operation::RestoreGuest(Restore { guest: uuid(1), archive: Some(archive) });
    let facts = about(Concerning::Restore(restore_facts(2801)));
    assert_eq!(code(&asked(archive().volid), &facts), "own_archive_beside");
    let other = volid("tank:backup/vzdump-lxc-2000-2026_01_01-00_00_00.tar.zst");
    assert_eq!(code(&asked(other), &facts), "other_archive");
}
