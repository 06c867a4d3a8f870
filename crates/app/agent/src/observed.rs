//! The executor's observation in the domain's words, for the planner. Pure.

use felhom_model::observed::{Golden, Observed};
use felhom_planner::schedule::Tested;
use felhom_protocol::executor::Observation;
use felhom_protocol::receipt::{Receipt, SignedReceipt};
use felhom_protocol::status::{Archive, Guest, Operation, Storage};

/// That Proxmox does not answer, and why, in words; `None` while it does.
pub(crate) fn silent(observation: &Observation) -> Option<String> {
    let why = observation.error.as_deref().unwrap_or("the executor gives no reason");
    (!observation.pve_reachable).then(|| format!("Proxmox does not answer: {why}"))
}

/// What the planner needs of an observation. A word that this version does not know counts as the most careful one.
pub(crate) fn observed(observation: &Observation) -> Observed {
    Observed {
        guests: observation.guests.iter().map(Guest::to_model).collect(),
        archives: observation
            .archives
            .iter()
            .filter(|archive| archive.present)
            .map(Archive::to_model)
            .collect(),
        storages: observation.storages.iter().map(Storage::to_model).collect(),
        golden: observation.golden.iter().map(golden).collect(),
        active: observation.active.iter().filter_map(Operation::to_active).collect(),
        used_names: observation.used_names.clone(),
    }
}

fn golden(golden: &felhom_protocol::executor::Golden) -> Golden {
    Golden { digest: golden.digest, release: golden.release, apps: golden.apps.clone(), bytes: golden.bytes }
}

/// Archives on which a restore test has come to a verdict. The signatures are the reader's matter, not the schedule's.
pub(crate) fn tested(receipts: &[SignedReceipt]) -> Vec<Tested> {
    let read = |signed: &SignedReceipt| serde_json::from_str::<Receipt>(&signed.document).ok();
    let verdict = |receipt: Receipt| Tested { archive: receipt.archive, at: receipt.started };
    receipts.iter().filter_map(read).map(verdict).collect()
}
