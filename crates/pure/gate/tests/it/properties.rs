//! What holds for every operation, whatever the facts.

use crate::arbitrary::*;
use crate::build::*;
use crate::sign::word;
use felhom_gate::*;
use felhom_model::desired::Tightening;
use felhom_model::observed::*;
use felhom_model::{Operation, OperationKind};
use jiff::SignedDuration;
use proptest::prelude::*;

/// Lower is safer.
pub(crate) fn rank(verdict: &Verdict<Operation>) -> u8 {
    match verdict {
        Verdict::Refuse(_) => 0,
        Verdict::NeedsAuthorization(..) => 1,
        Verdict::Wait { .. } => 2,
        Verdict::Allow(_) => 3,
    }
}

/// Whether `strict` says yes to nothing that `loose` does not, and waits no shorter.
fn no_looser(strict: &Verdict<Operation>, loose: &Verdict<Operation>) -> bool {
    match (strict, loose) {
        (Verdict::Wait { left_s: strict, .. }, Verdict::Wait { left_s: loose, .. }) => strict >= loose,
        (strict, loose) => rank(strict) <= rank(loose),
    }
}

/// The verdicts of two boxes on each operation, the stricter one first.
fn pairs(strict: &World, loose: &World, signers: &Signers) -> Vec<(OperationKind, bool, String)> {
    let both = strict.cases().zip(loose.cases());
    both.map(|((operation, strict), (_, loose))| {
        let consents = consents(&operation, signers);
        let (strict, loose) = (decide(&operation, &strict, &consents), decide(&operation, &loose, &consents));
        let words = format!("{} against {}", word(&strict), word(&loose));
        (operation.kind(), no_looser(&strict, &loose), words)
    })
    .collect()
}

type Signers = [(felhom_signing::challenge::Consenter, Fault)];

const ANY_FAULT: [Fault; 4] = [Fault::None, Fault::None, Fault::OtherOperation, Fault::OtherTargets];

fn any_tightening() -> impl Strategy<Value = Tightening> {
    use proptest::option::of;
    let sizes = (of(0u32..5), of(0u64..(8 << 30)), of(80u8..=100));
    let consents = (of(0u64..3000), of(0u32..12));
    let backups = (of(0u32..6), of(0u32..200));
    (sizes, consents, backups).prop_map(
        |((max_guests, reserve_bytes, target_full_percent), consents, backups)| {
            let (grace_s, signatures_per_day) = consents;
            let (keep_backups, keep_spread_h) = backups;
            Tightening {
                max_guests,
                reserve_bytes,
                target_full_percent,
                grace_s,
                signatures_per_day,
                keep_backups,
                keep_spread_h,
            }
        },
    )
}

proptest! {
    #![proptest_config(config())]

    /// Everything that concerns a guest which nobody knows is refused, also if everybody signs.
    #[test]
    fn default_deny(world in any_world()) {
        for operation in every_operation(99) {
            let kind = operation.kind();
            // Those of the box, and the disk's own facts.
            let of_no_guest = matches!(kind,
                OperationKind::ProvisionGuest | OperationKind::ChangeTunnel | OperationKind::AttachDisk
                | OperationKind::DetachDisk | OperationKind::DecommissionDisk | OperationKind::RotateOperators
                | OperationKind::ResolveOperation | OperationKind::UpdateHost);
            if !of_no_guest {
                let verdict = decide(&operation, &world.facts(kind), &consents(&operation, &everybody()));
                prop_assert_eq!(rank(&verdict), 0, "{}", kind);
            }
        }
    }

    /// A foreign guest, or one that is not shown to be ours, is never touched; what its own maker left half made of it is
    /// the one exception, by the journal.
    #[test]
    fn what_is_not_ours_is_never_touched(world in any_world(), purpose in any_purpose()) {
        let world = world.with(|facts| {
            let mut one = guest(1, 2000, purpose);
            one.provenance = if purpose == Purpose::Foreign { Provenance::Proven } else { Provenance::RowOnly };
            one.made_by = Some(op(77));
            facts.observed.guests = vec![one];
        });
        for (operation, facts) in world.cases() {
            let elsewhere = matches!(operation.kind(),
                OperationKind::ProvisionGuest | OperationKind::RestoreGuest | OperationKind::RestoreTest
                | OperationKind::PruneBackups | OperationKind::AttachDisk | OperationKind::DetachDisk
                | OperationKind::DecommissionDisk | OperationKind::RotateOperators
                | OperationKind::ResolveOperation | OperationKind::UpdateHost | OperationKind::ChangeTunnel);
            // What a destroy left is a number and a lock, and no guest any more.
            let emptied = matches!(&facts.concerning,
                Concerning::Leftovers(left) if left.unmarked == Unmarked::WhileDestroyed);
            if !elsewhere && !emptied {
                let verdict = decide(&operation, &facts, &consents(&operation, &everybody()));
                prop_assert_eq!(rank(&verdict), 0, "{}", operation.kind());
            }
        }
    }

    /// What a row refuses, no signature changes: the refusal stays the same to the word.
    #[test]
    fn no_signature_helps_against_a_refusal(world in any_world()) {
        for (operation, facts) in world.cases() {
            let before = decide(&operation, &facts, &[]);
            if rank(&before) == 0 {
                let after = decide(&operation, &facts, &consents(&operation, &everybody()));
                prop_assert_eq!(word(&after), word(&before), "{}", operation.kind());
            }
        }
    }

    /// More consents never make it worse, but that one of them was given to something else than what is there.
    #[test]
    fn more_consents_never_lower_a_verdict(
        world in any_world(),
        first in any_signers(ANY_FAULT.to_vec()),
        more in any_signers(ANY_FAULT.to_vec()),
    ) {
        for (operation, facts) in world.cases() {
            let fewer = decide(&operation, &facts, &consents(&operation, &first));
            let all = [first.clone(), more.clone()].concat();
            let all = decide(&operation, &facts, &consents(&operation, &all));
            prop_assert!(no_looser(&fewer, &all) || word(&all) == "target_changed", "{}", operation.kind());
        }
    }

    /// Nor does their order, or that one comes twice.
    #[test]
    fn order_and_repetition_of_consents_do_not_matter(
        world in any_world(),
        signers in any_signers(ANY_FAULT.to_vec()),
    ) {
        let twice: Vec<_> = signers.iter().rev().chain(&signers).cloned().collect();
        for (operation, facts) in world.cases() {
            let once = decide(&operation, &facts, &consents(&operation, &signers));
            let twice = decide(&operation, &facts, &consents(&operation, &twice));
            prop_assert_eq!(word(&once), word(&twice), "{}", operation.kind());
        }
    }

    /// A fact that is missing never helps.
    #[test]
    fn not_knowing_never_helps(world in any_world(), n in 0usize..6, signers in any_signers(ANY_FAULT.to_vec())) {
        let without: [fn(&mut World); 6] = [
            |world| world.abouts.clear(),
            |world| world.facts.authorization.targets = None,
            |world| world.facts.observed.archives.clear(),
            |world| world.facts.observed.golden.clear(),
            |world| world.facts.observed.storages.clear(),
            |world| world.facts.authorization.waited_s = 0,
        ];
        let mut ignorant = world.clone();
        without[n](&mut ignorant);
        for (kind, good, words) in pairs(&ignorant, &world, &signers) {
            prop_assert!(good, "{} without fact {}: {}", kind, n, words);
        }
    }

    /// What may still be unknown at the beginning must be known before the act, and good.
    #[test]
    fn not_observed_yet_is_no_better_than_any_value_before_the_act(world in any_world()) {
        let world = world.with(|facts| facts.stage = Stage::BeforeAct);
        let mut ignorant = world.clone();
        for about in &mut ignorant.abouts {
            match about {
                Concerning::Provision(about) => about.digest = Seen::NotYet,
                Concerning::Backup(about) => about.foreign_settings = Seen::NotYet,
                Concerning::Restore(about) => about.notes_guest = Seen::NotYet,
                Concerning::Key(about) => about.envelope_read_back = Seen::NotYet,
                _ => {}
            }
        }
        for (kind, good, words) in pairs(&ignorant, &world, &[]) {
            prop_assert!(good, "{}: {}", kind, words);
        }
        for kind in [OperationKind::ProvisionGuest, OperationKind::BackupGuest, OperationKind::RotateBackupKey] {
            let operation = every_operation(1).into_iter().find(|one| one.kind() == kind).unwrap();
            prop_assert_eq!(rank(&decide(&operation, &ignorant.facts(kind), &[])), 0, "{}", kind);
        }
    }

    /// Before the act nothing is allowed that was not at the beginning, and there nothing that is not after a resume.
    #[test]
    fn before_the_act_is_the_strictest(world in any_world(), signers in any_signers(ANY_FAULT.to_vec())) {
        let at_stage = |stage| world.with(|facts| facts.stage = stage);
        let (begin, act, resume) = (at_stage(Stage::Begin), at_stage(Stage::BeforeAct), at_stage(Stage::Resume));
        for (strict, loose) in [(&act, &begin), (&begin, &resume)] {
            for (kind, good, words) in pairs(strict, loose, &signers) {
                prop_assert!(good, "{}: {}", kind, words);
            }
        }
    }

    /// What the hub wishes makes no limit looser, asks nothing twice, and allows nothing.
    #[test]
    fn tightened_never_loosens(world in any_world(), wish in any_tightening(), signers in any_signers(ANY_FAULT.to_vec())) {
        let own = &world.facts.limits;
        let strict = own.tightened(&wish);
        prop_assert!(strict.max_guests <= own.max_guests);
        prop_assert!(strict.reserve_bytes >= own.reserve_bytes);
        prop_assert!(strict.target_full_percent <= own.target_full_percent);
        prop_assert!(strict.grace_s >= own.grace_s);
        prop_assert!(strict.signatures_per_day <= own.signatures_per_day);
        prop_assert!(strict.keep_backups >= own.keep_backups);
        prop_assert!(strict.keep_spread >= own.keep_spread);
        let untouched = BoxLimits {
            max_guests: own.max_guests,
            reserve_bytes: own.reserve_bytes,
            target_full_percent: own.target_full_percent,
            grace_s: own.grace_s,
            signatures_per_day: own.signatures_per_day,
            keep_backups: own.keep_backups,
            keep_spread: own.keep_spread,
            ..strict.clone()
        };
        prop_assert_eq!(&untouched, own, "no wish reaches any other limit");
        prop_assert_eq!(&strict.tightened(&wish), &strict);
        prop_assert_eq!(&own.tightened(&Tightening::default()), own);
        let tightened = world.with(|facts| facts.limits = strict);
        for (kind, good, words) in pairs(&tightened, &world, &signers) {
            prop_assert!(good, "{}: {}", kind, words);
        }
    }

    /// What is wished for takes effect where it is stricter.
    #[test]
    fn a_stricter_wish_takes_effect(wish in any_tightening()) {
        let strict = BoxLimits::default().tightened(&wish);
        prop_assert!(wish.max_guests.is_none_or(|most| strict.max_guests <= most));
        prop_assert!(wish.reserve_bytes.is_none_or(|least| strict.reserve_bytes >= least));
        prop_assert!(wish.target_full_percent.is_none_or(|most| strict.target_full_percent <= most));
        prop_assert!(wish.grace_s.is_none_or(|least| strict.grace_s >= least));
        prop_assert!(wish.signatures_per_day.is_none_or(|most| strict.signatures_per_day <= most));
        prop_assert!(wish.keep_backups.is_none_or(|least| strict.keep_backups >= least));
        prop_assert!(wish.keep_spread_h.is_none_or(|least| strict.keep_spread.as_hours() >= least.into()));
    }

    /// A stricter box says yes to nothing that a looser one refuses: each limit, also those that nobody can wish for.
    #[test]
    fn limits_are_monotonic(
        world in any_world(),
        n in 0usize..15,
        more in 0u64..(20 << 30),
        signers in any_signers(ANY_FAULT.to_vec()),
    ) {
        let minutes = SignedDuration::from_mins((more % 60).cast_signed());
        let stricter: [&dyn Fn(&mut BoxLimits); 15] = [
            &|limits| limits.max_guests = limits.max_guests.saturating_sub(1),
            &|limits| limits.reserve_bytes += more,
            &|limits| limits.target_full_percent -= 5,
            &|limits| limits.min_cores += 2,
            &|limits| limits.min_memory_mib += 512,
            &|limits| limits.min_disk_gib += 4,
            &|limits| limits.backup_interval += minutes,
            &|limits| limits.grace_s += more,
            &|limits| limits.signatures_per_day = limits.signatures_per_day.saturating_sub(3),
            &|limits| limits.unanswered_days += 10,
            &|limits| limits.keep_backups += 1,
            &|limits| limits.shrunk_percent += 30,
            &|limits| limits.rotation_interval += minutes,
            &|limits| limits.keep_spread += minutes * 60,
            &|limits| {
                limits.vmids.tenants.first += 2;
                limits.vmids.copies.first += 2;
                limits.vmids.scratch.first += 2;
            },
        ];
        let strict = world.with(|facts| stricter[n](&mut facts.limits));
        for (kind, good, words) in pairs(&strict, &world, &signers) {
            prop_assert!(good, "{}, limit {}: {}", kind, n, words);
        }
    }

    /// The same arguments give the same verdict, and each says what it is about.
    #[test]
    fn deterministic_and_with_evidence(world in any_world(), signers in any_signers(ANY_FAULT.to_vec())) {
        for (operation, facts) in world.cases() {
            let consents = consents(&operation, &signers);
            let verdict = decide(&operation, &facts, &consents);
            prop_assert_eq!(word(&verdict), word(&decide(&operation, &facts, &consents)));
            let (text, evidence) = match &verdict {
                Verdict::Allow(approved) => (&approved.reason().text, &approved.reason().evidence),
                Verdict::NeedsAuthorization(requirement, evidence) => (&requirement.why, evidence),
                Verdict::Wait { left_s, reason } => {
                    prop_assert!(*left_s > 0);
                    (&reason.text, &reason.evidence)
                }
                Verdict::Refuse(reason) => (&reason.text, &reason.evidence),
            };
            prop_assert!(evidence.iter().count() > 0, "{} {}", operation.kind(), word(&verdict));
            prop_assert!(!text.is_empty() && !word(&verdict).contains(' '));
        }
    }
}
