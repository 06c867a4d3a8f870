//! When backups and restore tests are due: pure functions of policy, time zone, last runs and now.
//!
//! A run is due once the newest scheduled time, moved by the guest's own jitter, has passed and nothing ran since. Times
//! that were missed while the box was off are caught up once, not one by one; of several that are due, the longest unsaved
//! guest comes first and only as many as there are slots. A clock that jumped never stops them for good.

use crate::damping::Damping;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use felhom_model::backup::{Archive, Consistency, Level};
use felhom_model::desired::{DesiredGuest, DesiredState};
use felhom_model::observed::{Observed, ObservedGuest, Power, Provenance};
use felhom_model::{Digest, GuestUuid, OperationKind, StorageId, Volid};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Restore tests of a guest whose desired state does not say when: weekly.
pub const DEFAULT_TESTS: &str = "0 4 * * 0";
/// The longest jitter; it is also at most a tenth of the time between two runs.
pub const LONGEST_JITTER: SignedDuration = SignedDuration::from_mins(10);

/// A schedule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{schedule}` is no schedule: {why}; five fields are wanted, e.g. `30 2 * * *` for 02:30 every day")]
pub struct ScheduleError {
    /// As it was written.
    pub schedule: String,
    /// What is wrong.
    pub why: String,
}

/// What scheduling depends on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Merged desired state.
    pub desired: &'a DesiredState,
    /// Observed state.
    pub observed: &'a Observed,
    /// Archives on which a restore test has come to a verdict, from the receipts.
    pub tested: &'a [Tested],
    /// What was tried.
    pub damping: &'a Damping,
    /// The box's time zone.
    pub zone: &'a TimeZone,
    /// The box's clock.
    pub now: Timestamp,
}

/// A verdict of a restore test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// On this archive.
    pub archive: Volid,
    /// When it was given.
    pub at: Timestamp,
}

/// A backup that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueBackup {
    /// Of this guest.
    pub guest: GuestUuid,
    /// To this target.
    pub target: StorageId,
    /// The scheduled time, jitter included.
    pub since: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// For [`Damping`].
    pub wish: String,
    /// Idempotency key.
    pub key: String,
}

/// A restore test that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTest {
    /// Of this guest's backup.
    pub guest: GuestUuid,
    /// This one.
    pub archive: Volid,
    /// As far as it can be tested.
    pub level: Level,
    /// Why, for people.
    pub reason: String,
    /// For [`Damping`].
    pub wish: String,
    /// Idempotency key.
    pub key: String,
}

/// Checks a schedule of five fields.
///
/// # Errors
/// [`ScheduleError`]: wrong syntax, or a time that never comes (30 February).
pub fn check(schedule: &str) -> Result<(), ScheduleError> {
    let cron = parse(schedule)?;
    let somewhen = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    match cron.find_next_occurrence(&somewhen, false) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(ScheduleError { schedule: schedule.to_owned(), why: "that time never comes".to_owned() })
        }
    }
}

fn parse(schedule: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(schedule).map_err(|e| ScheduleError { schedule: schedule.to_owned(), why: e.to_string() })
}

/// The newest scheduled time that has passed, with the jitter that `seed` gives; `None` if there is none.
fn newest(schedule: &str, zone: &TimeZone, seed: &str, now: Timestamp) -> Option<Timestamp> {
    let cron = parse(schedule).ok()?;
    let at = |time: Timestamp| time.to_zoned(zone.clone());
    let previous = cron.find_previous_occurrence(&at(now), true).ok()?;
    let next = cron.find_next_occurrence(&at(now), false).ok()?;
    let window = (next.timestamp().duration_since(previous.timestamp()) / 10).min(LONGEST_JITTER);
    let jitter = jitter(seed, window);
    let shifted = now.checked_sub(jitter).ok()?;
    let run = cron.find_previous_occurrence(&at(shifted), true).ok()?.timestamp();
    run.checked_add(jitter).ok()
}

/// Between zero and `window`, the same for the same seed.
fn jitter(seed: &str, window: SignedDuration) -> SignedDuration {
    let digest = Digest::of(seed.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    let seconds = u64::from_be_bytes(first) % (window.as_secs().max(0).unsigned_abs() + 1);
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0))
}

/// Guests of desired state that stand on the box and are shown to be ours.
fn standing<'a>(
    input: &Input<'a>,
) -> impl Iterator<Item = (&'a DesiredGuest, &'a ObservedGuest, GuestUuid)> + use<'a> {
    let observed = input.observed;
    input.desired.guests.iter().filter_map(move |desired| {
        let guest = observed.tenant(&desired.name)?;
        let ours =
            guest.provenance == Provenance::Proven && !matches!(guest.power, Power::Missing | Power::Unknown);
        ours.then_some(())?;
        Some((desired, guest, guest.uuid?))
    })
}

/// The newest of `times` that does not lie in the future.
fn newest_past(times: impl Iterator<Item = Timestamp>, now: Timestamp) -> Option<Timestamp> {
    times.filter(|time| *time <= now).max()
}

/// Backups that are due, the longest unsaved guest first, at most as many as there are free `slots`.
pub fn due_backups(input: &Input<'_>, slots: usize) -> Vec<DueBackup> {
    let Input { observed, now, .. } = *input;
    let running = observed.active.iter().filter(|active| active.kind == OperationKind::BackupGuest).count();
    let mut due: Vec<(Option<Timestamp>, DueBackup)> = Vec::new();
    for (desired, guest, uuid) in standing(input) {
        let Some(policy) = &desired.backup else { continue };
        let busy = |id: Option<GuestUuid>| id == Some(uuid);
        if observed
            .active
            .iter()
            .any(|active| busy(active.guest) && active.kind == OperationKind::BackupGuest)
        {
            continue;
        }
        let seed = format!("backup {uuid} {}", policy.target);
        let Some(since) = newest(&policy.schedule, input.zone, &seed, now) else { continue };
        let mine = |archive: &&Archive| archive.guest == uuid && archive.target == policy.target;
        let last = newest_past(observed.archives.iter().filter(mine).map(|archive| archive.taken_at), now);
        let made =
            guest.made_by.and_then(|made_by| Timestamp::from_millisecond(made_by.unix_ms() as i64).ok());
        if newest_past(last.into_iter().chain(made), now).is_some_and(|ran| ran >= since) {
            continue;
        }
        let wish = crate::damping::wish("backup", desired.name.as_str(), &format!("{seed} {since}"));
        let Ok(key) = input.damping.next(&wish, now) else { continue };
        let reason = format!("scheduled for {} (`{}`)", since.to_zoned(input.zone.clone()), policy.schedule);
        let target = policy.target.clone();
        due.push((last, DueBackup { guest: uuid, target, since, reason, wish, key }));
    }
    due.sort_by(|(a, x), (b, y)| (a, x.guest).cmp(&(b, y.guest)));
    due.into_iter().map(|(_, due)| due).take(slots.saturating_sub(running)).collect()
}

/// The restore test that is due, if any; one at a time, the longest untested guest first.
///
/// The newest backup of a guest on a target is due at once if no test has come to a verdict on it; else the guest's
/// schedule decides.
pub fn due_restore_test(input: &Input<'_>) -> Option<DueTest> {
    let Input { observed, now, .. } = *input;
    let busy = |kind| observed.active.iter().any(|active| active.kind == kind);
    if busy(OperationKind::RestoreTest) {
        return None;
    }
    let mut due: Vec<(Option<Timestamp>, DueTest)> = Vec::new();
    for (desired, _, uuid) in standing(input) {
        for archive in newest_of_each_target(observed, uuid) {
            let verdicts = input.tested.iter().filter(|tested| tested.archive == archive.volid);
            let last = newest_past(verdicts.map(|tested| tested.at), now);
            let Some(reason) = why_test(desired, archive, last, input) else { continue };
            let wish =
                crate::damping::wish("restore_test", desired.name.as_str(), &wish_content(archive, &reason));
            let Ok(key) = input.damping.next(&wish, now) else { continue };
            let level = match archive.consistency {
                Consistency::Quiesced => Level::L4,
                // Nobody recorded digests, so there is nothing to compare samples with.
                Consistency::CrashConsistent => Level::L3,
            };
            due.push((
                last,
                DueTest { guest: uuid, archive: archive.volid.clone(), level, reason, wish, key },
            ));
        }
    }
    due.into_iter().min_by(|(a, x), (b, y)| (a, &x.archive).cmp(&(b, &y.archive))).map(|(_, due)| due)
}

fn wish_content(archive: &Archive, reason: &str) -> String {
    format!("{} {reason}", archive.volid)
}

fn newest_of_each_target(observed: &Observed, guest: GuestUuid) -> Vec<&Archive> {
    let mut newest: Vec<&Archive> = Vec::new();
    for archive in observed.archives.iter().filter(|archive| archive.guest == guest) {
        match newest.iter_mut().find(|other| other.target == archive.target) {
            Some(other) if (other.taken_at, &other.volid) < (archive.taken_at, &archive.volid) => {
                *other = archive
            }
            Some(_) => {}
            None => newest.push(archive),
        }
    }
    newest
}

/// Why this archive is to be tested now; `last` is its newest verdict.
fn why_test(
    desired: &DesiredGuest,
    archive: &Archive,
    last: Option<Timestamp>,
    input: &Input<'_>,
) -> Option<String> {
    let known_verdict = last.is_some() || archive.proven.is_some();
    if !known_verdict {
        return Some(format!("{} was never tested", archive.volid));
    }
    let schedule = desired.restore_test.as_ref().map_or(DEFAULT_TESTS, |policy| policy.schedule.as_str());
    let seed = format!("restore test {} {}", archive.guest, archive.target);
    let since = newest(schedule, input.zone, &seed, input.now)?;
    let proven = archive.proven.map(|(_, at)| at);
    let ran = newest_past(last.into_iter().chain(proven), input.now);
    let due = ran.is_none_or(|ran| ran < since);
    due.then(|| format!("scheduled for {} (`{schedule}`)", since.to_zoned(input.zone.clone())))
}
