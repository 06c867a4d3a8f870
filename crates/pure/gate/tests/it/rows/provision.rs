//! A new guest: from a signed golden archive, into a free place.

use super::*;

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

/// What fits to the byte fits.
#[test]
fn the_reserve_may_be_reached_and_not_entered() {
    let with_room = |more: u64| {
        with(|about, facts| {
            about.projected_bytes = facts.observed.storages[0].free - facts.limits.reserve_bytes + more;
        })
    };
    assert_eq!(code(&provision(), &with_room(0)), "signed_golden_within_capacity");
    assert_eq!(code(&provision(), &with_room(1)), "not_enough_space");
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

/// Somebody else's use of a name counts, however it is seen; one's own does not.
#[test]
fn a_name_is_taken_by_whoever_stands_or_began_before() {
    let active = |id, kind, named: &str| ActiveOperation { id, kind, guest: None, name: Some(name(named)) };
    let new = OperationKind::ProvisionGuest;
    for (wanted, active) in [
        ("name_used_before", active(op(999), new, "new")),
        ("signed_golden_within_capacity", active(op(1000), new, "new")),
        ("signed_golden_within_capacity", active(op(1001), new, "new")),
        ("signed_golden_within_capacity", active(op(999), new, "other")),
        ("signed_golden_within_capacity", active(op(999), OperationKind::RestoreGuest, "new")),
    ] {
        let facts = with(|_, facts| {
            facts.limits.max_guests = 9;
            facts.observed.active = vec![active.clone()];
        });
        assert_eq!(code(&provision(), &facts), wanted, "{active:?}");
    }
    let standing = |by, named: &str| {
        let one =
            ObservedGuest { made_by: Some(by), name: Some(name(named)), ..guest(1, 2000, Purpose::Tenant) };
        with(|_, facts| {
            facts.limits.max_guests = 9;
            facts.observed.guests.push(one);
        })
    };
    assert_eq!(code(&provision(), &standing(op(3), "new")), "name_used_before");
    assert_eq!(code(&provision(), &standing(op(3), "other")), "signed_golden_within_capacity");
    assert_eq!(code(&provision(), &standing(op(1000), "new")), "signed_golden_within_capacity");
}

#[test]
fn the_archive_is_the_one_that_was_asked_for() {
    let asks = |golden| match provision() {
        Operation::ProvisionGuest(ask) => {
            Operation::ProvisionGuest(Provision { golden: Some(golden), ..ask })
        }
        other => other,
    };
    assert_eq!(code(&asks(provision_facts().golden), &with(|_, _| ())), "signed_golden_within_capacity");
    assert_eq!(code(&asks(Digest::of(b"another")), &with(|_, _| ())), "other_golden");
}

/// Tenants count, and those that are being made, each once; neither copies nor what this operation made.
#[test]
fn capacity_counts_each_tenant_once() {
    let made = |by, purpose| ObservedGuest { made_by: Some(by), ..guest(1, 2000, purpose) };
    let making =
        || ActiveOperation { id: op(999), kind: OperationKind::ProvisionGuest, guest: None, name: None };
    let tenants = |guests: Vec<ObservedGuest>, active: Vec<ActiveOperation>| {
        let facts = with(|_, facts| (facts.observed.guests, facts.observed.active) = (guests, active));
        match decide(&provision(), &facts, &[]) {
            Verdict::NeedsAuthorization(_, evidence) => evidence.get("tenants").unwrap().to_owned(),
            Verdict::Allow(approved) => approved.reason().evidence.get("tenants").unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(tenants(vec![made(op(3), Purpose::Copy)], vec![]), "0");
    assert_eq!(tenants(vec![made(op(1000), Purpose::Tenant)], vec![]), "0");
    assert_eq!(tenants(vec![made(op(3), Purpose::Tenant)], vec![]), "1");
    assert_eq!(tenants(vec![], vec![making()]), "1");
    assert_eq!(tenants(vec![made(op(999), Purpose::Tenant)], vec![making()]), "1");
    assert_eq!(tenants(vec![made(op(3), Purpose::Tenant)], vec![making()]), "2");
}
