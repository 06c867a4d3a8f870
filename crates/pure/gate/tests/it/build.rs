//! Facts of a healthy box, to be bent by each test; and arbitrary ones.

use felhom_gate::*;
use felhom_model::backup::{Archive, Consistency};
use felhom_model::observed::*;
use felhom_model::operation::*;
use felhom_model::*;
use jiff::Timestamp;
use proptest::prelude::*;

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

pub(crate) fn any_purpose() -> impl Strategy<Value = Purpose> {
    prop_oneof![
        Just(Purpose::Tenant),
        Just(Purpose::Copy),
        Just(Purpose::Scratch),
        Just(Purpose::Tombstone),
        Just(Purpose::Foreign)
    ]
}

fn any_guest() -> impl Strategy<Value = ObservedGuest> {
    let provenance = prop_oneof![
        3 => Just(Provenance::Proven),
        1 => Just(Provenance::RowOnly),
        1 => Just(Provenance::MarkOnly),
        1 => Just(Provenance::None)
    ];
    let power = prop_oneof![Just(Power::Running), Just(Power::Stopped), Just(Power::Missing)];
    let lock =
        proptest::option::weighted(0.2, prop_oneof![Just("backup".to_owned()), Just("create".to_owned())]);
    let ids = prop_oneof![Just(2000u32), Just(2001), Just(2800), Just(2900), Just(101)];
    let identity = (1u8..4, ids, proptest::option::of(any::<bool>()), 1u64..5);
    (identity, any_purpose(), provenance, power, lock, any::<bool>(), any::<u64>()).prop_map(
        |((n, id, named, made), purpose, provenance, power, lock, protection, restored)| {
            let made_by = if made == 4 { op(1000) } else { op(made) };
            let mut one = guest(n, id, purpose);
            one.name = named.map(|one| if one { name("guest-1") } else { name("new") });
            (one.provenance, one.power, one.lock, one.protection) = (provenance, power, lock, protection);
            one.made_by = Some(made_by);
            one.restored_from = (restored % 2 == 0).then(|| uuid(1));
            one
        },
    )
}

fn any_seen<T: Clone + std::fmt::Debug + 'static>(good: T, bad: T) -> impl Strategy<Value = Seen<T>> {
    prop_oneof![3 => Just(Seen::Is(good)), 1 => Just(Seen::Is(bad)), 1 => Just(Seen::NotYet)]
}

fn any_vmid() -> impl Strategy<Value = Seen<VmidFact>> {
    let ids = prop_oneof![Just(2001u32), Just(2801), Just(2901), Just(100)];
    let fact = (ids, proptest::bool::weighted(0.2), 0u32..2).prop_map(|(id, taken, archives)| {
        Seen::Is(VmidFact { vmid: vmid(id), taken, archives_under_it: archives })
    });
    prop_oneof![3 => fact, 1 => Just(Seen::NotYet)]
}

fn any_concerning() -> impl Strategy<Value = Concerning> {
    let bad_line = vec!["hookscript: local:snippets/x".to_owned()];
    let golden = any_seen(Digest::of(b"golden"), Digest::of(b"other"));
    let provision = (golden, any_seen(vec![], bad_line.clone()), any_vmid(), 0u64..(60 << 30)).prop_map(
        |(digest, forbidden_config, vmid, projected_bytes)| {
            let more =
                ProvisionFacts { digest, forbidden_config, vmid, projected_bytes, ..provision_facts() };
            Concerning::Provision(more)
        },
    );
    let backup = (any::<bool>(), proptest::option::of(0i64..20_000), proptest::option::of(0i64..20_000))
        .prop_map(|(local, success, stopped)| {
            let target_kind = if local { TargetKind::Directory } else { TargetKind::OffTheBox };
            let (last_success, last_stopped) = (success.map(at), stopped.map(at));
            Concerning::Backup(BackupFacts { target_kind, last_success, last_stopped, ..backup_facts() })
        });
    let digest = any_seen(archive().digest, Digest::of(b"x"));
    let restore = (digest, any_seen(uuid(1), uuid(2)), any_vmid(), 0u64..(60 << 30)).prop_map(
        |(digest, notes_guest, vmid, projected_bytes)| {
            Concerning::Restore(RestoreFacts {
                digest,
                notes_guest,
                vmid,
                projected_bytes,
                ..restore_facts(2801)
            })
        },
    );
    let destroy = any::<bool>().prop_map(|own| {
        let referenced = vec![volid("local:2900/vm-2900-disk-0.raw")];
        let made = if own { referenced.clone() } else { vec![] };
        Concerning::Destroy(DestroyFacts { referenced, made })
    });
    prop_oneof![Just(Concerning::Nothing), provision, backup, restore, destroy]
}

pub(crate) fn any_facts() -> impl Strategy<Value = Facts> {
    let guests = proptest::collection::vec(any_guest(), 0..4);
    let stage = prop_oneof![Just(Stage::Begin), Just(Stage::BeforeAct)];
    let storage = (any::<bool>(), any::<bool>(), 0u64..(100 << 30));
    (guests, any_concerning(), stage, 0i64..20_000, storage, 0u32..3, any::<bool>()).prop_map(
        |(guests, concerning, stage, now, (active, is_target, free), max_guests, others)| {
            let mut facts = facts();
            facts.observed.guests = guests;
            (facts.concerning, facts.stage, facts.now) = (concerning, stage, at(now));
            let storage = &mut facts.observed.storages[0];
            (storage.active, storage.is_target, storage.free) = (active, is_target, free);
            facts.limits.max_guests = max_guests;
            if others {
                let id = op(999);
                let guest = Some(uuid(1));
                facts.observed.active =
                    vec![ActiveOperation { id, kind: OperationKind::RestoreTest, guest, name: None }];
            }
            facts
        },
    )
}
