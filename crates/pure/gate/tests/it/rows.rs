//! Each built row by example: what is allowed, and each objection on its own.

use crate::build::*;
use felhom_gate::*;
use felhom_model::observed::*;
use felhom_model::operation::*;
use felhom_model::*;

fn code(operation: &Operation, facts: &Facts) -> &'static str {
    match decide(operation, facts, &[]) {
        Verdict::Allow(approved) => {
            assert_eq!(approved.get(), operation);
            approved.reason().code
        }
        Verdict::NeedsAuthorization(..) => "needs_authorization",
        Verdict::Wait { .. } => "in_grace",
        Verdict::Refuse(reason) => reason.code,
    }
}

fn refusal(operation: &Operation, facts: &Facts) -> Reason {
    match decide(operation, facts, &[]) {
        Verdict::Refuse(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_unknown_name_is_refused_by_name() {
    let unknown = "destroy_guest".parse::<OperationKind>().unwrap_err();
    let reason = refuse_unknown(&unknown);
    assert_eq!((reason.code, reason.evidence.get("operation")), ("unknown_operation", Some("destroy_guest")));
}

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

fn with(bend: impl FnOnce(&mut ProvisionFacts, &mut Facts)) -> Facts {
    let (mut about, mut facts) = (provision_facts(), facts());
    facts.observed.guests.clear();
    bend(&mut about, &mut facts);
    facts.concerning = Concerning::Provision(about);
    facts
}

#[test]
fn provision_objections() {
    let ask = provision();
    assert_eq!(code(&ask, &with(|_, _| ())), "signed_golden_within_capacity");
    assert_eq!(code(&ask, &facts()), "fact_not_observed");
    let other = Digest::of(b"a tenant's backup");
    for (wanted, facts) in [
        ("golden_not_signed", with(|about, _| about.golden = other)),
        ("digest_differs", with(|about, _| about.digest = Seen::Is(other))),
        ("fact_not_observed", with(|about, _| about.digest = Seen::NotYet)),
        (
            "archive_config_not_allowed",
            with(|about, _| about.forbidden_config = Seen::Is(vec!["dev0: x".into()])),
        ),
        ("vmid_out_of_range", with(|about, _| about.vmid = free(2900))),
        (
            "vmid_taken",
            with(|about, _| {
                about.vmid = Seen::Is(VmidFact { vmid: vmid(2000), taken: true, archives_under_it: 0 });
            }),
        ),
        (
            "vmid_has_backups",
            with(|about, _| {
                about.vmid = Seen::Is(VmidFact { vmid: vmid(2000), taken: false, archives_under_it: 1 });
            }),
        ),
        ("not_enough_space", with(|about, _| about.projected_bytes = 49 << 30)),
        ("storage_not_active", with(|_, facts| facts.observed.storages[0].active = false)),
        ("unknown_storage", with(|_, facts| facts.observed.storages.clear())),
        ("app_not_in_golden", with(|_, facts| facts.observed.golden[0].apps.clear())),
        ("name_used_before", with(|_, facts| facts.observed.used_names.push(name("new")))),
        ("name_used_before", with(|about, _| about.name_first_used_by = Some(op(3)))),
        ("needs_authorization", with(|_, facts| facts.observed.guests.push(guest(1, 2000, Purpose::Tenant)))),
        ("below_minimum", with(|_, facts| facts.limits.min_disk_gib = 9)),
    ] {
        assert_eq!(code(&ask, &facts), wanted);
    }
}

#[test]
fn a_provision_may_go_on_with_its_own_name_and_begin_with_unknown_digest() {
    let own = with(|about, facts| {
        about.name_first_used_by = Some(facts.within);
        facts.observed.used_names.push(name("new"));
    });
    assert_eq!(code(&provision(), &own), "signed_golden_within_capacity");
    let begin = with(|about, facts| {
        (about.digest, about.vmid, about.forbidden_config) = (Seen::NotYet, Seen::NotYet, Seen::NotYet);
        facts.stage = Stage::Begin;
    });
    assert_eq!(code(&provision(), &begin), "signed_golden_within_capacity");
}

#[test]
fn of_two_provisions_at_once_the_older_one_goes_on() {
    let active = |id| ActiveOperation { id, kind: OperationKind::ProvisionGuest, guest: None, name: None };
    let second = with(|_, facts| facts.observed.active = vec![active(op(999)), active(op(1000))]);
    assert_eq!(code(&provision(), &second), "needs_authorization");
    let first = with(|_, facts| facts.observed.active = vec![active(op(1000)), active(op(1001))]);
    assert_eq!(code(&provision(), &first), "signed_golden_within_capacity");
}

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
    let cases: [(&str, Bend<'_>); 12] = [
        ("only_adds", &|_, _| ()),
        ("not_a_target", &|_, facts| facts.observed.storages[0].is_target = false),
        ("storage_not_active", &|_, facts| facts.observed.storages[0].active = false),
        ("not_built_yet", &|about, _| about.target_kind = TargetKind::OffTheBox),
        ("target_full", &|_, facts| facts.observed.storages[0].free = 5 << 30),
        ("foreign_host_setting", &|about, _| {
            about.foreign_settings = Seen::Is(vec!["exclude-path: /x".into()])
        }),
        ("too_soon", &|about, _| about.last_success = Some(at(9_401))),
        ("only_adds", &|about, _| about.last_success = Some(at(9_400))),
        ("only_adds", &|about, _| {
            (about.last_success, about.last_stopped) = (Some(at(9_900)), Some(at(9_901)))
        }),
        ("only_adds", &|about, _| about.last_success = Some(at(300_000_000))),
        ("guest_locked", &|_, facts| facts.observed.guests[0].lock = Some("snapshot".into())),
        ("not_a_tenant", &|_, facts| facts.observed.guests[0].purpose = Purpose::Scratch),
    ];
    for (n, (wanted, bend)) in cases.iter().enumerate() {
        assert_eq!(code(&ask, &with(bend)), *wanted, "case {n}");
    }
}

#[test]
fn restore_and_test() {
    let copy = Operation::RestoreGuest(Restore { guest: uuid(1), archive: None });
    let test =
        Operation::RestoreTest(RestoreTest { guest: uuid(1), archive: None, level: backup::Level::L4 });
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
    let test =
        Operation::RestoreTest(RestoreTest { guest: uuid(1), archive: None, level: backup::Level::L1 });
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
}

#[test]
fn destroy_scratch() {
    let ask = Operation::DestroyScratch(uuid(1));
    let volume = volid("local:2900/vm-2900-disk-0.raw");
    let own = DestroyFacts { referenced: vec![volume.clone()], made: vec![volume] };
    let mut facts = facts();
    facts.observed.guests[0] = guest(1, 2900, Purpose::Scratch);
    facts.concerning = Concerning::Destroy(own.clone());
    assert_eq!(code(&ask, &facts), "scratch");
    type Bend<'a> = &'a dyn Fn(&mut ObservedGuest);
    let bent: [(&str, Bend<'_>); 5] = [
        ("not_scratch", &|guest| guest.purpose = Purpose::Copy),
        ("provenance_not_proven", &|guest| guest.provenance = Provenance::RowOnly),
        ("vmid_out_of_range", &|guest| guest.vmid = vmid(2000)),
        ("protected", &|guest| guest.protection = true),
        ("guest_missing", &|guest| guest.power = Power::Missing),
    ];
    for (wanted, bend) in bent {
        let mut facts = facts.clone();
        bend(&mut facts.observed.guests[0]);
        assert_eq!(code(&ask, &facts), wanted);
    }
    let mut moved = own;
    moved.referenced.push(volid("local:2000/vm-2000-disk-1.raw"));
    facts.concerning = Concerning::Destroy(moved);
    assert_eq!(code(&ask, &facts), "foreign_volume");
    assert_eq!(refusal(&Operation::DestroyScratch(uuid(9)), &facts).code, "unknown_guest");
}
