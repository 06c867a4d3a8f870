//! What a dead worker of ours left goes, and nothing that anybody may still hold.

use super::*;

fn with(bend: impl FnOnce(&mut LeftoverFacts, &mut ObservedGuest)) -> Facts {
    let (mut left, mut facts) = (leftover_facts(), facts());
    facts.observed.guests[0].lock = Some("backup".into());
    bend(&mut left, &mut facts.observed.guests[0]);
    facts.concerning = Concerning::Leftovers(left);
    facts
}

#[test]
fn lock_and_leftovers() {
    let (lock, parts) = (Operation::ClearStaleLock(uuid(1)), Operation::ClearLeftovers(uuid(1)));
    assert_eq!(code(&lock, &with(|_, _| ())), "own_stale_lock");
    assert_eq!(code(&parts, &with(|_, _| ())), "own_leftovers");
    assert_eq!(code(&lock, &with(|_, guest| guest.lock = None)), "not_locked");
    assert_eq!(code(&parts, &with(|_, guest| guest.lock = None)), "own_leftovers");
    let own = [Purpose::Tenant, Purpose::Copy, Purpose::Scratch, Purpose::Tombstone];
    type Bend<'a> = &'a dyn Fn(&mut LeftoverFacts);
    let cases: [(&str, Bend<'_>); 4] = [
        ("unknown_maker", &|left| left.maker = None),
        ("task_not_over", &|left| left.task_over = false),
        ("task_running", &|left| left.running_tasks = vec!["UPID:x".into()]),
        ("foreign_part", &|left| left.parts.push(Part { what: "local:2000/y.raw".into(), own: false })),
    ];
    for ask in [lock, parts] {
        objects_to_a_bad_guest(&ask, &with(|_, _| ()));
        only_for(&ask, &with(|_, _| ()), &own, "foreign_guest");
        only_with_its_facts(&ask, &with(|_, _| ()));
        for (wanted, bend) in cases {
            assert_eq!(code(&ask, &with(|left, _| bend(left))), wanted, "{}", ask.kind());
        }
    }
}

/// Proxmox writes the description at the end of a restore, so until then the maker's own row stands for the mark.
#[test]
fn a_guest_whose_restore_died_is_cleared_by_its_maker_only() {
    for ask in [Operation::ClearStaleLock(uuid(1)), Operation::ClearLeftovers(uuid(1))] {
        let half_made = |maker, unmarked, provenance| {
            let facts = with(|left, guest| {
                (left.maker, left.unmarked) = (Some(maker), unmarked);
                let lock = if unmarked == Unmarked::WhileDestroyed { "destroyed" } else { "create" };
                (guest.provenance, guest.lock) = (provenance, Some(lock.into()));
            });
            code(&ask, &facts) != "provenance_not_proven"
        };
        let made = Unmarked::WhileMade;
        assert!(half_made(op(1), made, Provenance::RowOnly));
        assert!(!half_made(op(1), Unmarked::NoReason, Provenance::RowOnly));
        assert!(!half_made(op(2), made, Provenance::RowOnly), "the guest was made by operation 1");
        // A destroy is another operation's than the one that made it.
        assert!(half_made(op(2), Unmarked::WhileDestroyed, Provenance::RowOnly));
        let other_lock = with(|left, guest| {
            (left.maker, left.unmarked) = (Some(op(2)), Unmarked::WhileDestroyed);
            (guest.provenance, guest.lock) = (Provenance::RowOnly, Some("backup".into()));
        });
        assert_eq!(code(&ask, &other_lock), "provenance_not_proven");
        for unmarked in [made, Unmarked::WhileDestroyed] {
            assert!(!half_made(op(1), unmarked, Provenance::MarkOnly));
            assert!(!half_made(op(1), unmarked, Provenance::None));
        }
    }
}
