//! What must hold after each event, and what must have come about in the end. It asks host, executor and hub from outside.

use std::collections::{BTreeMap, BTreeSet};

use felhom_model::{OperationId, OperationState};
use felhom_protocol::hub_sync::FINAL_JOB_STATES;
use felhom_protocol::status::{Guest, Operation};
use felhom_signing::challenge::Challenge;
use serde_json::Value;

use crate::host::NOTES;
use crate::world::{BOX, World, runs};

/// Events that a hub records when a box's past changed. None of them may come: nobody's database was lost.
const FORKED: [&str; 5] = [
    "audit_log_broken",
    "audit_head_forged",
    "database_older_than_box",
    "generation_fork",
    "box_generation_fell",
];

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Tenants that stood complete: their VMID.
    tenants: BTreeSet<u32>,
    /// Archives that were complete.
    archives: BTreeSet<String>,
    /// What was signed: the operation, and the VMIDs that its challenge names.
    signed: BTreeMap<OperationId, BTreeSet<u32>>,
    /// Lines of the host's list of what is gone that were judged.
    judged: usize,
    /// Operations that were over at the last look.
    over: usize,
}

impl Judge {
    /// How the operations stand, in the same words in each run of a seed.
    pub(crate) fn shown(&self, operations: &[Operation]) -> String {
        let (over, open): (Vec<_>, Vec<_>) = operations.iter().partition(|op| op.state.is_final());
        let mut words: Vec<String> = open.iter().map(|op| format!("{} {}", op.kind, op.state)).collect();
        words.sort();
        words.push(format!("{} over", over.len()));
        words.join(", ")
    }

    /// The operator signed.
    pub(crate) fn signed(&mut self, challenge: &[u8]) {
        let challenge: Challenge = serde_json::from_slice(challenge).unwrap();
        let vmids = challenge.targets.iter().filter_map(|target| target.vmid).map(u32::from);
        self.signed.entry(challenge.operation.id).or_default().extend(vmids);
    }

    /// What is wrong now.
    pub(crate) fn look(&mut self, world: &World, operations: &[Operation]) -> Vec<String> {
        let mut found = once_each(operations);
        self.gone(world, operations, &mut found);
        self.learn(world, operations);
        for vmid in self.tenants.iter().filter(|vmid| !self.may_go(**vmid, operations)) {
            if world.host.notes(*vmid).as_deref() != Some(NOTES.1) {
                found.push(format!("the notes of tenant {vmid} are not complete"));
            }
        }
        for op in operations.iter().filter(|op| needs_people(&op.kind) && op.state == OperationState::Done) {
            if !self.signed.contains_key(&op.id) {
                found.push(format!("{} {} is done and nobody signed for it", op.kind, op.id));
            }
        }
        found
    }

    /// Whether somebody signed that this guest is reclaimed.
    fn may_go(&self, vmid: u32, operations: &[Operation]) -> bool {
        let of_it = |op: &Operation| self.signed.get(&op.id).is_some_and(|vmids| vmids.contains(&vmid));
        operations.iter().any(|op| op.kind == "reclaim_guest" && of_it(op))
    }

    /// What the host destroyed since the last look.
    fn gone(&mut self, world: &World, operations: &[Operation], found: &mut Vec<String>) {
        let destroyed = world.host.destroyed();
        for (what, id) in &destroyed[self.judged..] {
            let Some(vmid) = self.tenants.iter().find(|vmid| of_guest(id, **vmid)) else { continue };
            let name = id.rsplit('/').next().unwrap_or_default();
            let excused = match what.as_str() {
                "snapshot" => true,
                // What a backup that was taken back had written.
                "file" => !self.archives.iter().any(|volid| volid.ends_with(name)),
                _ => self.may_go(*vmid, operations),
            };
            if !excused {
                found.push(format!("{what} {id} of tenant {vmid} is gone and nobody signed for it"));
            }
        }
        self.judged = destroyed.len();
    }

    /// Which tenants and archives are complete; the host is asked only when that may have changed.
    fn learn(&mut self, world: &World, operations: &[Operation]) {
        let over = operations.iter().filter(|op| op.state.is_final()).count();
        if std::mem::replace(&mut self.over, over) == over {
            return;
        }
        let seen = world.runtime.block_on(world.client.observation()).unwrap();
        self.archives.extend(seen.archives.iter().map(|archive| archive.volid.to_string()));
        let made = |op: &Operation| op.kind == "provision_guest" && op.state == OperationState::Done;
        let by = |guest: &&Guest| operations.iter().any(|op| guest.made_by == Some(op.id) && made(op));
        self.tenants.extend(seen.guests.iter().filter(by).map(|guest| u32::from(guest.vmid)));
    }

    /// What has not come about yet.
    pub(crate) fn missing(&self, world: &World, wanted: &[Value]) -> Vec<String> {
        let detail = world.get(&format!("/boxes/{BOX}"));
        let mut missing = Vec::new();
        for op in world.operations().iter().filter(|op| runs(op.state)) {
            missing.push(format!("{} {} is {}", op.kind, op.id, op.state));
        }
        let [set, held] =
            ["generation", "observed_generation"].map(|generation| detail[generation].as_u64().unwrap());
        if set != held {
            missing.push(format!("generation {set} was set, the box holds {held}"));
        }
        for job in detail["jobs"].as_array().unwrap() {
            let state = job["state"].as_str().unwrap();
            let over = FINAL_JOB_STATES.contains(&state) || state == "pending_authorization";
            if !over {
                missing.push(format!("job {} is {state}: {}", job["kind"], job["message"]));
            }
        }
        let seen = world.runtime.block_on(world.client.observation()).unwrap();
        for guest in wanted.iter().filter(|guest| guest["state"] != "retired") {
            let name = guest["name"].as_str().unwrap();
            let there =
                seen.guests.iter().find(|seen| seen.name.as_ref().is_some_and(|n| n.as_str() == name));
            match there {
                None => missing.push(format!("{name} is wanted and not there")),
                Some(there) if guest["memory_mib"].as_u64() != Some(there.memory_mib.into()) => {
                    missing.push(format!(
                        "{name} has {} MiB, wanted are {}",
                        there.memory_mib, guest["memory_mib"]
                    ));
                }
                Some(_) => {}
            }
        }
        let kinds = detail["events"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str());
        let forked: Vec<&str> = kinds.filter(|kind| FORKED.contains(kind)).collect();
        assert!(forked.is_empty(), "the hub has seen {forked:?}");
        missing
    }
}

/// No job leads to two operations.
fn once_each(operations: &[Operation]) -> Vec<String> {
    let mut jobs = BTreeSet::new();
    let of_jobs = operations.iter().filter(|op| op.asked_by.starts_with("job:"));
    let again = of_jobs.filter(|op| !jobs.insert(op.asked_by.clone()));
    again.map(|op| format!("{} is asked for twice by {}", op.kind, op.asked_by)).collect()
}

fn needs_people(kind: &str) -> bool {
    matches!(kind, "retire_guest" | "reclaim_guest" | "resolve_operation")
}

/// Whether what is gone was a guest's.
fn of_guest(id: &str, vmid: u32) -> bool {
    let vmid = vmid.to_string();
    id.split(|c: char| !c.is_ascii_digit()).any(|number| number == vmid)
}
