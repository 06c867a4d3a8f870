//! Issuing a challenge: what would happen to what, with what a person should know, signed by the box.

use felhom_gate::{Evidence, Requirement};
use felhom_journal::Operation as Journaled;
use felhom_model::operation::WayOut;
use felhom_model::{Digest, GuestUuid, Operation};
use felhom_signing::challenge::{Asked, CHALLENGE_VERSION, Challenge, Copy, Stakes, Target};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::targets;
use crate::audit::{Kind, Record};
use crate::ledger::ChallengeRow;
use crate::marks::from_journal;
use crate::observe::Seen;
use crate::request::{Chosen, Request, lines};
use crate::services::Services;
use crate::submit::SubmitError;

/// Open challenges of one kind about one guest, or about the box itself. Not of all kinds together: whoever may ask for one thing
/// could keep people from all others, also from leading on what stands.
const OPEN_AT_MOST: usize = 8;
/// Challenges of one operation after which no longer-lived one is given: nobody may keep it waiting for ever.
pub(super) const RENEWED_AT_MOST: usize = 8;

/// What a challenge is issued about.
pub(super) struct About<'a> {
    pub operation: &'a Operation,
    pub chosen: &'a Chosen,
    pub requirement: &'a Requirement,
    pub evidence: &'a Evidence,
    pub seen: &'a Seen,
    /// How long the challenge lives, milliseconds.
    pub lifetime_ms: u64,
}

impl About<'_> {
    /// The guest of the operation that is led on.
    fn led_on(&self) -> Option<GuestUuid> {
        let resolves = matches!(self.operation, Operation::ResolveOperation(_));
        self.chosen.other.filter(|_| resolves)
    }
}

impl Services {
    /// Issues a challenge for an operation that waits; an earlier one of it can no longer be answered.
    ///
    /// # Errors
    /// [`SubmitError::Malformed`] if the box is not enrolled, else what the ledger says.
    pub(super) fn issue(&self, op: &Journaled, about: &About<'_>) -> Result<ChallengeRow, SubmitError> {
        let now = self.consent_now().ok_or_else(|| {
            let text = "this box is not enrolled, so nobody can be asked for a signature; enrol it first";
            SubmitError::Malformed(text.to_owned())
        })?;
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let targets = targets(about.operation, about.chosen, about.seen);
        let wall = self.now();
        let lifetime = SignedDuration::from_millis(i64::try_from(about.lifetime_ms).unwrap_or(i64::MAX));
        let challenge = Challenge {
            v: CHALLENGE_VERSION,
            box_id: now.box_id,
            enrolment_epoch: now.enrolment_epoch,
            challenge_id: Digest::from_bytes(random),
            seq: self.ledger.next_challenge_seq()?,
            issued_at: wall,
            expires_at: wall.checked_add(lifetime).unwrap_or(Timestamp::MAX),
            boot_id: now.boot_id.clone(),
            operation: asked(op, about),
            evidence: stakes(about, &targets),
            targets,
            requires: about.requirement.any_of.clone(),
            operators_version: self.operators()?.map_or(0, |file| file.version()),
        };
        let signed = challenge.issue(&self.key).map_err(|e| SubmitError::Malformed(e.to_string()))?;
        let row = ChallengeRow {
            digest: Digest::of(&signed.bytes),
            operation: from_journal(op.id()),
            guest: about.operation.guest(),
            signed: signed.into(),
            issued_boottime_ms: now.boottime_ms,
            lifetime_ms: about.lifetime_ms,
            boot: now.boot_id,
            open: true,
        };
        let data = json!({
            "challenge": row.digest, "kind": about.operation.kind(), "requires": challenge.requires,
            "expires_at": challenge.expires_at,
        });
        let concerned = row.guest.or(about.led_on());
        self.audit(&Record::new(Kind::ChallengeIssued, data).of(row.operation, concerned))?;
        self.ledger.record_challenge(&row)?;
        tracing::info!(operation = %row.operation, challenge = %row.digest, "challenge issued");
        Ok(row)
    }

    /// Whether one more operation of this kind about this guest may wait for signatures.
    ///
    /// # Errors
    /// [`felhom_journal::StoreError`] if the ledger cannot be read.
    pub fn may_wait(&self, operation: &Operation) -> Result<bool, felhom_journal::StoreError> {
        let active = self.journal.active_operations();
        let of_kind = |id| {
            let mut found = active.iter().filter(|op| from_journal(op.id()) == id);
            found.any(|op| op.new.body.kind == operation.kind().name())
        };
        let open = self.ledger.open_challenges()?;
        let same = open.iter().filter(|row| row.guest == operation.guest() && of_kind(row.operation));
        Ok(same.count() < OPEN_AT_MOST)
    }
}

fn asked(op: &Journaled, about: &About<'_>) -> Asked {
    let request = Request::of(op).ok();
    Asked {
        id: from_journal(op.id()),
        kind: about.operation.kind(),
        params: request.as_ref().map(|r| r.params.clone()).unwrap_or_default(),
        asked_by: request.as_ref().map(|r| r.asked_by.clone()).unwrap_or_default(),
        reason: request.map(|r| r.reason).unwrap_or_default(),
        grace_s: about.requirement.grace_s,
    }
}

fn stakes(about: &About<'_>, targets: &[Target]) -> Stakes {
    let concerned = |guest| targets.iter().any(|target| target.uuid == Some(guest));
    let archives = about.seen.observed.archives.iter().filter(|archive| concerned(archive.guest));
    let removed = |volid| match about.operation {
        Operation::PruneBackups(ask) => ask.remove.contains(volid),
        _ => false,
    };
    let copies: Vec<_> = archives.filter(|archive| !removed(&archive.volid)).collect();
    Stakes {
        copies: copies
            .iter()
            .map(|archive| Copy {
                volid: archive.volid.clone(),
                taken_at: archive.taken_at,
                bytes: archive.bytes,
                proven: archive.is_proven(),
            })
            .collect(),
        last_proven_restore: copies.iter().filter_map(|a| a.proven).map(|(_, at)| at).max(),
        would_be_lost: lost(about.operation, targets),
        facts: lines(about.evidence),
    }
}

/// What cannot be had back afterwards, one line each.
fn lost(operation: &Operation, targets: &[Target]) -> Vec<String> {
    match operation {
        Operation::ReclaimGuest(_) => targets.iter().flat_map(volumes).collect(),
        Operation::PruneBackups(ask) => ask.remove.iter().map(|volid| format!("backup {volid}")).collect(),
        Operation::DiscardRestoredCopy(_) | Operation::DestroyScratch(_) => {
            targets.iter().flat_map(volumes).collect()
        }
        Operation::ResolveOperation(ask) => match ask.way {
            WayOut::RollBack => vec![format!("what operation {} made until now", ask.operation)],
            WayOut::Retry | WayOut::Accept => Vec::new(),
        },
        Operation::FormatDisk(_) => vec!["everything on the disk".to_owned()],
        Operation::ForgetKey(_) => vec!["what only this key opens".to_owned()],
        Operation::ProvisionGuest(_)
        | Operation::StartGuest(_)
        | Operation::StopGuest(_)
        | Operation::RebootGuest(_)
        | Operation::ConfigureGuest(_)
        | Operation::HealGuest(_)
        | Operation::BackupGuest(_)
        | Operation::RestoreGuest(_)
        | Operation::CutoverGuest(_)
        | Operation::ReverseCutoverGuest(_)
        | Operation::RetireGuest(_)
        | Operation::RestoreTest(_)
        | Operation::ClearStaleLock(_)
        | Operation::ClearLeftovers(_)
        | Operation::AttachDisk(_)
        | Operation::DetachDisk(_)
        | Operation::DecommissionDisk(_)
        | Operation::AssignDisk(_)
        | Operation::RotateBackupKey(_)
        | Operation::ReplaceRecoveryCode(_)
        | Operation::RotateOperators(_)
        | Operation::ChangeTunnel
        | Operation::UpdateHost(_)
        | Operation::UpdateController(_)
        | Operation::DeployApp(_)
        | Operation::UpdateApp(_)
        | Operation::OpenSupportAccess(_)
        | Operation::CollectDiagnostics(_) => Vec::new(),
    }
}

fn volumes(target: &Target) -> Vec<String> {
    target.volids.iter().map(|volid| format!("volume {volid} of {}", target.label)).collect()
}
