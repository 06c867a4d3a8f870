//! The executor's observation in the domain's words, for the planner. Pure.

use felhom_model::backup::Archive;
use felhom_model::observed::{
    ActiveOperation, Golden, Observed, ObservedGuest, ObservedStorage, Power, Provenance, Purpose,
};
use felhom_model::operation::Limits;
use felhom_planner::schedule::Tested;
use felhom_protocol::executor::Observation;
use felhom_protocol::receipt::{Receipt, SignedReceipt};
use felhom_protocol::status;

/// What the planner needs of an observation. A word that this version does not know counts as the most careful one.
pub(crate) fn observed(observation: &Observation) -> Observed {
    Observed {
        guests: observation.guests.iter().map(guest).collect(),
        archives: observation.archives.iter().filter(|archive| archive.present).map(archive).collect(),
        storages: observation.storages.iter().map(storage).collect(),
        golden: observation.golden.iter().map(golden).collect(),
        active: observation.active.iter().filter_map(active).collect(),
        used_names: observation.used_names.clone(),
    }
}

fn guest(guest: &status::Guest) -> ObservedGuest {
    let purposes = [Purpose::Tenant, Purpose::Copy, Purpose::Scratch, Purpose::Tombstone];
    let purpose = purposes.into_iter().find(|purpose| purpose.name() == guest.purpose);
    ObservedGuest {
        uuid: guest.uuid,
        vmid: guest.vmid,
        name: guest.name.clone(),
        purpose: purpose.unwrap_or(Purpose::Foreign),
        provenance: match guest.provenance.as_str() {
            "proven" => Provenance::Proven,
            "row_only" => Provenance::RowOnly,
            "mark_only" => Provenance::MarkOnly,
            _ => Provenance::None,
        },
        power: match guest.power.as_str() {
            "running" => Power::Running,
            "stopped" => Power::Stopped,
            _ => Power::Missing,
        },
        lock: guest.lock.clone(),
        protection: guest.protection,
        limits: Limits { cores: guest.cores, memory_mib: guest.memory_mib, swap_mib: guest.swap_mib },
        disk_gib: None,
        apps: guest.apps.clone(),
        made_by: guest.made_by,
        restored_from: guest.restored_from,
    }
}

fn archive(archive: &status::Archive) -> Archive {
    Archive {
        volid: archive.volid.clone(),
        guest: archive.guest,
        operation: archive.operation,
        target: archive.target.clone(),
        taken_at: archive.taken_at,
        bytes: archive.bytes,
        digest: archive.digest,
        consistency: archive.consistency,
        proven: archive.proven_level.zip(archive.proven_at),
    }
}

fn storage(storage: &status::Storage) -> ObservedStorage {
    ObservedStorage {
        id: storage.id.clone(),
        active: storage.active,
        free: storage.free,
        total: storage.total,
        is_target: storage.is_target,
    }
}

fn golden(golden: &felhom_protocol::executor::Golden) -> Golden {
    Golden { digest: golden.digest, release: golden.release, apps: golden.apps.clone(), bytes: golden.bytes }
}

fn active(operation: &status::Operation) -> Option<ActiveOperation> {
    let kind = operation.kind.parse().ok()?;
    let guest = operation.guest;
    Some(ActiveOperation { id: operation.id, kind, guest, name: operation.guest_name.clone() })
}

/// Archives on which a restore test has come to a verdict. The signatures are the reader's matter, not the schedule's.
pub(crate) fn tested(receipts: &[SignedReceipt]) -> Vec<Tested> {
    let read = |signed: &SignedReceipt| serde_json::from_str::<Receipt>(&signed.document).ok();
    let verdict = |receipt: Receipt| Tested { archive: receipt.archive, at: receipt.started };
    receipts.iter().filter_map(read).map(verdict).collect()
}
