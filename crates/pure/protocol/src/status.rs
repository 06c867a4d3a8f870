//! Shapes that travel in several directions: what guests, operations, archives and storages look like to whoever reads.

use crate::SignedBytes;
use felhom_model::backup::{Consistency, Level};
use felhom_model::observed::{ActiveOperation, ObservedGuest, ObservedStorage, Power, Provenance, Purpose};
use felhom_model::operation::Limits;
use felhom_model::{
    AppName, Digest, GuestName, GuestUuid, OperationId, OperationKind, OperationState, StorageId, Vmid, Volid,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something true, false or unknown about a box, with its reason (as in Kubernetes' conditions).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Condition {
    /// CamelCase name, e.g. `Converged`, `DesiredStateValid`, `HubReachable`, `ExecutorReachable`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `true`, `false` or `unknown`.
    pub status: ConditionStatus,
    /// One CamelCase word for programs.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Since when the status is this.
    pub since: Timestamp,
}

/// The value of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// A guest as the executor observed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Guest {
    /// From the ledger; `None` for a foreign guest.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub uuid: Option<GuestUuid>,
    /// VMID.
    pub vmid: Vmid,
    /// Name in the ledger.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub name: Option<GuestName>,
    /// `tenant`, `copy`, `scratch`, `tombstone` or `foreign`.
    pub purpose: String,
    /// `proven`, `row_only`, `mark_only` or `none`.
    pub provenance: String,
    /// `running`, `stopped` or `missing`.
    pub power: String,
    /// Proxmox's `lock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Proxmox's `protection`.
    #[serde(default)]
    pub protection: bool,
    /// CPU cores.
    pub cores: u16,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Swap in MiB.
    pub swap_mib: u32,
    /// Apps that it was told to run.
    #[serde(default)]
    pub apps: Vec<AppName>,
    /// The operation that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<OperationId>,
    /// For a copy or scratch guest: whose archive it was restored from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<GuestUuid>,
    /// For a tombstone: the guest that took over from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_by: Option<GuestUuid>,
    /// Addresses that Proxmox shows for its interfaces, `lo` excepted.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// SHA-256 of the token that the guest presents at the local API; only the executor has the token itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_digest: Option<Digest>,
    /// What the guest's last heartbeat said. Filled in by the agent, absent in the executor's observation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<crate::local_api::HeartbeatSummary>,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Step {
    /// Its name, e.g. `restore_archive`.
    pub name: String,
    /// `pending`, `running`, `done`, `failed`, `undoing`, `undone` or `skipped`.
    pub state: String,
    /// What came of it, why it failed, or while it runs, why it tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// How far a running step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// Done so far, in `unit`.
    pub done: u64,
    /// Of how many, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// `bytes`, `files` or `steps`.
    pub unit: String,
    /// Units a second since the step began, once that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<u64>,
    /// Seconds that the rest takes if it goes on like that, where the total is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
}

/// An operation as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Operation {
    /// ULID.
    pub id: OperationId,
    /// The kind's name as it was asked for, which may be one that does not exist (then the state is `refused`).
    pub kind: String,
    /// State.
    pub state: OperationState,
    /// The guest that it concerns or makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestUuid>,
    /// That guest's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_name: Option<GuestName>,
    /// Why it was asked for, e.g. `desired state generation 3: guest family is missing`.
    pub asked_for: String,
    /// Who asked: `desired_state`, `job:ULID`, `schedule`, `guest`, `local`.
    pub asked_by: String,
    /// What the gate said, in words.
    pub verdict: String,
    /// The gate's evidence, and later the operation's own, as `key: value` lines.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// Why it failed, was refused, or needs an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is left of its grace, while it waits for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Grace>,
    /// Its steps in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Of the running step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// When it was recorded.
    pub created: Timestamp,
    /// When it became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What it produced, by kind: `{"vmid":2000,"uuid":…}`, `{"volid":…}`, `{"receipt":…}`.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub result: serde_json::Value,
}

/// The time in which an operation that was authorized can still be vetoed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Grace {
    /// Seconds that are left, counted while the box runs.
    pub left_s: u64,
    /// What the operation would do ([`Waiting`](felhom_signing::consent::Waiting)), signed by the box: a veto without a
    /// challenge is made from it. Absent while the box is not enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedBytes>,
}

/// A fact that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Evidence {
    /// What was looked at.
    pub key: String,
    /// What was seen.
    pub value: String,
}

/// A challenge that waits for people's signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Challenge {
    /// SHA-256 of its bytes: its name.
    pub digest: Digest,
    /// The operation that waits.
    pub operation: OperationId,
    /// The guest that it concerns, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestUuid>,
    /// Its bytes with the box's signature. Nothing is shown or signed but what stands in them.
    pub signed: SignedBytes,
    /// Seconds that it still lives.
    pub left_s: u64,
    /// Who has consented so far, e.g. `operator anna`, `customer UUID`.
    #[serde(default)]
    pub consented: Vec<String>,
}

/// An archive in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Archive {
    /// Volume id.
    pub volid: Volid,
    /// Whose.
    pub guest: GuestUuid,
    /// That guest's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_name: Option<GuestName>,
    /// Made by.
    pub operation: OperationId,
    /// Target storage.
    pub target: StorageId,
    /// When the data was frozen.
    pub taken_at: Timestamp,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// `quiesced` or `crash_consistent`.
    pub consistency: Consistency,
    /// Measured downtime of the apps in milliseconds, once the guest reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime_ms: Option<u64>,
    /// Highest level proven by a signed receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_level: Option<Level>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Timestamp>,
    /// Whether the file is there now.
    #[serde(default = "yes")]
    pub present: bool,
}

fn yes() -> bool {
    true
}

/// A storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Storage {
    /// Its id.
    pub id: StorageId,
    /// Usable now.
    pub active: bool,
    /// Free bytes.
    pub free: u64,
    /// Size in bytes.
    pub total: u64,
    /// Listed as a backup target by the box.
    pub is_target: bool,
}

impl Guest {
    /// In the domain's words. A word that this version does not know counts as the most careful one.
    pub fn to_model(&self) -> ObservedGuest {
        let purposes = [Purpose::Tenant, Purpose::Copy, Purpose::Scratch, Purpose::Tombstone];
        let purpose = purposes.into_iter().find(|purpose| purpose.name() == self.purpose);
        ObservedGuest {
            uuid: self.uuid,
            vmid: self.vmid,
            name: self.name.clone(),
            purpose: purpose.unwrap_or(Purpose::Foreign),
            provenance: match self.provenance.as_str() {
                "proven" => Provenance::Proven,
                "row_only" => Provenance::RowOnly,
                "mark_only" => Provenance::MarkOnly,
                _ => Provenance::None,
            },
            power: match self.power.as_str() {
                "running" => Power::Running,
                "stopped" => Power::Stopped,
                "missing" => Power::Missing,
                _ => Power::Unknown,
            },
            lock: self.lock.clone(),
            protection: self.protection,
            limits: Limits { cores: self.cores, memory_mib: self.memory_mib, swap_mib: self.swap_mib },
            disk_gib: None,
            apps: self.apps.clone(),
            made_by: self.made_by,
            restored_from: self.restored_from,
            succeeded_by: self.succeeded_by,
        }
    }
}

impl Archive {
    /// In the domain's words.
    pub fn to_model(&self) -> felhom_model::backup::Archive {
        felhom_model::backup::Archive {
            volid: self.volid.clone(),
            guest: self.guest,
            operation: self.operation,
            target: self.target.clone(),
            taken_at: self.taken_at,
            bytes: self.bytes,
            digest: self.digest,
            consistency: self.consistency,
            proven: self.proven_level.zip(self.proven_at),
        }
    }
}

impl Storage {
    /// In the domain's words.
    pub fn to_model(&self) -> ObservedStorage {
        ObservedStorage {
            id: self.id.clone(),
            active: self.active,
            free: self.free,
            total: self.total,
            is_target: self.is_target,
        }
    }
}

impl Operation {
    /// In the domain's words, if it is not over, its kind is one that exists, and it holds its guest. What waits for people
    /// does so for days and holds nothing meanwhile; a guest that is still to be made is not asked for twice, though.
    pub fn to_active(&self) -> Option<ActiveOperation> {
        let kind = self.kind.parse().ok()?;
        let name = self.guest_name.clone();
        let waits = matches!(self.state, OperationState::PendingAuthorization | OperationState::Waiting);
        let holds = !waits || kind == OperationKind::ProvisionGuest;
        (!self.state.is_final() && holds).then_some(ActiveOperation {
            id: self.id,
            kind,
            guest: self.guest,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(purpose: &str, provenance: &str, power: &str) -> ObservedGuest {
        let json = serde_json::json!({
            "uuid": null, "vmid": 2000, "name": null, "purpose": purpose, "provenance": provenance,
            "power": power, "cores": 1, "memory_mib": 64, "swap_mib": 0,
        });
        serde_json::from_value::<Guest>(json).unwrap().to_model()
    }

    #[test]
    fn what_waits_for_people_holds_nothing_meanwhile() {
        let active = |kind: &str, state: &str| {
            let json = serde_json::json!({
                "id": OperationId::from_parts(1, 1), "kind": kind, "state": state, "asked_for": "", "asked_by": "",
                "verdict": "", "created": "2026-01-01T00:00:00Z",
            });
            serde_json::from_value::<Operation>(json).unwrap().to_active().is_some()
        };
        assert!(active("retire_guest", "running") && active("provision_guest", "pending_authorization"));
        for state in ["pending_authorization", "waiting", "done"] {
            assert!(!active("retire_guest", state), "{state}");
        }
        assert!(!active("wave", "running"));
    }

    #[test]
    fn an_unknown_word_counts_as_the_most_careful_one() {
        let known = guest("tenant", "proven", "running");
        assert_eq!(
            (known.purpose, known.provenance, known.power),
            (Purpose::Tenant, Provenance::Proven, Power::Running)
        );
        let unknown = guest("pet", "certain", "flying");
        assert_eq!(
            (unknown.purpose, unknown.provenance, unknown.power),
            (Purpose::Foreign, Provenance::None, Power::Unknown)
        );
    }
}
