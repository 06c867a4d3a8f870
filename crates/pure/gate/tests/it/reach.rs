//! The arbitrary boxes do reach every row with every verdict that it can give; else the properties would prove little.

use crate::arbitrary::*;
use felhom_gate::*;
use felhom_model::{Operation, OperationKind};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;

/// More than enough; it ends as soon as everything was reached.
const WORLDS: usize = 12_000;

/// What a verdict is, with the consents of nobody and of everybody told apart.
fn class(verdict: &Verdict<Operation>, signed: bool) -> &'static str {
    match (verdict, signed) {
        (Verdict::Allow(approved), true) if approved.reason().code == "consented" => "allow, signed",
        (Verdict::Allow(_), _) => "allow",
        (Verdict::NeedsAuthorization(..), _) => "needs",
        (Verdict::Wait { .. }, _) => "wait",
        (Verdict::Refuse(_), _) => "refuse",
    }
}

/// Every verdict that the table knows for an operation of this kind.
fn possible(kind: OperationKind) -> &'static [&'static str] {
    use OperationKind as K;
    match kind {
        K::ChangeTunnel => &["allow"],
        K::StartGuest
        | K::StopGuest
        | K::RebootGuest
        | K::ConfigureGuest
        | K::HealGuest
        | K::BackupGuest
        | K::RestoreGuest
        | K::RestoreTest
        | K::DiscardRestoredCopy
        | K::DestroyScratch
        | K::ClearStaleLock
        | K::ClearLeftovers
        | K::AttachDisk
        | K::DetachDisk
        | K::DecommissionDisk
        | K::RotateBackupKey
        | K::UpdateHost
        | K::UpdateController => &["allow", "refuse"],
        K::ProvisionGuest
        | K::PruneBackups
        | K::AssignDisk
        | K::DeployApp
        | K::UpdateApp
        | K::CollectDiagnostics => &["allow", "allow, signed", "needs", "refuse", "wait"],
        K::CutoverGuest
        | K::ReverseCutoverGuest
        | K::RetireGuest
        | K::ReclaimGuest
        | K::FormatDisk
        | K::ForgetKey
        | K::ReplaceRecoveryCode
        | K::ResolveOperation
        | K::OpenSupportAccess => &["allow, signed", "needs", "refuse", "wait"],
        // Signed in its document: it waits for its grace, and then for nobody.
        K::RotateOperators => &["allow", "allow, signed", "refuse", "wait"],
    }
}

#[test]
fn every_row_is_reached_with_every_verdict_that_it_can_give_and_no_other() {
    let mut runner = TestRunner::deterministic();
    let worlds = any_world();
    let mut missing: BTreeSet<(OperationKind, &str)> = BTreeSet::new();
    for kind in OperationKind::ALL {
        missing.extend(possible(kind).iter().map(|class| (kind, *class)));
    }
    for _ in 0..WORLDS {
        let world = worlds.new_tree(&mut runner).unwrap().current();
        for (operation, facts) in world.cases() {
            let kind = operation.kind();
            let nobody = class(&decide(&operation, &facts, &[]), false);
            // What a row refuses, no signature changes; that is a property of its own.
            let ask_everybody =
                || class(&decide(&operation, &facts, &consents(&operation, &everybody())), true);
            let signed = if nobody == "refuse" { nobody } else { ask_everybody() };
            for class in [nobody, signed] {
                assert!(possible(kind).contains(&class), "{kind}: {class} is not in the table");
                missing.remove(&(kind, class));
            }
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("never reached: {missing:?}");
}
