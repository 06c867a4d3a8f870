//! What retention no longer keeps goes, above the box's floors.

use super::*;

const DAY: i64 = 24 * 3600;

/// Four backups, one a day, the last two proven; `n` days old is archive `n`.
fn archives() -> Vec<Archive> {
    (0..4)
        .map(|days| Archive {
            volid: volid(&format!("local:backup/{days}.tar.zst")),
            taken_at: at(-days * DAY),
            bytes: 100,
            proven: (days < 2).then(|| (Level::L3, at(0))),
            ..archive()
        })
        .collect()
}

fn prune(days: &[u32]) -> Operation {
    let remove = days.iter().map(|days| volid(&format!("local:backup/{days}.tar.zst"))).collect();
    Operation::PruneBackups(Prune { guest: uuid(1), target: store(), remove })
}

fn with(bend: impl FnOnce(&mut PruneFacts, &mut Facts)) -> Facts {
    let (mut seen, mut facts) = (PruneFacts { protected: vec![], churned: false }, facts());
    facts.observed.archives = archives();
    facts.limits.keep_spread = SignedDuration::from_hours(48);
    bend(&mut seen, &mut facts);
    facts.concerning = Concerning::Prune(seen);
    facts
}

#[test]
fn above_the_floors_it_is_allowed() {
    assert_eq!(code(&prune(&[3]), &with(|_, _| ())), "retention");
    assert_eq!(code(&prune(&[2]), &with(|_, _| ())), "retention");
    // The guest itself may be long gone.
    assert_eq!(code(&prune(&[3]), &with(|_, facts| facts.observed.guests.clear())), "retention");
    only_with_its_facts(&prune(&[3]), &with(|_, _| ()));
}

#[test]
fn never_a_protected_one_nor_the_last_nor_one_that_is_not_ours() {
    type Bend<'a> = &'a dyn Fn(&mut PruneFacts, &mut Facts);
    let cases: [(&str, &[u32], Bend<'_>); 8] = [
        ("nothing_to_remove", &[], &|_, _| ()),
        ("archive_not_in_ledger", &[9], &|_, _| ()),
        ("archive_not_in_ledger", &[3, 9], &|_, _| ()),
        ("archive_not_in_ledger", &[3], &|_, facts| facts.observed.archives[3].guest = uuid(2)),
        ("archive_not_in_ledger", &[3], &|_, facts| {
            facts.observed.archives[3].target = "elsewhere".parse().unwrap();
        }),
        ("protected", &[2, 3], &|seen, _| seen.protected = vec![archives()[3].volid.clone()]),
        ("last_backup", &[0, 1, 2, 3], &|_, _| ()),
        ("storage_not_active", &[3], &|_, facts| facts.observed.storages[0].active = false),
    ];
    for (n, (wanted, days, bend)) in cases.iter().enumerate() {
        let facts = with(|seen, facts| bend(seen, facts));
        assert_eq!(code(&prune(days), &facts), *wanted, "case {n}");
        let everybody = [operator("ada"), operator("bob"), customer(1)];
        assert_eq!(asked_with(&prune(days), &facts, &everybody), *wanted, "case {n}, signed");
    }
}

#[test]
fn below_a_floor_it_needs_an_operator() {
    type Bend<'a> = &'a dyn Fn(&mut PruneFacts, &mut Facts);
    let cases: [(&str, &[u32], Bend<'_>); 6] = [
        ("fewer than 3 backups", &[2, 3], &|_, facts| facts.limits.keep_backups = 3),
        ("less than 48 h apart", &[2, 3], &|_, _| ()),
        ("less than 96 h apart", &[3], &|_, facts| {
            facts.limits.keep_spread = SignedDuration::from_hours(96);
        }),
        ("no newer proven backup", &[3], &|_, facts| {
            facts.observed.archives.iter_mut().for_each(|archive| archive.proven = None);
        }),
        ("no newer proven backup", &[3], &|_, facts| {
            facts.observed.archives.iter_mut().for_each(|archive| archive.proven = Some((Level::L2, at(0))));
        }),
        ("no newer proven backup", &[0], &|_, facts| facts.limits.keep_spread = SignedDuration::ZERO),
    ];
    for (n, (why, days, bend)) in cases.iter().enumerate() {
        let facts = with(|seen, facts| bend(seen, facts));
        assert_eq!(needs(&prune(days), &facts), [(1, vec![])], "case {n}");
        let Verdict::NeedsAuthorization(requirement, _) = decide(&prune(days), &facts, &[]) else { panic!() };
        assert!(requirement.why.contains(why), "case {n}: {}", requirement.why);
    }
    assert_eq!(code(&prune(&[3]), &with(|_, facts| facts.observed.archives[0].bytes = 50)), "retention");
    let shrunk = with(|_, facts| facts.observed.archives[0].bytes = 49);
    assert_eq!(code(&prune(&[3]), &shrunk), "newest_backup_abnormal");
    assert_eq!(code(&prune(&[3]), &with(|seen, _| seen.churned = true)), "newest_backup_abnormal");
}

/// The proof must be of one that stays and that is newer than each that goes.
#[test]
fn a_proof_that_goes_itself_does_not_count() {
    let proven_1 = with(|_, facts| {
        facts.observed.archives[0].proven = None;
        facts.limits.keep_backups = 1;
        facts.limits.keep_spread = SignedDuration::ZERO;
    });
    assert_eq!(code(&prune(&[2, 3]), &proven_1), "retention");
    assert_eq!(needs(&prune(&[1, 2]), &proven_1), [(1, vec![])]);
}

/// Where all backups lie close together, as on a new box, that much is kept and no more is asked for.
#[test]
fn the_spread_floor_asks_for_no_more_than_there_is() {
    let young = with(|_, facts| facts.limits.keep_spread = SignedDuration::from_hours(1000));
    assert_eq!(code(&prune(&[1, 2]), &young), "retention");
    assert_eq!(needs(&prune(&[3]), &young), [(1, vec![])]);
}
