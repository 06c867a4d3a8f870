//! Rate and remaining time: whole numbers, no surprises, the same after a restart.

use std::sync::Arc;
use std::time::Duration;

use felhom_journal::{Event, Journal, Progress, SqliteStore};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::toy::{World, approved, envelope, id, runner};

fn progress(done: u64, total: impl Into<Option<u64>>) -> Progress {
    Progress { done, total: total.into(), unit: "bytes".to_owned() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn rate_and_rest_follow_from_what_was_done() {
    let p = progress(300, 1000);
    assert_eq!(p.rate_per_s(at(0), at(10)), Some(30));
    assert_eq!(p.eta(at(0), at(10)), Some(Duration::from_secs(24)), "23.3 rounded up");
    assert_eq!(progress(1, 1_000).eta(at(0), at(7)), Some(Duration::from_secs(6_993)));
}

#[test]
fn nothing_is_said_that_is_not_known() {
    let (start, now) = (at(100), at(110));
    assert_eq!(progress(5, None).eta(start, now), None);
    assert_eq!(progress(5, None).rate_per_s(start, now), Some(0));
    assert_eq!(progress(0, 10).eta(start, now), None, "no rate yet");
    assert_eq!(progress(0, 10).rate_per_s(start, now), Some(0));
    for clock in [at(100), at(50), at(-1_000_000), Timestamp::MIN] {
        assert_eq!(progress(5, 10).rate_per_s(start, clock), None, "{clock}");
        assert_eq!(progress(5, 10).eta(start, clock), None, "{clock}");
    }
    for done in [0, 10, 11, u64::MAX] {
        assert_eq!(progress(done, 0).eta(start, now), Some(Duration::ZERO));
        assert_eq!(progress(done.max(10), 10).eta(start, start), Some(Duration::ZERO));
    }
    assert!(progress(u64::MAX, u64::MAX).rate_per_s(Timestamp::MIN, Timestamp::MAX).is_some());
    assert_eq!(progress(1, u64::MAX).eta(Timestamp::MIN, Timestamp::MAX), None, "longer than can be said");
}

proptest! {
    #[test]
    fn never_a_panic_and_never_less_than_the_exact_time(
        done: u64, total: Option<u64>, start in -9_000_000_000_i64..9_000_000_000, seconds in -10_i64..9_000_000_000,
    ) {
        let p = progress(done, total);
        let now = at(start + seconds);
        let rate = p.rate_per_s(at(start), now);
        prop_assert_eq!(rate.is_some(), seconds >= 1);
        if let (Some(eta), Some(total)) = (p.eta(at(start), now), total)
            && total > done
        {
            let exact = u128::from(total - done) * u128::try_from(seconds).unwrap();
            prop_assert!(u128::from(eta.as_secs()) * u128::from(done) >= exact);
            prop_assert!((u128::from(eta.as_secs()) - 1) * u128::from(done) < exact);
        }
    }
}

#[test]
fn a_restart_shows_the_same_figures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let figures = |journal: &Journal| {
        let op = journal.get(id()).unwrap().unwrap();
        let step = &op.steps[0];
        let (p, start) = (step.progress.clone().unwrap(), step.started_at.unwrap());
        (p.rate_per_s(start, at(20)), p.eta(start, at(20)), p)
    };
    let open =
        || Journal::open(Arc::new(SqliteStore::open_with(&path, 0).unwrap()), || Timestamp::UNIX_EPOCH);
    let runner = runner(Arc::new(SqliteStore::open_with(&path, 0).unwrap()), &World::default());
    runner.journal_start(envelope(), &approved()).unwrap();
    let intended = Event::StepIntended { n: 0, intent: serde_json::Value::Null, owns: vec![] };
    runner.journal().append(id(), vec![intended]).unwrap();
    runner.journal().progress(id(), 0, progress(10, 1_000)).unwrap();
    runner.journal().progress(id(), 0, progress(400, 1_000)).unwrap();
    let before = figures(runner.journal());
    assert_eq!((before.0, before.1), (Some(20), Some(Duration::from_secs(30))));
    drop(runner);
    assert_eq!(figures(&open().unwrap()), before);
}
