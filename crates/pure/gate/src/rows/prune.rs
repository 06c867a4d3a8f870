//! `prune_backups`: what retention no longer keeps goes, above the box's own floors.
//!
//! Never a protected one, never the last, and nothing while the newest one looks as if something had eaten the data. Below
//! a floor, or without a newer proven copy, an operator has to agree.

use super::{Judged, Passed, active, not_observed};
use crate::facts::{Concerning, Facts, PruneFacts};
use crate::verdict::{Evidence, Reason, Requirement};
use felhom_model::backup::Archive;
use felhom_model::operation::Prune;
use jiff::SignedDuration;

pub(crate) fn judge(ask: &Prune, facts: &Facts) -> Judged {
    let Concerning::Prune(about) = &facts.concerning else { return Err(not_observed("prune")) };
    active(&ask.target, facts)?;
    let mut all: Vec<&Archive> = facts.observed.archives.iter().collect();
    all.retain(|archive| archive.guest == ask.guest && archive.target == ask.target);
    all.sort_by_key(|archive| archive.taken_at);
    let (remove, keep): (Vec<_>, Vec<_>) =
        all.iter().partition(|archive| ask.remove.contains(&archive.volid));
    let evidence = Evidence::new()
        .with("guest", ask.guest)
        .with("target", &ask.target)
        .with("remove", ask.remove.len())
        .with("keep", keep.len());
    known(ask, &remove, about, &evidence)?;
    if keep.is_empty() {
        return Err(Reason::new("last_backup", "the last backup on a target is never removed", evidence));
    }
    unsuspicious(&all, about, facts, &evidence)?;
    match objection(&all, (&remove, &keep), facts) {
        None => {
            let text = "above the box's floors, with a newer proven copy left";
            Ok(Passed::Allow(Reason::new("retention", text, evidence)))
        }
        Some(why) => Ok(Passed::Needs(Requirement::operator(why), evidence)),
    }
}

fn known(ask: &Prune, remove: &[&Archive], about: &PruneFacts, evidence: &Evidence) -> Result<(), Reason> {
    let refuse =
        |code, text, archive| Err(Reason::new(code, text, evidence.clone().with("archive", archive)));
    if ask.remove.is_empty() {
        return Err(Reason::new("nothing_to_remove", "no archive is named", evidence.clone()));
    }
    for wanted in &ask.remove {
        if !remove.iter().any(|archive| archive.volid == *wanted) {
            return refuse(
                "archive_not_in_ledger",
                "the ledger has no such backup of this guest there",
                wanted,
            );
        }
        if about.protected.contains(wanted) {
            return refuse("protected", "a protected backup is never removed", wanted);
        }
    }
    Ok(())
}

fn objection(all: &[&Archive], (remove, keep): (&[&Archive], &[&Archive]), facts: &Facts) -> Option<String> {
    let limits = &facts.limits;
    if keep.len() < limits.keep_backups as usize {
        return Some(format!("fewer than {} backups would stay", limits.keep_backups));
    }
    if spread(keep) < limits.keep_spread.min(spread(all)) {
        let hours = limits.keep_spread.as_hours();
        return Some(format!("the backups that stay would lie less than {hours} h apart"));
    }
    let newer_proof =
        |old: &Archive| keep.iter().any(|kept| kept.taken_at > old.taken_at && kept.is_proven());
    if let Some(old) = remove.iter().find(|old| !newer_proof(old)) {
        return Some(format!("no newer proven backup than {} would stay", old.volid));
    }
    None
}

/// Something may have eaten or encrypted the data: nothing older goes then, whoever signs. The next backup of a usual size
/// ends it.
fn unsuspicious(
    all: &[&Archive],
    about: &PruneFacts,
    facts: &Facts,
    evidence: &Evidence,
) -> Result<(), Reason> {
    let refuse = |text: &str, evidence| Err(Reason::new("newest_backup_abnormal", text, evidence));
    if let [.., before, newest] = all
        && u128::from(newest.bytes) * 100 < u128::from(before.bytes) * u128::from(facts.limits.shrunk_percent)
    {
        let evidence = evidence.clone().with("newest_bytes", newest.bytes).with("before_bytes", before.bytes);
        return refuse(
            "the newest backup is much smaller than the one before it; nothing is removed",
            evidence,
        );
    }
    if about.churned {
        return refuse(
            "much more than usual changed before the newest backup; nothing is removed",
            evidence.clone(),
        );
    }
    Ok(())
}

fn spread(archives: &[&Archive]) -> SignedDuration {
    match (archives.first(), archives.last()) {
        (Some(oldest), Some(newest)) => newest.taken_at.duration_since(oldest.taken_at),
        (None, _) | (_, None) => SignedDuration::ZERO,
    }
}
