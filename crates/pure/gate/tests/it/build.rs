//! Facts of a healthy box, to be bent by each test.

use felhom_gate::*;
use felhom_model::backup::{Archive, Consistency};
use felhom_model::observed::*;
use felhom_model::operation::*;
use felhom_model::*;
use jiff::Timestamp;

pub(crate) fn uuid(n: u8) -> GuestUuid {
    GuestUuid::from_random([n; 16])
}
pub(crate) fn op(n: u64) -> OperationId {
    OperationId::from_parts(n, 0)
}
pub(crate) fn vmid(n: u32) -> Vmid {
    Vmid::try_from(n).unwrap()
}
pub(crate) fn name(text: &str) -> GuestName {
    text.parse().unwrap()
}
pub(crate) fn store() -> StorageId {
    "local".parse().unwrap()
}
pub(crate) fn volid(text: &str) -> Volid {
    text.parse().unwrap()
}
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}
pub(crate) const LIMITS: Limits = Limits { cores: 1, memory_mib: 512, swap_mib: 0 };

pub(crate) fn guest(n: u8, id: u32, purpose: Purpose) -> ObservedGuest {
    ObservedGuest {
        uuid: Some(uuid(n)),
        vmid: vmid(id),
        name: Some(name(&format!("guest-{n}"))),
        purpose,
        provenance: Provenance::Proven,
        power: Power::Stopped,
        lock: None,
        protection: false,
        limits: LIMITS,
        disk_gib: Some(8),
        apps: vec![],
        made_by: Some(op(u64::from(n))),
        restored_from: None,
        succeeded_by: None,
    }
}

pub(crate) fn archive() -> Archive {
    Archive {
        volid: volid("local:backup/a.tar.zst"),
        guest: uuid(1),
        operation: op(50),
        target: store(),
        taken_at: at(0),
        bytes: 10,
        digest: Digest::of(b"archive"),
        consistency: Consistency::Quiesced,
        proven: None,
    }
}

/// A box with one tenant (1), its archive, a golden archive, a target with room.
pub(crate) fn facts() -> Facts {
    Facts {
        observed: Observed {
            guests: vec![guest(1, 2000, Purpose::Tenant)],
            archives: vec![archive()],
            storages: vec![ObservedStorage {
                id: store(),
                active: true,
                free: 50 << 30,
                total: 100 << 30,
                is_target: true,
            }],
            golden: vec![Golden {
                digest: Digest::of(b"golden"),
                release: 1,
                apps: vec!["notes".parse().unwrap()],
                bytes: 1,
            }],
            active: vec![],
            used_names: vec![name("guest-1")],
        },
        limits: BoxLimits::default(),
        now: at(10_000),
        within: op(1000),
        stage: Stage::BeforeAct,
        concerning: Concerning::Nothing,
        authorization: AuthorizationFacts::default(),
    }
}

pub(crate) fn provision() -> Operation {
    Operation::ProvisionGuest(Provision {
        name: name("new"),
        golden: None,
        limits: LIMITS,
        disk_gib: 8,
        apps: vec!["notes".parse().unwrap()],
    })
}

pub(crate) fn free(id: u32) -> Seen<VmidFact> {
    Seen::Is(VmidFact { vmid: vmid(id), taken: false, archives_under_it: 0 })
}

pub(crate) fn provision_facts() -> ProvisionFacts {
    ProvisionFacts {
        name_first_used_by: None,
        golden: Digest::of(b"golden"),
        digest: Seen::Is(Digest::of(b"golden")),
        forbidden_config: Seen::Is(vec![]),
        vmid: free(2001),
        storage: store(),
        projected_bytes: 8 << 30,
    }
}

pub(crate) fn backup_facts() -> BackupFacts {
    BackupFacts {
        target_kind: TargetKind::Directory,
        last_success: None,
        last_stopped: None,
        foreign_settings: Seen::Is(vec![]),
        projected_bytes: 1 << 30,
    }
}

pub(crate) fn restore_facts(id: u32) -> RestoreFacts {
    RestoreFacts {
        archive: archive().volid,
        notes_guest: Seen::Is(uuid(1)),
        digest: Seen::Is(archive().digest),
        forbidden_config: Seen::Is(vec![]),
        vmid: free(id),
        storage: store(),
        projected_bytes: 8 << 30,
    }
}

/// Every kind of operation, for guest `n`.
pub(crate) fn every_operation(n: u8) -> Vec<Operation> {
    let one = uuid(n);
    let disk: DurableId = "fs-1".parse().unwrap();
    let disk_use = DiskUse { disk: disk.clone(), role: DiskRole::UserData, guest: Some(one) };
    let app = App { guest: one, app: "notes".parse().unwrap() };
    let prune = Prune { guest: one, target: store(), remove: vec![archive().volid] };
    let backup = Backup { guest: uuid(n), target: store(), quiesced: true };
    let configure =
        Configure { guest: uuid(n), cores: Some(2), memory_mib: None, swap_mib: None, disk_gib: None };
    let test = RestoreTest { guest: uuid(n), archive: None, level: backup::Level::L4 };
    let all = vec![
        provision(),
        Operation::StartGuest(uuid(n)),
        Operation::StopGuest(uuid(n)),
        Operation::RebootGuest(uuid(n)),
        Operation::ConfigureGuest(configure),
        Operation::HealGuest(one),
        Operation::BackupGuest(backup),
        Operation::RestoreGuest(Restore { guest: uuid(n), archive: None }),
        Operation::CutoverGuest(Cutover { guest: one, copy: uuid(n.wrapping_add(1)) }),
        Operation::ReverseCutoverGuest(one),
        Operation::RetireGuest(one),
        Operation::ReclaimGuest(uuid(n)),
        Operation::RestoreTest(test),
        Operation::DiscardRestoredCopy(one),
        Operation::DestroyScratch(uuid(n)),
        Operation::ClearStaleLock(one),
        Operation::ClearLeftovers(one),
        Operation::PruneBackups(prune),
        Operation::AttachDisk(disk.clone()),
        Operation::DetachDisk(disk.clone()),
        Operation::DecommissionDisk(disk),
        Operation::AssignDisk(disk_use.clone()),
        Operation::FormatDisk(disk_use),
        Operation::RotateBackupKey(one),
        Operation::ForgetKey(ForgetKey { guest: one, key: Digest::of(b"key") }),
        Operation::ReplaceRecoveryCode(one),
        Operation::RotateOperators(RotateOperators { version: 2, document: Digest::of(b"operators") }),
        Operation::ResolveOperation(Resolve { operation: op(7), way: WayOut::Retry }),
        Operation::ChangeTunnel,
        Operation::UpdateHost(Version(3)),
        Operation::UpdateController(UpdateController { guest: one, version: Version(3) }),
        Operation::DeployApp(app.clone()),
        Operation::UpdateApp(app),
        Operation::OpenSupportAccess(one),
        Operation::CollectDiagnostics(one),
    ];
    let kinds: Vec<_> = all.iter().map(Operation::kind).collect();
    assert_eq!(kinds, OperationKind::ALL, "every kind, once, in the table's order");
    all
}

pub(crate) fn volumes() -> DestroyFacts {
    let volume = volid("local:2900/vm-2900-disk-0.raw");
    DestroyFacts { referenced: vec![volume.clone()], made: vec![volume] }
}

pub(crate) fn reclaim_facts() -> ReclaimFacts {
    ReclaimFacts { volumes: volumes(), bulk: vec![], stopped_at: Some(at(-10)), unanswered_days: 0 }
}

pub(crate) fn leftover_facts() -> LeftoverFacts {
    let part = Part { what: "local:2000/vm-2000-disk-9.raw".into(), own: true };
    LeftoverFacts {
        maker: Some(op(1)),
        task_over: true,
        running_tasks: vec![],
        parts: vec![part],
        unmarked: Unmarked::NoReason,
    }
}

/// A disk without a role, on which nothing names anybody.
pub(crate) fn disk_facts() -> DiskFacts {
    DiskFacts {
        role: None,
        of_the_host: false,
        consumers: vec![],
        assigned_to: None,
        formatted_for: None,
        marker_names: None,
    }
}

pub(crate) fn key_facts() -> KeyFacts {
    KeyFacts {
        rotated_at: None,
        failed_since: false,
        envelope_read_back: Seen::Is(true),
        backups_under_it: 0,
    }
}

pub(crate) fn rotation_facts() -> RotationFacts {
    RotationFacts { current: 1, document: Digest::of(b"operators"), version: 2, signed: true }
}

pub(crate) fn release_facts() -> ReleaseFacts {
    ReleaseFacts { signed: true, version: 3, floor: 3, past_no_return: false }
}

pub(crate) fn app_facts() -> AppFacts {
    AppFacts { signed: true, serial: 5, installed: Some(5), new_source: false, value_from_hub: false }
}
