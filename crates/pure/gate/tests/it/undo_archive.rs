//! Which archive an operation may delete again: its own, and no facts make it another one's.

use crate::build::*;
use felhom_gate::*;
use felhom_model::Volid;
use proptest::prelude::*;

const FILE: &str = "vzdump-lxc-2000-2026_11_24-10_00_00.tar.zst";

fn own() -> UndoArchive {
    UndoArchive { operation: op(1), guest: uuid(1), archive: volid(&format!("local:backup/{FILE}")) }
}

fn intent() -> ArchiveIntent {
    ArchiveIntent { operation: op(1), guest: uuid(1), vmid: vmid(2000), target: store() }
}

fn facts() -> UndoArchiveFacts {
    UndoArchiveFacts {
        intent: Some(intent()),
        past_point_of_no_return: None,
        before: vec![volid("local:backup/vzdump-lxc-2000-2026_11_23-10_00_00.tar.zst")],
        task_made: Some(FILE.to_owned()),
        notes: ArchiveNotes::None,
        protected: false,
        recorded_by: None,
        proven: false,
    }
}

fn verdict(undo: &UndoArchive, facts: &UndoArchiveFacts) -> &'static str {
    match decide_undo_archive(undo, facts) {
        Ok(approved) => approved.reason().code,
        Err(reason) => reason.code,
    }
}

fn code(bend: impl FnOnce(&mut UndoArchiveFacts)) -> &'static str {
    let mut facts = facts();
    bend(&mut facts);
    verdict(&own(), &facts)
}

#[test]
fn own_and_nothing_else() {
    assert_eq!(code(|_| ()), "undo_of_own");
    assert_eq!(code(|f| f.notes = ArchiveNotes::Names(uuid(1), op(1))), "undo_of_own");
    assert_eq!(code(|f| (f.notes, f.task_made) = (ArchiveNotes::Names(uuid(1), op(1)), None)), "undo_of_own");
    assert_eq!(code(|f| f.recorded_by = Some(op(1))), "undo_of_own");
    assert_eq!(code(|f| f.intent = None), "not_owned");
    assert_eq!(code(|f| f.intent = Some(ArchiveIntent { operation: op(2), ..intent() })), "not_owned");
    assert_eq!(code(|f| f.intent = Some(ArchiveIntent { guest: uuid(2), ..intent() })), "not_owned");
    assert_eq!(code(|f| f.past_point_of_no_return = Some("record".into())), "past_point_of_no_return");
    assert_eq!(code(|f| f.intent = Some(ArchiveIntent { vmid: vmid(200), ..intent() })), "other_archive");
    let elsewhere = || ArchiveIntent { target: "other".parse().unwrap(), ..intent() };
    assert_eq!(code(|f| f.intent = Some(elsewhere())), "other_archive");
    assert_eq!(code(|f| f.before.push(own().archive)), "archive_was_there");
    assert_eq!(code(|f| f.notes = ArchiveNotes::Names(uuid(2), op(1))), "other_mark");
    assert_eq!(code(|f| f.notes = ArchiveNotes::Names(uuid(1), op(2))), "other_mark");
    assert_eq!(code(|f| f.notes = ArchiveNotes::Unreadable), "other_mark");
    assert_eq!(code(|f| f.task_made = None), "no_mark");
    assert_eq!(code(|f| f.task_made = Some("vzdump-lxc-2000-other.tar.zst".into())), "no_mark");
    assert_eq!(code(|f| f.protected = true), "protected");
    assert_eq!(code(|f| f.recorded_by = Some(op(2))), "recorded_by_another");
    assert_eq!(code(|f| f.proven = true), "proven");
}

fn any_archive() -> impl Strategy<Value = Volid> {
    let path = prop_oneof![
        3 => Just(format!("backup/{FILE}")),
        1 => Just(format!("backup/vzdump-lxc-2001-{}", &FILE[16..])),
        1 => Just("backup/vzdump-lxc-2000-2026_11_23-10_00_00.tar.zst".to_owned()),
        1 => Just("2000/vm-2000-disk-0.raw".to_owned())
    ];
    (prop_oneof![3 => Just("local"), 1 => Just("other")], path)
        .prop_map(|(storage, path)| volid(&format!("{storage}:{path}")))
}

fn any_facts() -> impl Strategy<Value = UndoArchiveFacts> {
    let who = || (1u8..3, 1u64..3);
    let intent = proptest::option::weighted(0.9, (who(), 2000u32..2002)).prop_map(|made| {
        made.map(|((guest, operation), id)| ArchiveIntent {
            operation: op(operation),
            guest: uuid(guest),
            vmid: vmid(id),
            target: store(),
        })
    });
    let notes = prop_oneof![
        who().prop_map(|(guest, operation)| ArchiveNotes::Names(uuid(guest), op(operation))),
        Just(ArchiveNotes::None),
        Just(ArchiveNotes::Unreadable)
    ];
    let before = proptest::collection::vec(any_archive(), 0..2);
    let task = proptest::option::of(any_archive());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), proptest::option::of(1u64..3));
    (intent, notes, before, task, flags).prop_map(
        |(intent, notes, before, task, (past, protected, proven, recorded))| UndoArchiveFacts {
            intent,
            past_point_of_no_return: past.then(|| "step".to_owned()),
            before,
            task_made: task.and_then(|v| v.path().strip_prefix("backup/").map(str::to_owned)),
            notes,
            protected,
            recorded_by: recorded.map(op),
            proven,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was observed: an archive that another operation made, recorded or marked is never deleted, nor one that
    /// was there before, lies elsewhere, is protected or proven, or that nothing ties to this operation.
    #[test]
    fn no_facts_reach_another_ones_archive(facts in any_facts(), archive in any_archive(), guest in 1u8..3) {
        let undo = UndoArchive { operation: op(1), guest: uuid(guest), archive };
        if verdict(&undo, &facts) == "undo_of_own" {
            let intent = facts.intent.unwrap();
            prop_assert_eq!((intent.operation, intent.guest), (undo.operation, undo.guest));
            prop_assert!(!facts.before.contains(&undo.archive));
            prop_assert!(facts.recorded_by.is_none_or(|by| by == undo.operation));
            prop_assert!(!facts.protected && !facts.proven && facts.past_point_of_no_return.is_none());
            let prefix = format!("local:backup/vzdump-lxc-{}-", intent.vmid);
            prop_assert!(undo.archive.as_str().starts_with(&prefix));
            let named = facts.notes == ArchiveNotes::Names(undo.guest, undo.operation);
            let made = facts.task_made.is_some_and(|file| undo.archive.path() == format!("backup/{file}"));
            prop_assert!(named || (facts.notes == ArchiveNotes::None && made));
        }
    }

    /// What ties it to another operation refuses, all else being well.
    #[test]
    fn another_operation_anywhere_refuses(which in 0..3, other in 2u64..9) {
        let refused = code(|f| match which {
            0 => f.notes = ArchiveNotes::Names(uuid(1), op(other)),
            1 => f.recorded_by = Some(op(other)),
            _ => f.intent = Some(ArchiveIntent { operation: op(other), ..intent() }),
        });
        prop_assert_ne!(refused, "undo_of_own");
    }
}
