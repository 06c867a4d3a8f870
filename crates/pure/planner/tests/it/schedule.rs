//! When things are due, in Budapest.

use crate::build::*;
use felhom_model::backup::{Consistency, Level};
use felhom_model::desired::*;
use felhom_model::observed::*;
use felhom_model::*;
use felhom_planner::schedule::*;
use felhom_planner::{Damping, Past};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn zone() -> TimeZone {
    TimeZone::get("Europe/Budapest").unwrap()
}

fn with_backup(text: &str, schedule: &str) -> DesiredGuest {
    let backup = Some(BackupPolicy { schedule: schedule.into(), target: store() });
    DesiredGuest { backup, ..desired(text) }
}

struct Box_ {
    desired: DesiredState,
    observed: Observed,
    tested: Vec<Tested>,
    damping: Damping,
}

fn nightly() -> Box_ {
    Box_ {
        desired: state(&[with_backup("a", "30 2 * * *")]),
        observed: observed(&[guest(1, "a")]),
        tested: vec![],
        damping: Damping::default(),
    }
}

impl Box_ {
    fn backups(&self, now: Timestamp, slots: usize) -> Vec<DueBackup> {
        due_backups(&self.input(&zone(), now), slots)
    }
    fn test(&self, now: &str) -> Option<DueTest> {
        due_restore_test(&self.input(&zone(), time(now)))
    }
    fn input<'a>(&'a self, zone: &'a TimeZone, now: Timestamp) -> Input<'a> {
        let Self { desired, observed, tested, damping } = self;
        Input { desired, observed, tested, damping, zone, now }
    }
}

#[test]
fn a_backup_is_due_after_its_time_until_it_ran() {
    let mut one = nightly();
    // 02:30 in Budapest in June is 00:30 UTC; the jitter is at most ten minutes.
    one.observed.archives = vec![archive(1, "2026-06-01T00:45:00Z")];
    assert_eq!(one.backups(time("2026-06-02T00:29:59Z"), 1), vec![]);
    let due = one.backups(time("2026-06-02T00:40:00Z"), 1);
    assert_eq!(due.len(), 1);
    let wait = due[0].since.duration_since(time("2026-06-02T00:30:00Z"));
    assert!(wait >= SignedDuration::ZERO && wait <= LONGEST_JITTER, "{wait}");
    assert!(due[0].reason.contains("2026-06-02T02:3") || due[0].reason.contains("2026-06-02T02:40"));
    assert_eq!(
        one.backups(time("2026-06-02T05:00:00Z"), 1)[0].key,
        due[0].key,
        "the same key until it is over"
    );
    one.observed.archives.push(archive(1, "2026-06-02T00:41:00Z"));
    assert_eq!(one.backups(time("2026-06-02T05:00:00Z"), 1), vec![]);
}

#[test]
fn a_new_guest_waits_for_its_first_time_and_missed_ones_are_caught_up_once() {
    let mut one = nightly();
    assert_eq!(one.backups(time("2026-01-01T01:00:00Z"), 1), vec![], "made at midnight, due at 01:30 UTC");
    let after_weeks_off = time("2026-02-20T12:00:00Z");
    assert_eq!(one.backups(after_weeks_off, 5).len(), 1);
    one.observed.archives = vec![archive(1, "2026-02-20T12:01:00Z")];
    assert_eq!(one.backups(time("2026-02-20T12:02:00Z"), 5), vec![]);
}

#[test]
fn of_several_the_longest_unsaved_comes_first_and_only_as_many_as_slots() {
    let mut one = nightly();
    let names = ["a", "b", "c"];
    one.desired = state(&names.map(|text| with_backup(text, "30 2 * * *")));
    one.observed = observed(&[guest(1, "a"), guest(2, "b"), guest(3, "c")]);
    one.observed.archives = vec![
        archive(1, "2026-06-01T00:45:00Z"),
        archive(2, "2026-05-20T00:45:00Z"),
        archive(3, "2026-05-25T00:45:00Z"),
    ];
    let now = time("2026-06-02T08:00:00Z");
    let guests = |due: Vec<DueBackup>| due.into_iter().map(|due| due.guest).collect::<Vec<_>>();
    assert_eq!(guests(one.backups(now, 3)), vec![uuid(2), uuid(3), uuid(1)]);
    assert_eq!(guests(one.backups(now, 1)), vec![uuid(2)]);
    one.observed.active.push(active(OperationKind::BackupGuest, Some(uuid(2)), None));
    assert_eq!(guests(one.backups(now, 1)), vec![]);
    assert_eq!(guests(one.backups(now, 2)), vec![uuid(3)]);
}

#[test]
fn a_failed_try_is_repeated_later_with_another_key() {
    let mut one = nightly();
    let now = time("2026-06-02T08:00:00Z");
    let due = one.backups(now, 1).remove(0);
    let last_ended = now - SignedDuration::from_secs(20);
    one.damping = Damping::from_iter([(due.wish.clone(), Past { tries: 2, recent: 2, last_ended })]);
    assert_eq!(one.backups(now, 1), vec![]);
    let later = one.backups(now + SignedDuration::from_secs(10), 1);
    assert_eq!(later[0].key, format!("{}#2", due.wish));
}

#[test]
fn daylight_saving_neither_skips_nor_doubles_a_night() {
    for (night, runs) in [("2026-03-29", 1), ("2026-10-25", 1)] {
        let mut one = nightly();
        let before = time(&format!("{night}T00:00:00Z")) - SignedDuration::from_hours(20);
        one.observed.archives = vec![archive(1, &before.to_string())];
        let mut seen = 0;
        for minute in (0..30 * 60).step_by(5) {
            let now = time(&format!("{night}T00:00:00Z")) + SignedDuration::from_mins(minute)
                - SignedDuration::from_hours(6);
            if !one.backups(now, 1).is_empty() && now < time(&format!("{night}T12:00:00Z")) {
                seen += 1;
                one.observed.archives.push(archive(1, &now.to_string()));
            }
        }
        assert_eq!(seen, runs, "{night}");
    }
}

#[test]
fn a_clock_that_jumped_does_not_stop_backups() {
    let mut one = nightly();
    one.observed.archives = vec![archive(1, "2036-06-01T00:45:00Z")];
    assert_eq!(one.backups(time("2026-06-02T08:00:00Z"), 1).len(), 1);
    one.observed.archives.push(archive(1, "2026-06-02T08:00:00Z"));
    assert_eq!(one.backups(time("2026-06-02T08:01:00Z"), 1), vec![]);
}

#[test]
fn only_what_stands_and_is_ours_is_backed_up() {
    let now = time("2026-06-02T08:00:00Z");
    let bent: [&dyn Fn(&mut Box_); 5] = [
        &|one| one.observed.guests[0].power = Power::Missing,
        &|one| one.observed.guests[0].provenance = Provenance::RowOnly,
        &|one| one.observed.guests[0].purpose = Purpose::Copy,
        &|one| one.desired.guests[0].backup = None,
        &|one| one.desired = state(&[with_backup("a", "nonsense")]),
    ];
    for (n, bend) in bent.iter().enumerate() {
        let mut one = nightly();
        bend(&mut one);
        assert_eq!(one.backups(now, 1), vec![], "case {n}");
    }
}

#[test]
fn a_backup_that_was_never_tested_is_due_at_once() {
    let mut one = nightly();
    assert_eq!(one.test("2026-06-02T08:00:00Z"), None);
    one.observed.archives = vec![archive(1, "2026-06-01T00:45:00Z"), archive(1, "2026-06-02T00:45:00Z")];
    let due = one.test("2026-06-02T08:00:00Z").unwrap();
    assert_eq!((&due.archive, due.level), (&one.observed.archives[1].volid, Level::L4));
    one.observed.archives[1].consistency = Consistency::CrashConsistent;
    assert_eq!(one.test("2026-06-02T08:00:00Z").unwrap().level, Level::L3);
    one.observed.active.push(active(OperationKind::RestoreTest, Some(uuid(2)), None));
    assert_eq!(one.test("2026-06-02T08:00:00Z"), None, "one at a time");
}

#[test]
fn a_verdict_rests_until_the_schedule_says_otherwise() {
    let mut one = nightly();
    one.observed.archives = vec![archive(1, "2026-06-02T00:45:00Z")];
    let at = time("2026-06-02T01:00:00Z");
    one.tested = vec![Tested { archive: one.observed.archives[0].volid.clone(), at }];
    assert_eq!(one.test("2026-06-06T08:00:00Z"), None, "also a failed one is not repeated at once");
    let weekly = one.test("2026-06-07T08:00:00Z").unwrap();
    assert!(weekly.reason.contains(DEFAULT_TESTS), "{}", weekly.reason);
    one.desired.guests[0].restore_test = Some(RestoreTestPolicy { schedule: "0 4 * * *".into() });
    assert!(one.test("2026-06-03T08:00:00Z").is_some());
    one.tested.clear();
    one.observed.archives[0].proven = Some((Level::L4, at));
    assert_eq!(one.test("2026-06-02T01:30:00Z"), None, "the ledger's proof counts as well");
}

#[test]
fn schedules_are_checked() {
    for good in ["30 2 * * *", "*/5 * * * *", "0 4 * * SUN", "0 0 29 2 *"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in ["", "nonsense", "* * * * * *", "0 0 30 2 *", "61 * * * *"] {
        assert!(check(bad).unwrap_err().to_string().contains("five fields"), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Once it has run, nothing is due before the next scheduled time; and nothing is due that is not over yet.
    #[test]
    fn a_run_satisfies_its_time(minute in 0i64..(500 * 24 * 60), which in 0usize..4) {
        let schedule = ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 4 * * 1"][which];
        let mut one = nightly();
        one.desired = state(&[with_backup("a", schedule)]);
        let now = time("2026-01-02T00:00:00Z") + SignedDuration::from_mins(minute);
        for due in one.backups(now, 1) {
            prop_assert!(due.since <= now);
            one.observed.archives.push(archive(1, &now.to_string()));
            prop_assert_eq!(one.backups(now, 1), vec![]);
        }
    }
}
