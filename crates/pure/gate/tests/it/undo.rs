//! What an operation may take back of its own.

use crate::build::*;
use felhom_gate::*;
use felhom_model::observed::Purpose;

fn facts() -> UndoFacts {
    let volume = volid("local:2000/vm-2000-disk-0.raw");
    UndoFacts {
        owned: vec![uuid(1)],
        past_point_of_no_return: None,
        purpose: Purpose::Tenant,
        vmids: BoxLimits::default().vmids,
        vmid_absent_at_intent: true,
        mark: Mark::Names(uuid(1), op(1)),
        lock: None,
        create_lock_removed_by_us: false,
        volumes: DestroyFacts { referenced: vec![volume.clone()], made: vec![volume] },
    }
}

fn code(bend: impl FnOnce(&mut UndoFacts)) -> &'static str {
    let mut facts = facts();
    bend(&mut facts);
    let undo = UndoGuest { operation: op(1), guest: uuid(1), vmid: vmid(2000) };
    match decide_undo(&undo, &facts) {
        Ok(approved) => approved.reason().code,
        Err(reason) => reason.code,
    }
}

#[test]
fn own_and_nothing_else() {
    assert_eq!(code(|_| ()), "undo_of_own");
    assert_eq!(code(|f| f.owned.clear()), "not_owned");
    assert_eq!(
        code(|f| f.past_point_of_no_return = Some("first_heartbeat".into())),
        "past_point_of_no_return"
    );
    assert_eq!(code(|f| f.purpose = Purpose::Tombstone), "tombstone");
    assert_eq!(code(|f| f.purpose = Purpose::Foreign), "foreign");
    assert_eq!(code(|f| f.purpose = Purpose::Scratch), "vmid_out_of_range");
    assert_eq!(code(|f| f.vmid_absent_at_intent = false), "vmid_was_taken");
    assert_eq!(code(|f| f.mark = Mark::Names(uuid(2), op(1))), "other_mark");
    assert_eq!(code(|f| f.mark = Mark::Names(uuid(1), op(2))), "other_mark");
    assert_eq!(code(|f| f.mark = Mark::Unreadable), "other_mark");
    assert_eq!(code(|f| f.volumes.made.clear()), "foreign_volume");
}

#[test]
fn a_guest_that_is_being_restored_carries_no_mark_yet() {
    assert_eq!(code(|f| f.mark = Mark::None), "no_mark");
    assert_eq!(code(|f| (f.mark, f.lock) = (Mark::None, Some("backup".into()))), "no_mark");
    assert_eq!(code(|f| (f.mark, f.lock) = (Mark::None, Some("create".into()))), "undo_of_own");
    assert_eq!(code(|f| (f.mark, f.create_lock_removed_by_us) = (Mark::None, true)), "undo_of_own");
}
