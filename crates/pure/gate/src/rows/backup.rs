//! `backup_guest`: only adds, so allowed to a target that the box itself knows and that has room, not too often.

use super::{Judged, Passed, about, active, not_observed, of_a_customer, present, room, seen, unlocked};
use crate::facts::{BackupFacts, Concerning, Facts, TargetKind};
use crate::verdict::{Evidence, Reason};
use felhom_model::observed::Purpose;
use felhom_model::operation::Backup;
use jiff::SignedDuration;

pub(crate) fn judge(ask: &Backup, facts: &Facts) -> Judged {
    let Concerning::Backup(target) = &facts.concerning else { return Err(not_observed("backup")) };
    let guest = of_a_customer(ask.guest, &[Purpose::Tenant, Purpose::Tombstone], "is backed up", facts)?;
    present(guest)?;
    unlocked(guest)?;
    usable_target(ask, target, facts)?;
    not_too_often(target, facts).map_err(|(text, evidence)| {
        let all = evidence.iter().fold(about(guest), |all, (key, value)| all.with(key, value));
        Reason::new("too_soon", text, all)
    })?;
    Ok(Passed::Allow(Reason::new(
        "only_adds",
        "an archive is added",
        about(guest).with("target", &ask.target),
    )))
}

fn usable_target(ask: &Backup, target: &BackupFacts, facts: &Facts) -> Result<(), Reason> {
    let storage = active(&ask.target, facts)?;
    let evidence = Evidence::new().with("target", &ask.target);
    if !storage.is_target {
        let text =
            "the box's own record does not list this storage as a target; desired state may only name one";
        return Err(Reason::new("not_a_target", text, evidence));
    }
    match target.target_kind {
        TargetKind::Directory => {}
        TargetKind::OffTheBox => {
            return Err(Reason::new("not_built_yet", "targets off the box are not built yet", evidence));
        }
    }
    let full = u128::from(storage.total) * u128::from(facts.limits.target_full_percent);
    if u128::from(storage.total.saturating_sub(storage.free)) * 100 >= full {
        let evidence = evidence.with("free_bytes", storage.free).with("total_bytes", storage.total);
        let text = format!("the target is {} % full or more", facts.limits.target_full_percent);
        return Err(Reason::new("target_full", text, evidence));
    }
    room(&ask.target, target.projected_bytes, facts)?;
    match seen(&target.foreign_settings, "vzdump_defaults", facts.stage)?.and_then(|lines| lines.first()) {
        None => Ok(()),
        Some(line) => {
            let text = format!(
                "the host's backup settings would change or remove our archives unseen; change `{line}`"
            );
            Err(Reason::new("foreign_host_setting", text, evidence.with("setting", line)))
        }
    }
}

/// A clock that went back does not stop backups: only a real time in between counts.
fn not_too_often(target: &BackupFacts, facts: &Facts) -> Result<(), (String, Evidence)> {
    let Some(last) = target.last_success else { return Ok(()) };
    if target.last_stopped.is_some_and(|stopped| stopped > last) {
        return Ok(());
    }
    let elapsed = facts.now.duration_since(last);
    if elapsed < SignedDuration::ZERO || elapsed >= facts.limits.backup_interval {
        return Ok(());
    }
    let wait = facts.limits.backup_interval - elapsed;
    let text = format!(
        "the last backup to this target succeeded less than {} s ago; wait {} s",
        facts.limits.backup_interval.as_secs(),
        wait.as_secs().max(1)
    );
    Err((text, Evidence::new().with("last_success", last).with("now", facts.now)))
}
