//! `restore_guest` and `restore_test`: always into a new VMID, from an archive that is proven to be ours beforehand.

use super::{Judged, Passed, about, allowed_config, free_vmid, not_observed, older_active, room, seen};
use crate::facts::{Concerning, Facts, RestoreFacts};
use crate::verdict::{Evidence, Reason};
use felhom_model::observed::{ObservedGuest, Purpose};
use felhom_model::operation::{Restore, RestoreTest};
use felhom_model::{GuestUuid, OperationKind, Volid};

pub(crate) fn judge_copy(ask: &Restore, facts: &Facts) -> Judged {
    let Concerning::Restore(source) = &facts.concerning else { return Err(not_observed("restore")) };
    let evidence = ours(ask.guest, ask.archive.as_ref(), source, facts)?;
    let copies = |guest: &&ObservedGuest| {
        guest.purpose == Purpose::Copy && guest.restored_from.is_none_or(|from| from == ask.guest)
    };
    slot_is_free("one_copy_per_guest", "there is already a restored copy of this guest", copies, facts)?;
    let another = facts.observed.active.iter().any(|active| {
        active.kind == OperationKind::RestoreGuest
            && active.guest == Some(ask.guest)
            && active.id < facts.within
    });
    if another {
        let text = "another restore of this guest is under way";
        return Err(Reason::new("one_copy_per_guest", text, evidence));
    }
    free_vmid(&source.vmid, facts.limits.vmids.copies, facts.stage)?;
    with_room(source, facts, evidence)
}

pub(crate) fn judge_test(ask: &RestoreTest, facts: &Facts) -> Judged {
    let Concerning::Restore(source) = &facts.concerning else { return Err(not_observed("restore")) };
    let evidence = ours(ask.guest, ask.archive.as_ref(), source, facts)?;
    let scratch = |guest: &&ObservedGuest| guest.purpose == Purpose::Scratch;
    slot_is_free("one_scratch_per_host", "there is already a scratch guest on this box", scratch, facts)?;
    if older_active(OperationKind::RestoreTest, facts) > 0 {
        let text = "another restore test is under way";
        return Err(Reason::new("one_scratch_per_host", text, evidence));
    }
    free_vmid(&source.vmid, facts.limits.vmids.scratch, facts.stage)?;
    with_room(source, facts, evidence)
}

/// Row and notes name the guest, and the bytes are the recorded ones before anything unpacks them.
fn ours(
    guest: GuestUuid,
    asked: Option<&Volid>,
    source: &RestoreFacts,
    facts: &Facts,
) -> Result<Evidence, Reason> {
    let evidence = Evidence::new().with("guest", guest).with("archive", &source.archive);
    if let Some(asked) = asked.filter(|asked| **asked != source.archive) {
        let text = "the archive at hand is not the one that was asked for";
        return Err(Reason::new("other_archive", text, evidence.with("wanted", asked)));
    }
    let Some(row) = facts.observed.archives.iter().find(|archive| archive.volid == source.archive) else {
        let text = "the ledger does not have this archive, or it is not there any more";
        return Err(Reason::new("archive_not_in_ledger", text, evidence));
    };
    if row.guest != guest {
        // Whose it is stays untold: the answer may reach a guest.
        let text = "the ledger's row of this archive does not name this guest";
        return Err(Reason::new("archive_of_another_guest", text, evidence));
    }
    if seen(&source.notes_guest, "archive_notes", facts.stage)?.is_some_and(|named| *named != guest) {
        let text = "the archive's notes do not name this guest";
        return Err(Reason::new("archive_of_another_guest", text, evidence));
    }
    let evidence = evidence.with("recorded_digest", row.digest);
    if let Some(observed) = seen(&source.digest, "digest", facts.stage)?.filter(|seen| **seen != row.digest) {
        let text =
            "the archive's bytes are not those that were recorded when it was made; nothing was unpacked";
        return Err(Reason::new("digest_differs", text, evidence.with("observed_digest", observed)));
    }
    allowed_config(&source.forbidden_config, facts.stage)?;
    Ok(evidence)
}

fn slot_is_free(
    code: &'static str,
    text: &str,
    takes_slot: impl Fn(&&ObservedGuest) -> bool,
    facts: &Facts,
) -> Result<(), Reason> {
    let mut others = facts.observed.guests.iter().filter(|guest| guest.made_by != Some(facts.within));
    match others.find(takes_slot) {
        None => Ok(()),
        Some(other) => Err(Reason::new(code, text, about(other))),
    }
}

fn with_room(source: &RestoreFacts, facts: &Facts, evidence: Evidence) -> Judged {
    let space = room(&source.storage, source.projected_bytes, facts)?;
    let evidence = space.iter().fold(evidence, |all, (key, value)| all.with(key, value));
    let text = "an archive of ours into a new VMID; nothing that stands is touched";
    Ok(Passed::Allow(Reason::new("own_archive_beside", text, evidence)))
}
