//! The table once more, as coarsely as can be: what may happen at all though nobody consented.
//!
//! Written from the table, without the gate's code and helpers: for each kind the least that must be true. The gate may
//! refuse more than this, never allow more.

use crate::build::{at, op, store, uuid};
use felhom_gate::*;
use felhom_model::backup::{Archive, Level};
use felhom_model::observed::*;
use felhom_model::operation::*;

/// Whether the table lets `operation` happen now without anybody's consent.
pub(crate) fn nobody_need_consent(operation: &Operation, facts: &Facts) -> bool {
    use OperationKind as K;
    let last_chance = facts.stage == Stage::BeforeAct;
    match (operation.kind(), &facts.concerning) {
        // Destroys, overwrites, or changes which data a customer sees: never.
        (
            K::CutoverGuest
            | K::ReverseCutoverGuest
            | K::RetireGuest
            | K::ReclaimGuest
            | K::FormatDisk
            | K::ForgetKey
            | K::ReplaceRecoveryCode
            | K::ResolveOperation
            | K::OpenSupportAccess,
            _,
        ) => false,
        (K::ChangeTunnel, _) => true,
        (K::ProvisionGuest, Concerning::Provision(about)) => {
            let golden = facts.observed.golden.iter().any(|golden| {
                golden.digest == about.golden
                    && (known(&about.digest) == Some(&golden.digest) || !last_chance)
            });
            let others = facts
                .observed
                .guests
                .iter()
                .filter(|guest| guest.purpose == Purpose::Tenant && guest.made_by != Some(op(1000)));
            golden
                && free(&about.vmid, 2000, 2799, last_chance)
                && others.count() < facts.limits.max_guests as usize
        }
        (K::StartGuest | K::RebootGuest, _) => the_guest(operation, facts, |guest| {
            guest.lock.is_none()
                && (guest.purpose == Purpose::Tenant
                    || matches!(guest.purpose, Purpose::Copy | Purpose::Scratch)
                        && guest.made_by == Some(op(1000)))
        }),
        (K::StopGuest, _) => the_guest(operation, facts, |guest| guest.purpose != Purpose::Foreign),
        (K::ConfigureGuest, about) => {
            let Operation::ConfigureGuest(ask) = operation else { return false };
            let fits = |guest: &ObservedGuest| {
                let more = match (ask.disk_gib, guest.disk_gib) {
                    (Some(wanted), Some(now)) => u64::from(wanted.saturating_sub(now)) << 30,
                    _ => 0,
                };
                let holds = |st: &ObservedStorage| {
                    let Concerning::Grow { storage } = about else { return false };
                    let reserve = facts.limits.reserve_bytes;
                    st.id == *storage
                        && st.free >= more + reserve
                        && st.total >= (u64::from(ask.disk_gib.unwrap_or(0)) << 30) + reserve
                };
                guest.purpose == Purpose::Tenant && (more == 0 || facts.observed.storages.iter().any(holds))
            };
            the_guest(operation, facts, fits)
        }
        (K::HealGuest | K::CollectDiagnostics, _) => {
            the_guest(operation, facts, |guest| guest.purpose == Purpose::Tenant)
                && !matches!(facts.concerning, Concerning::Diagnostics { beyond_allow_list: true })
        }
        (K::BackupGuest, Concerning::Backup(about)) => {
            let reserved = |st: &ObservedStorage| {
                u128::from(st.free)
                    >= u128::from(about.projected_bytes) + u128::from(facts.limits.reserve_bytes)
            };
            about.target_kind == TargetKind::Directory
                && facts.observed.storages.iter().any(|st| st.id == store() && reserved(st))
                && the_guest(operation, facts, |guest| {
                    matches!(guest.purpose, Purpose::Tenant | Purpose::Tombstone)
                })
        }
        (K::RestoreGuest, Concerning::Restore(about)) => restored(about, 2800, 2899, facts),
        (K::RestoreTest, Concerning::Restore(about)) => restored(about, 2900, 2999, facts),
        (K::DestroyScratch, Concerning::Destroy(volumes)) => {
            only_own(operation, Purpose::Scratch, volumes, facts)
        }
        (K::DiscardRestoredCopy, Concerning::Discard { volumes, served }) => {
            !served && only_own(operation, Purpose::Copy, volumes, facts)
        }
        (K::ClearStaleLock | K::ClearLeftovers, Concerning::Leftovers(left)) => {
            let half = |guest: &ObservedGuest| {
                let unlocked = matches!(guest.lock.as_deref(), None | Some("destroyed"));
                let known = left.unmarked == Unmarked::WhileDestroyed && unlocked
                    || left.unmarked == Unmarked::WhileMade && guest.made_by == left.maker;
                guest.provenance == Provenance::RowOnly && known
            };
            let ours = |guest: &ObservedGuest| {
                guest.uuid == Some(uuid(1))
                    && guest.purpose != Purpose::Foreign
                    && (guest.provenance == Provenance::Proven || half(guest))
            };
            left.maker.is_some()
                && left.task_over
                && left.running_tasks.is_empty()
                && left.parts.iter().all(|part| part.own)
                && facts.observed.guests.iter().any(ours)
        }
        (K::PruneBackups, Concerning::Prune(about)) => pruned(operation, about, facts),
        (K::AttachDisk | K::DetachDisk | K::DecommissionDisk, Concerning::Disk(disk)) => {
            disk.consumers.is_empty() && !disk.of_the_host
        }
        (K::AssignDisk, Concerning::Disk(disk)) => {
            let meant = [disk.formatted_for, disk.marker_names].contains(&Some(uuid(1)));
            let others = [disk.formatted_for, disk.marker_names, disk.assigned_to].contains(&Some(uuid(2)));
            meant && !others && disk.consumers.is_empty() && !disk.of_the_host
        }
        (K::RotateBackupKey, Concerning::Key(key)) => {
            (known(&key.envelope_read_back) == Some(&true) || !last_chance)
                && the_guest(operation, facts, |guest| guest.purpose == Purpose::Tenant)
        }
        // Its signatures are in the document, and its grace has to pass.
        (K::RotateOperators, Concerning::Rotation(about)) => {
            about.signed && about.version == about.current + 1
        }
        (K::UpdateHost | K::UpdateController, Concerning::Release(release)) => {
            release.signed && release.version >= release.floor && !release.past_no_return
        }
        (K::DeployApp | K::UpdateApp, Concerning::App(app)) => {
            app.signed
                && app.installed.is_some_and(|old| app.serial >= old)
                && !app.new_source
                && !app.value_from_hub
        }
        // A row without its facts.
        (_, _) => false,
    }
}

fn known<T>(fact: &Seen<T>) -> Option<&T> {
    match fact {
        Seen::Is(value) => Some(value),
        Seen::NotYet => None,
    }
}

fn free(fact: &Seen<VmidFact>, first: u32, last: u32, last_chance: bool) -> bool {
    let good = |fact: &VmidFact| {
        (first..=last).contains(&u32::from(fact.vmid)) && !fact.taken && fact.archives_under_it == 0
    };
    known(fact).map_or(!last_chance, good)
}

/// There is exactly one, row and mark agree, and it is of the right sort.
fn the_guest(operation: &Operation, facts: &Facts, sort: impl Fn(&ObservedGuest) -> bool) -> bool {
    let all: Vec<_> = facts.observed.guests.iter().filter(|guest| guest.uuid == operation.guest()).collect();
    matches!(all[..], [one] if one.provenance == Provenance::Proven && sort(one))
}

fn only_own(operation: &Operation, purpose: Purpose, volumes: &DestroyFacts, facts: &Facts) -> bool {
    volumes.referenced.iter().all(|volid| volumes.made.contains(volid))
        && the_guest(operation, facts, |guest| guest.purpose == purpose && !guest.protection)
}

fn restored(about: &RestoreFacts, first: u32, last: u32, facts: &Facts) -> bool {
    let last_chance = facts.stage == Stage::BeforeAct;
    let ours = |row: &Archive| {
        row.volid == about.archive
            && row.guest == uuid(1)
            && known(&about.digest).map_or(!last_chance, |digest| *digest == row.digest)
            && known(&about.notes_guest).map_or(!last_chance, |guest| *guest == uuid(1))
    };
    facts.observed.archives.iter().any(ours) && free(&about.vmid, first, last, last_chance)
}

fn pruned(operation: &Operation, about: &PruneFacts, facts: &Facts) -> bool {
    let Operation::PruneBackups(ask) = operation else { return false };
    let proven = |archive: &Archive| matches!(archive.proven, Some((Level::L3 | Level::L4, _)));
    let stay: Vec<_> =
        facts.observed.archives.iter().filter(|one| !ask.remove.contains(&one.volid)).collect();
    let newest_proof = stay.iter().filter(|one| proven(one)).map(|one| one.taken_at).max();
    let newest_gone = facts
        .observed
        .archives
        .iter()
        .filter(|one| ask.remove.contains(&one.volid))
        .map(|one| one.taken_at)
        .max();
    let times = || facts.observed.archives.iter().map(|one| one.taken_at);
    let all_apart = times().max().unwrap_or(at(0)).duration_since(times().min().unwrap_or(at(0)));
    let apart = stay.iter().flat_map(|a| stay.iter().map(|b| a.taken_at.duration_since(b.taken_at))).max();
    !about.churned
        && !about.protected.iter().any(|one| ask.remove.contains(one))
        && stay.len() >= facts.limits.keep_backups.max(1) as usize
        && newest_gone.is_some()
        && newest_proof > newest_gone
        && apart.is_some_and(|apart| apart >= facts.limits.keep_spread || apart == all_apart)
}
