//! One file per row of the table. A row returns at its first objection, so its checks read from top to bottom.

mod backup;
mod configure;
mod cutover;
pub(crate) mod destroy;
mod disks;
mod keys;
mod leftovers;
mod operators;
mod power;
mod provision;
mod prune;
mod reclaim;
mod restore;
mod retire;
mod software;
mod support;

use crate::facts::{Facts, Seen, Stage, VmidFact, VmidRange};
use crate::verdict::{Evidence, Reason, Requirement};
use felhom_model::observed::{ObservedGuest, ObservedStorage, Power, Provenance, Purpose};
use felhom_model::{GuestUuid, Operation, OperationKind, StorageId};

/// What a row says when it does not object.
pub(crate) enum Passed {
    Allow(Reason),
    Needs(Requirement, Evidence),
}

pub(crate) type Judged = Result<Passed, Reason>;

pub(crate) fn judge(operation: &Operation, facts: &Facts) -> Judged {
    use Operation as O;
    match operation {
        O::ProvisionGuest(ask) => provision::judge(ask, facts),
        O::StartGuest(guest) => power::judge(power::Act::Start, *guest, facts),
        O::StopGuest(guest) => power::judge(power::Act::Stop, *guest, facts),
        O::RebootGuest(guest) => power::judge(power::Act::Reboot, *guest, facts),
        O::ConfigureGuest(ask) => configure::judge(ask, facts),
        O::HealGuest(guest) => power::judge_heal(*guest, facts),
        O::BackupGuest(ask) => backup::judge(ask, facts),
        O::RestoreGuest(ask) => restore::judge_copy(ask, facts),
        O::CutoverGuest(ask) => cutover::judge(ask, facts),
        O::ReverseCutoverGuest(guest) => cutover::judge_reverse(*guest, facts),
        O::RetireGuest(guest) => retire::judge(*guest, facts),
        O::ReclaimGuest(guest) => reclaim::judge(*guest, facts),
        O::RestoreTest(ask) => restore::judge_test(ask, facts),
        O::DiscardRestoredCopy(guest) => destroy::judge_copy(*guest, facts),
        O::DestroyScratch(guest) => destroy::judge_scratch(*guest, facts),
        O::ClearStaleLock(guest) => leftovers::judge_lock(*guest, facts),
        O::ClearLeftovers(guest) => leftovers::judge_leftovers(*guest, facts),
        O::PruneBackups(ask) => prune::judge(ask, facts),
        O::AttachDisk(disk) | O::DetachDisk(disk) | O::DecommissionDisk(disk) => {
            disks::judge_keeping(disk, facts)
        }
        O::AssignDisk(ask) => disks::judge_assign(ask, facts),
        O::FormatDisk(ask) => disks::judge_format(ask, facts),
        O::RotateBackupKey(guest) => keys::judge_rotate(*guest, facts),
        O::ForgetKey(ask) => keys::judge_forget(ask, facts),
        O::ReplaceRecoveryCode(guest) => keys::judge_recovery_code(*guest, facts),
        O::RotateOperators(ask) => operators::judge_rotation(ask, facts),
        O::ResolveOperation(ask) => operators::judge_resolve(ask, facts),
        O::ChangeTunnel => {
            let evidence = Evidence::new().with("operation", operation.kind());
            Ok(Passed::Allow(Reason::new("reversible", "a tunnel can be changed back at any time", evidence)))
        }
        O::UpdateHost(version) => software::judge_host(*version, facts),
        O::UpdateController(ask) => software::judge_controller(ask, facts),
        O::DeployApp(ask) | O::UpdateApp(ask) => software::judge_app(operation.kind(), ask, facts),
        O::OpenSupportAccess(guest) => support::judge_access(*guest, facts),
        O::CollectDiagnostics(guest) => support::judge_diagnostics(*guest, facts),
    }
}

/// What a person needs to find this guest.
pub(crate) fn about(guest: &ObservedGuest) -> Evidence {
    let mut evidence = Evidence::new();
    if let Some(uuid) = guest.uuid {
        evidence = evidence.with("guest", uuid);
    }
    evidence = evidence.with("vmid", guest.vmid);
    if let Some(name) = &guest.name {
        evidence = evidence.with("name", name);
    }
    let provenance = match guest.provenance {
        Provenance::Proven => "row and mark",
        Provenance::RowOnly => "row without mark",
        Provenance::MarkOnly => "mark without row",
        Provenance::None => "none",
    };
    evidence.with("purpose", guest.purpose.name()).with("provenance", provenance)
}

/// The one guest with this uuid, or a refusal.
pub(crate) fn find(uuid: GuestUuid, facts: &Facts) -> Result<&ObservedGuest, Reason> {
    let mut found = facts.observed.guests.iter().filter(|guest| guest.uuid == Some(uuid));
    let Some(guest) = found.next() else {
        let text = "no guest with this uuid is in the box's ledger";
        return Err(Reason::new("unknown_guest", text, Evidence::new().with("guest", uuid)));
    };
    if let Some(twin) = found.next() {
        let evidence = about(guest).with("also_at_vmid", twin.vmid);
        return Err(Reason::new(
            "two_guests_with_one_uuid",
            "it is not certain which guest is meant",
            evidence,
        ));
    }
    Ok(guest)
}

/// The one guest with this uuid, if it is a customer's and shown to be ours; `is_done` says what is done to such a one.
pub(crate) fn tenant<'a>(
    uuid: GuestUuid,
    is_done: &str,
    facts: &'a Facts,
) -> Result<&'a ObservedGuest, Reason> {
    of_a_customer(uuid, &[Purpose::Tenant], is_done, facts)
}

/// The same for a guest of one of these purposes.
pub(crate) fn of_a_customer<'a>(
    uuid: GuestUuid,
    purposes: &[Purpose],
    is_done: &str,
    facts: &'a Facts,
) -> Result<&'a ObservedGuest, Reason> {
    let guest = find(uuid, facts)?;
    if !purposes.contains(&guest.purpose) {
        let text = format!("only a customer's own guest {is_done}");
        return Err(Reason::new("not_a_tenant", text, about(guest)));
    }
    proven(guest)?;
    Ok(guest)
}

/// Provenance needs the ledger's row and the mark read back.
pub(crate) fn proven(guest: &ObservedGuest) -> Result<(), Reason> {
    match guest.provenance {
        Provenance::Proven => Ok(()),
        Provenance::RowOnly | Provenance::MarkOnly | Provenance::None => Err(Reason::new(
            "provenance_not_proven",
            "it is ours only if the ledger's row and the mark in its description agree",
            about(guest),
        )),
    }
}

/// It exists in Proxmox, which knows whether it runs.
pub(crate) fn present(guest: &ObservedGuest) -> Result<(), Reason> {
    match guest.power {
        Power::Running | Power::Stopped => Ok(()),
        Power::Missing => {
            Err(Reason::new("guest_missing", "the ledger has this guest, Proxmox has not", about(guest)))
        }
        Power::Unknown => {
            let text = "Proxmox does not know just now whether it runs; ask again in a moment";
            Err(Reason::new("power_unknown", text, about(guest)))
        }
    }
}

/// No task of Proxmox holds it.
pub(crate) fn unlocked(guest: &ObservedGuest) -> Result<(), Reason> {
    let Some(lock) = &guest.lock else { return Ok(()) };
    let text = format!("Proxmox holds the guest with lock `{lock}`; wait until that task is over");
    Err(Reason::new("guest_locked", text, about(guest).with("lock", lock)))
}

/// The storage, active, with room for `bytes` above the box's reserve.
pub(crate) fn room(id: &StorageId, bytes: u64, facts: &Facts) -> Result<Evidence, Reason> {
    let storage = active(id, facts)?;
    let evidence = Evidence::new()
        .with("storage", id)
        .with("free_bytes", storage.free)
        .with("projected_bytes", bytes)
        .with("reserve_bytes", facts.limits.reserve_bytes);
    if storage.free < bytes.saturating_add(facts.limits.reserve_bytes) {
        let text = "free space would fall below the box's reserve; free some space or use another storage";
        return Err(Reason::new("not_enough_space", text, evidence));
    }
    Ok(evidence)
}

/// The storage, if the box knows it and Proxmox can use it now.
pub(crate) fn active<'a>(id: &StorageId, facts: &'a Facts) -> Result<&'a ObservedStorage, Reason> {
    let evidence = Evidence::new().with("storage", id);
    let Some(storage) = facts.observed.storages.iter().find(|storage| storage.id == *id) else {
        let text = "the box's own configuration does not list this storage";
        return Err(Reason::new("unknown_storage", text, evidence));
    };
    if !storage.active {
        return Err(Reason::new("storage_not_active", "Proxmox cannot use this storage now", evidence));
    }
    Ok(storage)
}

/// A fact that may be missing at the beginning, and must be known right before the act.
pub(crate) fn seen<'a, T>(fact: &'a Seen<T>, name: &str, stage: Stage) -> Result<Option<&'a T>, Reason> {
    match (fact, stage) {
        (Seen::Is(value), Stage::Begin | Stage::Resume | Stage::BeforeAct) => Ok(Some(value)),
        (Seen::NotYet, Stage::Begin | Stage::Resume) => Ok(None),
        (Seen::NotYet, Stage::BeforeAct) => Err(not_observed(name)),
    }
}

/// The refusal for a fact that the row needs and did not get.
pub(crate) fn not_observed(name: &str) -> Reason {
    let text = "a fact that this operation is judged by was not observed";
    Reason::new("fact_not_observed", text, Evidence::new().with("fact", name))
}

/// The VMID is in the range of the purpose, free, and nobody's backups lie under it.
pub(crate) fn free_vmid(fact: &Seen<VmidFact>, range: VmidRange, stage: Stage) -> Result<(), Reason> {
    let Some(fact) = seen(fact, "vmid", stage)? else { return Ok(()) };
    let evidence = Evidence::new().with("vmid", fact.vmid).with("range", range);
    if !range.contains(fact.vmid) {
        let text = "the VMID lies outside the range of its purpose";
        return Err(Reason::new("vmid_out_of_range", text, evidence));
    }
    if fact.taken {
        return Err(Reason::new(
            "vmid_taken",
            "a guest stands at this VMID; nothing is ever restored over it",
            evidence,
        ));
    }
    if fact.archives_under_it > 0 {
        let text = "a storage still holds backups under this VMID, so it is not used again";
        return Err(Reason::new("vmid_has_backups", text, evidence.with("archives", fact.archives_under_it)));
    }
    Ok(())
}

/// Nothing in the archive's configuration but what the allow-list names.
pub(crate) fn allowed_config(fact: &Seen<Vec<String>>, stage: Stage) -> Result<(), Reason> {
    let Some(lines) = seen(fact, "archive_config", stage)? else { return Ok(()) };
    let Some(first) = lines.first() else { return Ok(()) };
    let text =
        format!("a restore would take over `{first}` from the archive, which is not on the allow-list");
    let evidence = Evidence::new().with("lines", lines.len()).with("first", first);
    Err(Reason::new("archive_config_not_allowed", text, evidence))
}

/// Operations of `kind` that are not over and were begun before the one that is judged: of two, the older one goes on.
pub(crate) fn older_active(kind: OperationKind, facts: &Facts) -> usize {
    let older = |id| id < facts.within;
    facts.observed.active.iter().filter(|active| active.kind == kind && older(active.id)).count()
}
