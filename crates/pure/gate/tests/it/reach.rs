//! The arbitrary boxes do reach every row with every verdict that it can give; else the properties would prove little.

use crate::arbitrary::*;
use felhom_gate::*;
use felhom_model::{Operation, OperationKind};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};

const WORLDS: usize = 350;

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
    let mut reached: BTreeMap<OperationKind, BTreeSet<&str>> = BTreeMap::new();
    for _ in 0..WORLDS {
        let world = worlds.new_tree(&mut runner).unwrap().current();
        for (operation, facts) in world.cases() {
            let classes = reached.entry(operation.kind()).or_default();
            classes.insert(class(&decide(&operation, &facts, &[]), false));
            classes.insert(class(&decide(&operation, &facts, &consents(&operation, &everybody())), true));
        }
    }
    for kind in OperationKind::ALL {
        let possible: BTreeSet<&str> = possible(kind).iter().copied().collect();
        assert_eq!(reached.get(&kind), Some(&possible), "{kind}");
    }
}
