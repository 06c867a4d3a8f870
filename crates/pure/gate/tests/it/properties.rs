//! What holds for every operation, whatever the facts.

use crate::build::*;
use felhom_gate::*;
use felhom_model::observed::*;
use felhom_model::{Operation, OperationKind};
use proptest::prelude::*;

/// Lower is safer.
fn rank(verdict: &Verdict<Operation>) -> u8 {
    match verdict {
        Verdict::Refuse(_) => 0,
        Verdict::NeedsAuthorization(..) => 1,
        Verdict::Wait { .. } => 2,
        Verdict::Allow(_) => 3,
    }
}

fn ranks(facts: &Facts) -> Vec<u8> {
    every_operation(1).iter().map(|operation| rank(&decide(operation, facts, &[]))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Everything that is not built, and everything that concerns a guest which nobody knows, is refused.
    #[test]
    fn default_deny(facts in any_facts()) {
        for operation in every_operation(99) {
            let of_no_guest = matches!(operation.kind(), OperationKind::ProvisionGuest | OperationKind::ChangeTunnel);
            if !of_no_guest {
                prop_assert_eq!(rank(&decide(&operation, &facts, &[])), 0, "{}", operation.kind());
            }
        }
    }

    /// A foreign guest, or one that is not shown to be ours, is never touched.
    #[test]
    fn what_is_not_ours_is_never_touched(mut facts in any_facts(), purpose in any_purpose()) {
        let mut one = guest(1, 2000, purpose);
        one.provenance = if purpose == Purpose::Foreign { Provenance::Proven } else { Provenance::RowOnly };
        facts.observed.guests = vec![one];
        for operation in every_operation(1) {
            let elsewhere = matches!(operation.kind(),
                OperationKind::ProvisionGuest | OperationKind::RestoreGuest | OperationKind::RestoreTest
                | OperationKind::ChangeTunnel);
            if !elsewhere {
                prop_assert_eq!(rank(&decide(&operation, &facts, &[])), 0, "{}", operation.kind());
            }
        }
    }

    /// No verdict allows the destruction of a customer's guest.
    #[test]
    fn a_tenant_is_never_destroyed(facts in any_facts()) {
        for n in 1..4 {
            let mut named = facts.observed.guests.iter().filter(|guest| guest.uuid == Some(uuid(n)));
            if named.any(|guest| guest.purpose != Purpose::Scratch) {
                let destroy = Operation::DestroyScratch(uuid(n));
                prop_assert_eq!(rank(&decide(&destroy, &facts, &[])), 0);
            }
            let reclaim = Operation::ReclaimGuest(uuid(n));
            prop_assert!(rank(&decide(&reclaim, &facts, &[])) < 2, "never without signatures");
        }
    }

    /// Other names, other apps, and more archives of others change no verdict but that on a new name.
    #[test]
    fn names_cannot_lower_a_verdict(facts in any_facts(), text in "[a-z]{1,8}") {
        let mut renamed = facts.clone();
        for guest in &mut renamed.observed.guests {
            guest.name = Some(name(&text));
            guest.apps = vec![text.parse().unwrap()];
        }
        let (before, after) = (ranks(&facts), ranks(&renamed));
        prop_assert_eq!(&before[1..], &after[1..], "all but provision_guest");
    }

    /// A fact that is missing never helps.
    #[test]
    fn not_knowing_never_helps(facts in any_facts()) {
        let mut ignorant = facts.clone();
        ignorant.concerning = Concerning::Nothing;
        for (knows, not) in ranks(&facts).into_iter().zip(ranks(&ignorant)) {
            prop_assert!(not <= knows);
        }
        let mut at_the_act = facts.clone();
        at_the_act.stage = Stage::BeforeAct;
        for (begin, act) in ranks(&facts).into_iter().zip(ranks(&at_the_act)) {
            prop_assert!(act <= begin);
        }
    }

    /// A stricter box says yes to nothing that a looser one refuses.
    #[test]
    fn limits_are_monotonic(facts in any_facts(), more in 0u64..(20 << 30), minutes in 0i64..60) {
        let mut strict = facts.clone();
        let limits = &mut strict.limits;
        limits.max_guests = limits.max_guests.saturating_sub(1);
        limits.reserve_bytes += more;
        limits.target_full_percent -= 5;
        limits.min_cores += 2;
        limits.min_memory_mib += 512;
        limits.min_disk_gib += 4;
        limits.backup_interval += jiff::SignedDuration::from_mins(minutes);
        for (loose, strict) in ranks(&facts).into_iter().zip(ranks(&strict)) {
            prop_assert!(strict <= loose);
        }
    }

    /// The same arguments give the same verdict, and each refusal says what it is about.
    #[test]
    fn deterministic_and_with_evidence(facts in any_facts()) {
        prop_assert_eq!(ranks(&facts), ranks(&facts));
        for operation in every_operation(1) {
            if let Verdict::Refuse(reason) = decide(&operation, &facts, &[]) {
                prop_assert!(reason.evidence.iter().count() > 0, "{} {}", operation.kind(), reason);
                prop_assert!(!reason.text.is_empty() && !reason.code.contains(' '));
            }
        }
    }
}
