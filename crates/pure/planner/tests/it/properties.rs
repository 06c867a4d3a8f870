//! Random edits of desired state against random boxes.

use crate::build::*;
use felhom_model::desired::*;
use felhom_model::observed::*;
use felhom_model::*;
use felhom_planner::*;
use proptest::prelude::*;

fn any_desired() -> impl Strategy<Value = DesiredState> {
    let power = proptest::option::of(prop_oneof![
        Just(DesiredPower::Running),
        Just(DesiredPower::Stopped),
        Just(DesiredPower::Retired)
    ]);
    let option = |range: std::ops::Range<u32>| proptest::option::of(range);
    let policy = proptest::option::of(prop_oneof![Just("* * * * *"), Just("0 2 * * *"), Just("nonsense")]);
    let guest = (power, option(1..4), option(64..4096), option(1..64), policy, any::<bool>()).prop_map(
        |(power, cores, memory_mib, disk_gib, policy, golden)| DesiredGuest {
            power,
            cores: cores.map(|cores| cores as u16),
            memory_mib,
            disk_gib,
            golden: golden.then(|| Digest::of(b"golden")),
            backup: policy.map(|schedule| BackupPolicy { schedule: schedule.into(), target: store() }),
            restore_test: policy.map(|schedule| RestoreTestPolicy { schedule: schedule.into() }),
            ..DesiredGuest::named(name("x"))
        },
    );
    let guests = proptest::collection::btree_map("[a-d]", guest, 0..4);
    let limits = (option(0..3), option(0..9), proptest::option::of(0u64..100));
    (guests, limits).prop_map(|(guests, (max_guests, keep_backups, grace_s))| DesiredState {
        guests: guests.into_iter().map(|(text, guest)| DesiredGuest { name: name(&text), ..guest }).collect(),
        limits: Tightening { max_guests, keep_backups, grace_s, ..Tightening::default() },
    })
}

fn any_observed() -> impl Strategy<Value = Observed> {
    let purpose = prop_oneof![
        3 => Just(Purpose::Tenant),
        1 => Just(Purpose::Copy),
        1 => Just(Purpose::Scratch),
        1 => Just(Purpose::Tombstone),
        1 => Just(Purpose::Foreign)
    ];
    let power =
        prop_oneof![Just(Power::Running), Just(Power::Stopped), Just(Power::Missing), Just(Power::Unknown)];
    let provenance = prop_oneof![3 => Just(Provenance::Proven), 1 => Just(Provenance::RowOnly)];
    let one = ("[a-d]", purpose, power, provenance, proptest::option::of(Just("backup".to_owned())));
    (proptest::collection::vec(one, 0..5), any::<bool>(), "[a-d]").prop_map(|(guests, golden, used)| {
        let guests: Vec<_> = guests
            .into_iter()
            .enumerate()
            .map(|(n, (text, purpose, power, provenance, lock))| {
                let n = u8::try_from(n).unwrap();
                ObservedGuest { purpose, power, provenance, lock, ..guest(n, &text) }
            })
            .collect();
        let mut observed = observed(&guests);
        observed.used_names.push(name(&used));
        observed.archives = vec![archive(0, "2026-05-01T00:00:00Z")];
        if !golden {
            observed.golden.clear();
        }
        observed
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is edited, only what can be taken back is planned, and only for a tenant that is ours.
    #[test]
    fn nothing_destructive_is_ever_planned(
        edits in proptest::collection::vec(any_desired(), 1..5),
        observed in any_observed(),
    ) {
        let mut held = DesiredState::default();
        for next in &edits {
            let merged = merge(&held, next);
            let dropped = never_made(&absent(&held, next), &observed);
            held = forget(&merged, &dropped);
            for guest in &merged.guests {
                let known = observed.used_names.contains(&guest.name) || observed.tenant(&guest.name).is_some();
                let said = next.guests.iter().any(|one| one.name == guest.name);
                prop_assert_eq!(held.guests.contains(guest), known || said, "only what never was is forgotten");
            }
            let plan = reconcile(&held, &observed, &Damping::default(), time("2026-06-01T12:00:00Z"));
            for planned in &plan.operations {
                let ours = |uuid: GuestUuid| {
                    let guest = observed.guest(uuid).unwrap();
                    guest.purpose == Purpose::Tenant && guest.provenance == Provenance::Proven
                };
                match &planned.operation {
                    Operation::ProvisionGuest(new) => {
                        prop_assert!(!observed.used_names.contains(&new.name), "never a second time");
                    }
                    Operation::StartGuest(guest) | Operation::StopGuest(guest) => prop_assert!(ours(*guest)),
                    Operation::ConfigureGuest(configure) => prop_assert!(ours(configure.guest)),
                    other => prop_assert!(false, "planned {}", other.kind()),
                }
            }
            let conditions: std::collections::BTreeSet<_> = plan.conditions.iter().map(|c| &c.kind).collect();
            for guest in &held.guests {
                prop_assert!(conditions.contains(&format!("GuestConverged/{}", guest.name)), "every guest is told of");
            }
        }
    }

    /// Taking something away from a document changes nothing that was kept.
    #[test]
    fn removal_changes_nothing(full in any_desired(), cut in any::<u8>(), observed in any_observed()) {
        let mut less = full.clone();
        for guest in &mut less.guests {
            if cut & 1 != 0 { guest.power = None; }
            if cut & 2 != 0 { guest.cores = None; guest.memory_mib = None; }
            if cut & 4 != 0 { guest.disk_gib = None; guest.golden = None; }
            if cut & 8 != 0 { guest.backup = None; guest.restore_test = None; }
        }
        if cut & 16 != 0 { less.guests.pop(); }
        if cut & 32 != 0 { less.limits.max_guests = None; }
        if cut & 64 != 0 { less.limits = Tightening::default(); }
        let held = merge(&full, &less);
        prop_assert_eq!(&held, &full);
        let now = time("2026-06-01T12:00:00Z");
        let damping = Damping::default();
        prop_assert_eq!(reconcile(&held, &observed, &damping, now), reconcile(&full, &observed, &damping, now));
    }

    /// Merging twice is merging once.
    #[test]
    fn merging_is_idempotent(a in any_desired(), b in any_desired()) {
        let once = merge(&a, &b);
        prop_assert_eq!(merge(&once, &b), once);
    }
}
