//! Liveness and risk of a box: pure, by the hub's own clock, never by what a box says of itself.

use felhom_model::{Digest, Generation};
use felhom_protocol::hub_api::{Enrolment, Liveness};
use jiff::{SignedDuration, Timestamp};

use crate::audit::Standing;
use crate::config::Config;
use crate::facts::{Facts, GuestFacts, Severity, TroubleKind};
use crate::words::duration;

/// How long `GuestConverged` may be false before it counts.
const CONVERGING: SignedDuration = SignedDuration::from_mins(10);
/// How long a box may tell no end of its audit log before that is a danger: an agent that was started waits for its executor.
const STARTING: SignedDuration = SignedDuration::from_mins(10);
/// How long a refusal is shown as a risk; it stays in the history.
const REFUSAL_SHOWN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// From when on something counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    late: SignedDuration,
    silent: SignedDuration,
    backup: SignedDuration,
    proof: SignedDuration,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let seconds = |s: u32| SignedDuration::from_secs(s.into());
        Self {
            late: seconds(config.late_after_s),
            silent: seconds(config.silent_after_s),
            backup: seconds(config.backup_max_age_s),
            proof: seconds(config.proof_max_age_s),
        }
    }
}

/// What the judgement rests on.
#[derive(Debug, Clone)]
pub(crate) struct Seen<'a> {
    /// Where its enrolment stands.
    pub(crate) enrolment: Enrolment,
    /// Last accepted sync, by the hub's clock.
    pub(crate) last_seen: Option<Timestamp>,
    /// Generation that the box holds, with its digest.
    pub(crate) held: (Generation, Option<Digest>),
    /// Generation that is set here, with its digest and when it was set.
    pub(crate) set: (Generation, Option<Digest>, Option<Timestamp>),
    /// Facts of its last report.
    pub(crate) facts: Option<&'a Facts>,
    /// What is known of its audit log.
    pub(crate) audit: &'a Standing,
}

/// A judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Risk {
    /// The worst of the reasons.
    pub(crate) severity: Severity,
    /// Why, the worst first.
    pub(crate) reasons: Vec<(Severity, String)>,
}

/// Whether a box speaks.
pub(crate) fn liveness(last_seen: Option<Timestamp>, limits: &Limits, now: Timestamp) -> Liveness {
    let Some(seen) = last_seen else { return Liveness::Never };
    let age = now.duration_since(seen);
    if age > limits.silent {
        Liveness::Silent
    } else if age > limits.late {
        Liveness::Late
    } else {
        Liveness::Alive
    }
}

/// Judges a box.
pub(crate) fn assess(seen: &Seen<'_>, limits: &Limits, now: Timestamp) -> Risk {
    let mut found: Vec<(Severity, String)> = Vec::new();
    of_contact(seen, limits, now, &mut found);
    of_generation(seen, now, &mut found);
    of_audit(seen.audit, now, &mut found);
    if let Some(facts) = seen.facts {
        for guest in &facts.guests {
            found.extend(of_backup(guest, limits, now));
            found.extend(of_proof(guest, limits, now));
        }
        of_troubles(facts, now, &mut found);
    }
    found.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    let severity = found.first().map_or(Severity::Ok, |(severity, _)| *severity);
    Risk { severity, reasons: found }
}

fn of_contact(seen: &Seen<'_>, limits: &Limits, now: Timestamp, found: &mut Vec<(Severity, String)>) {
    match seen.enrolment {
        Enrolment::Waiting => found.push((Severity::Waiting, "waits for its enrolment".to_owned())),
        Enrolment::Expired => {
            let text = "its ticket expired or was taken back before it was used; add it again for a new one";
            found.push((Severity::Attention, text.to_owned()));
        }
        Enrolment::Enrolled => {}
    }
    let Some(last) = seen.last_seen else {
        if seen.enrolment == Enrolment::Enrolled {
            found.push((Severity::Attention, "enrolled, but it has not spoken yet".to_owned()));
        }
        return;
    };
    let age = duration(now.duration_since(last));
    match liveness(seen.last_seen, limits, now) {
        Liveness::Silent => found.push((Severity::Danger, format!("silent for {age}"))),
        Liveness::Late => found.push((Severity::Attention, format!("late: not heard for {age}"))),
        Liveness::Alive | Liveness::Never => {}
    }
}

fn of_generation(seen: &Seen<'_>, now: Timestamp, found: &mut Vec<(Severity, String)>) {
    let (held, held_digest) = seen.held;
    let (set, set_digest, set_at) = seen.set;
    if held > set {
        let text = format!(
            "the box holds desired state generation {held}, the hub knows only {set}: the hub's database is older than \
             the box (was it restored?); set desired state again"
        );
        found.push((Severity::Danger, text));
    }
    let differs = held_digest.zip(set_digest).is_some_and(|(held, set)| held != set);
    if held == set && differs {
        let text = format!("generation {held} on the box is another document than generation {set} here");
        found.push((Severity::Danger, text));
    }
    let observed = seen.facts.map(|facts| facts.observed_generation).unwrap_or_default();
    if observed < set && seen.last_seen.is_some() {
        let old = set_at.is_some_and(|at| now.duration_since(at) > CONVERGING);
        let severity = if old { Severity::Attention } else { Severity::Waiting };
        found.push((severity, format!("generation {set} is set, the box has acted on {observed}")));
    }
}

/// A log that was cut or forked stays so: the hub keeps both ends. One that is not told may have been.
fn of_audit(audit: &Standing, now: Timestamp, found: &mut Vec<(Severity, String)>) {
    if let Some(problem) = &audit.problem {
        found.push((Severity::Danger, problem.clone()));
    }
    if let Some((since, why)) = &audit.absent {
        let age = now.duration_since(*since);
        let severity = if age > STARTING { Severity::Danger } else { Severity::Attention };
        found.push((severity, format!("{why} (for {})", duration(age))));
    }
}

fn of_backup(guest: &GuestFacts, limits: &Limits, now: Timestamp) -> Option<(Severity, String)> {
    let name = &guest.name;
    match guest.last_backup {
        Some(at) => {
            let age = now.duration_since(at);
            (age > limits.backup)
                .then(|| (Severity::Danger, format!("{name}: last backup is {} old", duration(age))))
        }
        None => {
            let young = guest.made.is_some_and(|made| now.duration_since(made) <= limits.backup);
            let severity = if young { Severity::Attention } else { Severity::Danger };
            Some((severity, format!("{name}: has no backup")))
        }
    }
}

fn of_proof(guest: &GuestFacts, limits: &Limits, now: Timestamp) -> Option<(Severity, String)> {
    let name = &guest.name;
    guest.last_backup?;
    match guest.last_proven {
        None => Some((Severity::Attention, format!("{name}: no backup is proven to restore"))),
        Some(at) => {
            let age = now.duration_since(at);
            (age > limits.proof).then(|| {
                (Severity::Attention, format!("{name}: the newest proven backup is {} old", duration(age)))
            })
        }
    }
}

fn of_troubles(facts: &Facts, now: Timestamp, found: &mut Vec<(Severity, String)>) {
    for trouble in &facts.troubles {
        let age = now.duration_since(trouble.since);
        let counts = match trouble.kind {
            TroubleKind::NotConverged => age > CONVERGING,
            TroubleKind::Refusal => age <= REFUSAL_SHOWN,
            TroubleKind::Condition | TroubleKind::Operation | TroubleKind::Proof | TroubleKind::Guest => true,
        };
        if counts {
            found.push((trouble.severity, trouble.text.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::from(&Config::default())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn seen(facts: Option<&Facts>) -> Seen<'_> {
        Seen {
            enrolment: Enrolment::Enrolled,
            last_seen: Some(at(0)),
            held: (Generation(0), None),
            set: (Generation(0), None, None),
            facts,
            audit: &FINE,
        }
    }

    const FINE: Standing = Standing { problem: None, absent: None };

    fn guest() -> GuestFacts {
        let (last_backup, last_proven) = (Some(at(0)), Some(at(0)));
        GuestFacts { name: "family".into(), running: true, made: Some(at(0)), last_backup, last_proven }
    }

    #[test]
    fn silence_is_judged_by_the_clock_alone() {
        assert_eq!(liveness(None, &limits(), at(0)), Liveness::Never);
        assert_eq!(liveness(Some(at(0)), &limits(), at(180)), Liveness::Alive);
        assert_eq!(liveness(Some(at(0)), &limits(), at(181)), Liveness::Late);
        assert_eq!(liveness(Some(at(0)), &limits(), at(901)), Liveness::Silent);
        let risk = assess(&seen(None), &limits(), at(901));
        assert_eq!(risk.severity, Severity::Danger);
        assert_eq!(risk.reasons[0].1, "silent for 15 min");
    }

    #[test]
    fn a_backup_grows_old_by_itself() {
        let facts = Facts { guests: vec![guest()], ..Facts::default() };
        let mut box_seen = seen(Some(&facts));
        assert_eq!(assess(&box_seen, &limits(), at(60)).severity, Severity::Ok);
        let later = at(40 * 3600);
        box_seen.last_seen = Some(later);
        let risk = assess(&box_seen, &limits(), later);
        assert_eq!(risk.reasons, [(Severity::Danger, "family: last backup is 40 h old".to_owned())]);
    }

    #[test]
    fn no_backup_is_never_ok() {
        let never = GuestFacts { last_backup: None, last_proven: None, ..guest() };
        let facts = Facts { guests: vec![never], ..Facts::default() };
        assert_eq!(assess(&seen(Some(&facts)), &limits(), at(60)).severity, Severity::Attention);
        let unproven = GuestFacts { last_proven: None, ..guest() };
        let facts = Facts { guests: vec![unproven], ..Facts::default() };
        assert_eq!(assess(&seen(Some(&facts)), &limits(), at(60)).severity, Severity::Attention);
    }

    #[test]
    fn an_audit_log_that_was_changed_or_is_not_told_is_a_danger() {
        let broken = Standing { problem: Some("it was forked".into()), ..FINE };
        let risk = assess(&Seen { audit: &broken, ..seen(None) }, &limits(), at(60));
        assert_eq!(risk.reasons, [(Severity::Danger, "it was forked".to_owned())]);
        let absent = Standing { absent: Some((at(0), "no end any more".into())), ..FINE };
        for (seconds, severity) in [(60, Severity::Attention), (601, Severity::Danger)] {
            let told = Seen { audit: &absent, last_seen: Some(at(seconds)), ..seen(None) };
            let risk = assess(&told, &limits(), at(seconds));
            assert_eq!(risk.severity, severity, "{risk:?}");
            assert!(risk.reasons[0].1.starts_with("no end any more (for"), "{risk:?}");
        }
    }

    #[test]
    fn a_hub_that_is_older_than_the_box_says_so() {
        let ahead = Seen { held: (Generation(5), None), ..seen(None) };
        let risk = assess(&ahead, &limits(), at(1));
        assert_eq!(risk.severity, Severity::Danger);
        assert!(risk.reasons[0].1.contains("older than the box"), "{risk:?}");
        let fork = Seen {
            held: (Generation(5), Some(Digest::of(b"a"))),
            set: (Generation(5), Some(Digest::of(b"b")), None),
            ..seen(None)
        };
        assert_eq!(assess(&fork, &limits(), at(1)).severity, Severity::Danger);
    }
}
