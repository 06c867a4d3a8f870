//! The invariants that concern the gate, by the numbers of the list, over arbitrary boxes.

use crate::arbitrary::*;
use crate::build::*;
use crate::oracle::nobody_need_consent;
use crate::properties::rank;
use crate::sign::*;
use felhom_gate::*;
use felhom_model::observed::Purpose;
use felhom_model::{Digest, OperationKind};
use felhom_signing::challenge::{Consent, Target};
use proptest::prelude::*;

const NOT_MEANT: [Fault; 2] = [Fault::OtherOperation, Fault::OtherKind];

/// Each field of a target, changed.
fn changed_targets() -> Vec<Vec<Target>> {
    let with = |change: fn(&mut Target)| {
        let mut one = target();
        change(&mut one);
        vec![one]
    };
    vec![
        vec![],
        vec![target(), target()],
        with(|one| one.uuid = Some(uuid(2))),
        with(|one| one.uuid = None),
        with(|one| one.vmid = Some(vmid(2001))),
        with(|one| one.vmid = None),
        with(|one| one.volids.push(volid("local:2000/vm-2000-disk-1.raw"))),
        with(|one| one.volids.clear()),
        with(|one| one.durable_id = Some("fs-2".into())),
        with(|one| one.durable_id = None),
        with(|one| one.bytes += 1),
        with(|one| one.label = "guest-2".into()),
        with(|one| one.config_digest = Some(Digest::of(b"other"))),
        with(|one| one.config_digest = None),
    ]
}

proptest! {
    #![proptest_config(config())]

    /// Whatever the facts, and whatever was signed for something else: without consents to this very operation nothing
    /// happens but what the table allows by provenance. The list is written a second time in `oracle`.
    #[test]
    fn invariant_1_without_consents_only_what_provenance_allows(
        world in any_world(),
        signers in any_signers(NOT_MEANT.to_vec()),
    ) {
        for (operation, facts) in world.cases() {
            if nobody_need_consent(&operation, &facts) {
                continue;
            }
            for consents in [vec![], consents(&operation, &signers)] {
                let verdict = decide(&operation, &facts, &consents);
                prop_assert!(rank(&verdict) < 2, "{}: {}", operation.kind(), word(&verdict));
            }
        }
    }

    /// A customer's guest is destroyed by nothing that anybody may sign: it has to be a tombstone first, and that in turn
    /// wants operators.
    #[test]
    fn invariant_1_no_signature_destroys_a_tenant(world in any_world()) {
        let world = world.with(|facts| {
            facts.observed.guests.retain(|guest| guest.uuid != Some(uuid(1)));
            facts.observed.guests.push(guest(1, 2000, Purpose::Tenant));
        });
        for (operation, facts) in world.cases() {
            let destroys = matches!(
                operation.kind(),
                OperationKind::ReclaimGuest | OperationKind::DestroyScratch | OperationKind::DiscardRestoredCopy
            );
            if destroys {
                let verdict = decide(&operation, &facts, &consents(&operation, &everybody()));
                prop_assert_eq!(rank(&verdict), 0, "{}", operation.kind());
            }
        }
    }

    /// Names of guests, apps that they were told to run and labels change no verdict; only a new guest's name must be new.
    #[test]
    fn invariant_3_names_cannot_lower_a_verdict(
        world in any_world(),
        text in "[a-z]{1,8}",
        signers in any_signers(vec![Fault::None]),
    ) {
        let renamed = world.with(|facts| {
            for guest in &mut facts.observed.guests {
                guest.name = Some(name(&text));
                guest.apps = vec![text.parse().unwrap()];
            }
            facts.observed.used_names.push(name(&text));
        });
        for ((operation, before), (_, after)) in world.cases().zip(renamed.cases()) {
            let consents = consents(&operation, &signers);
            let (before, after) = (decide(&operation, &before, &consents), decide(&operation, &after, &consents));
            if operation.kind() == OperationKind::ProvisionGuest {
                // What has its name may get another one; the ledger does not forget the first.
                let used = world.facts.observed.used_names.contains(&name("new"));
                prop_assert!(!used || rank(&after) == 0);
            } else {
                prop_assert_eq!(rank(&before), rank(&after), "{}", operation.kind());
                prop_assert_eq!(word(&before), word(&after));
            }
        }
    }

    /// A name that the ledger has seen is used, whatever stands there now.
    #[test]
    fn invariant_3_a_used_name_stays_used(world in any_world()) {
        let world = world.with(|facts| {
            facts.observed.guests.clear();
            facts.observed.used_names.push(name("new"));
        });
        let facts = world.facts(OperationKind::ProvisionGuest);
        prop_assert_eq!(rank(&decide(&provision(), &facts, &[])), 0);
    }

    /// A consent to another operation or kind is as good as none, beside any others.
    #[test]
    fn invariant_5_a_changed_operation_or_kind_is_not_counted(
        world in any_world(),
        signers in any_signers(vec![Fault::None, Fault::OtherOperation, Fault::OtherKind]),
    ) {
        let good: Vec<_> = signers.iter().filter(|(_, fault)| *fault == Fault::None).cloned().collect();
        for (operation, facts) in world.cases() {
            let all = decide(&operation, &facts, &consents(&operation, &signers));
            let only_good = decide(&operation, &facts, &consents(&operation, &good));
            prop_assert_eq!(rank(&all), rank(&only_good), "{}", operation.kind());
            prop_assert_eq!(word(&all), word(&only_good));
        }
    }

    /// Any field of any target that differs between what was signed and what is there: `target_changed`, at the beginning
    /// and before the act; also where nothing was observed at all.
    #[test]
    fn invariant_6_a_target_that_changed_after_the_challenge_is_refused(world in any_world(), at_the_act: bool) {
        let world = world.with(|facts| {
            facts.stage = if at_the_act { Stage::BeforeAct } else { Stage::Begin };
            facts.authorization.vetoed_by = None;
        });
        for (operation, mut facts) in world.cases() {
            if rank(&decide(&operation, &facts, &[])) != 1 {
                continue;
            }
            let consents = consents(&operation, &everybody());
            for targets in changed_targets().into_iter().map(Some).chain([None]) {
                facts.authorization.targets = targets;
                prop_assert_eq!(word(&decide(&operation, &facts, &consents)), "target_changed");
            }
        }
    }

    /// The same from the other side: what was signed is something else, and one such consent among good ones is enough.
    #[test]
    fn invariant_6_a_consent_to_other_targets_is_refused(world in any_world(), which in 0usize..14) {
        let world = world.with(|facts| {
            facts.stage = Stage::BeforeAct;
            facts.authorization.vetoed_by = None;
            facts.authorization.targets = Some(vec![target()]);
        });
        for (operation, facts) in world.cases() {
            if rank(&decide(&operation, &facts, &[])) != 1 {
                continue;
            }
            let mut all = consents(&operation, &everybody());
            let other = consent(operation.kind(), operator("ada"));
            all.push(verified(Consent { targets: changed_targets()[which].clone(), ..other }));
            prop_assert_eq!(word(&decide(&operation, &facts, &all)), "target_changed");
        }
    }
}
