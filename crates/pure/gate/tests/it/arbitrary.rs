//! Arbitrary boxes: mostly healthy, with each fact sometimes bad, so that every row is reached with every verdict.

use crate::build::*;
use crate::sign::*;
use felhom_gate::*;
use felhom_model::backup::{Archive, Level};
use felhom_model::observed::*;
use felhom_model::operation::*;
use felhom_model::*;
use felhom_signing::Verified;
use felhom_signing::challenge::{Consent, Consenter};
use proptest::prelude::*;

/// Each case is judged by every row, so fewer of them are enough; `PROPTEST_CASES` asks for more.
pub(crate) fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases / 3, failure_persistence: None, ..usual }
}

/// A box, and for each row what only that row is judged by.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) facts: Facts,
    pub(crate) abouts: Vec<Concerning>,
}

impl World {
    /// The facts for an operation of this kind.
    pub(crate) fn facts(&self, kind: OperationKind) -> Facts {
        let fitting = self.abouts.iter().find(|about| fits(kind, about)).cloned();
        Facts { concerning: fitting.unwrap_or(Concerning::Nothing), ..self.facts.clone() }
    }

    /// Each operation on guest 1 with its facts.
    pub(crate) fn cases(&self) -> impl Iterator<Item = (Operation, Facts)> {
        every_operation(1).into_iter().map(|operation| {
            let facts = self.facts(operation.kind());
            (operation, facts)
        })
    }

    /// The same box, changed.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Facts)) -> Self {
        let mut world = self.clone();
        change(&mut world.facts);
        world
    }
}

fn fits(kind: OperationKind, about: &Concerning) -> bool {
    use OperationKind as K;
    match about {
        Concerning::Nothing => false,
        Concerning::Provision(_) => kind == K::ProvisionGuest,
        Concerning::Backup(_) => kind == K::BackupGuest,
        Concerning::Restore(about) => {
            // Each range its own facts: a copy's VMID fits no scratch guest.
            let scratch = matches!(&about.vmid, Seen::Is(fact) if u32::from(fact.vmid) >= 2900);
            kind == if scratch { K::RestoreTest } else { K::RestoreGuest }
        }
        Concerning::Destroy(_) => kind == K::DestroyScratch,
        Concerning::Discard { .. } => kind == K::DiscardRestoredCopy,
        Concerning::Cutover(_) => matches!(kind, K::CutoverGuest | K::ReverseCutoverGuest),
        Concerning::Reclaim(_) => kind == K::ReclaimGuest,
        Concerning::Prune(_) => kind == K::PruneBackups,
        Concerning::Grow { .. } => kind == K::ConfigureGuest,
        Concerning::Leftovers(_) => matches!(kind, K::ClearStaleLock | K::ClearLeftovers),
        Concerning::Disk(_) => matches!(
            kind,
            K::AttachDisk | K::DetachDisk | K::DecommissionDisk | K::AssignDisk | K::FormatDisk
        ),
        Concerning::Key(_) => matches!(kind, K::RotateBackupKey | K::ForgetKey),
        Concerning::Rotation(_) => kind == K::RotateOperators,
        Concerning::Resolve(_) => kind == K::ResolveOperation,
        Concerning::Release(_) => matches!(kind, K::UpdateHost | K::UpdateController),
        Concerning::App(_) => matches!(kind, K::DeployApp | K::UpdateApp),
        Concerning::Diagnostics { .. } => kind == K::CollectDiagnostics,
    }
}

pub(crate) fn any_purpose() -> impl Strategy<Value = Purpose> {
    prop_oneof![
        3 => Just(Purpose::Tenant),
        1 => Just(Purpose::Copy),
        1 => Just(Purpose::Scratch),
        2 => Just(Purpose::Tombstone),
        1 => Just(Purpose::Foreign)
    ]
}

/// Mostly `false`.
fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.12)
}

fn mostly() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.88)
}

fn maybe_guest() -> impl Strategy<Value = Option<GuestUuid>> {
    prop_oneof![3 => Just(None), 2 => Just(Some(uuid(1))), 1 => Just(Some(uuid(2)))]
}

/// Guest `n`, rarely with the identity of another one.
fn any_guest(n: u8) -> BoxedStrategy<ObservedGuest> {
    let provenance = prop_oneof![
        12 => Just(Provenance::Proven),
        1 => Just(Provenance::RowOnly),
        1 => Just(Provenance::MarkOnly),
        1 => Just(Provenance::None)
    ];
    let known = prop_oneof![2 => Just(Power::Running), 5 => Just(Power::Stopped)];
    let power = prop_oneof![7 => known, 1 => Just(Power::Missing), 1 => Just(Power::Unknown)];
    let lock = prop_oneof![6 => Just(None), 1 => Just(Some("backup")), 1 => Just(Some("create")), 1 => Just(Some("destroyed"))];
    let identity = (rarely(), mostly(), proptest::option::of(any::<bool>()), 1u64..5);
    // Mostly of guest 1, which the operations are about.
    let of = || prop_oneof![1 => Just(None), 4 => Just(Some(uuid(1))), 1 => Just(Some(uuid(2)))];
    let kin = (of(), of(), rarely());
    (identity, any_purpose(), provenance, power, lock, kin)
        .prop_map(move |((twin, in_range, named, made), purpose, provenance, power, lock, kin)| {
            let range = match purpose {
                Purpose::Tenant | Purpose::Tombstone => 2000,
                Purpose::Copy => 2800,
                Purpose::Scratch => 2900,
                Purpose::Foreign => 100,
            };
            let id = if in_range { range + u32::from(n) } else { 2500 };
            let mut one = guest(if twin { n % 3 + 1 } else { n }, id, purpose);
            one.name = named.map(|one| if one { name("guest-1") } else { name("new") });
            (one.provenance, one.power, one.lock) = (provenance, power, lock.map(str::to_owned));
            one.made_by = Some(if made == 4 { op(1000) } else { op(made) });
            (one.restored_from, one.succeeded_by, one.protection) = kin;
            one
        })
        .boxed()
}

fn any_seen<T: Clone + std::fmt::Debug + 'static>(good: T, bad: T) -> impl Strategy<Value = Seen<T>> {
    prop_oneof![8 => Just(Seen::Is(good)), 1 => Just(Seen::Is(bad)), 1 => Just(Seen::NotYet)]
}

fn any_vmid(range: u32) -> BoxedStrategy<Seen<VmidFact>> {
    let ids = prop_oneof![8 => Just(range + 1), 1 => Just(range + 2000)];
    let fact =
        (ids, rarely(), prop_oneof![8 => Just(0u32), 1 => Just(1)]).prop_map(|(id, taken, archives)| {
            Seen::Is(VmidFact { vmid: vmid(id), taken, archives_under_it: archives })
        });
    prop_oneof![6 => fact, 1 => Just(Seen::NotYet)].boxed()
}

fn bad_config() -> impl Strategy<Value = Seen<Vec<String>>> {
    any_seen(vec![], vec!["hookscript: local:snippets/x".to_owned()])
}

fn any_making() -> BoxedStrategy<Vec<Concerning>> {
    let bytes = 0u64..(60 << 30);
    let provision =
        (any_seen(Digest::of(b"golden"), Digest::of(b"other")), bad_config(), any_vmid(2000), bytes.clone())
            .prop_map(|(digest, forbidden_config, vmid, projected_bytes)| {
                let more =
                    ProvisionFacts { digest, forbidden_config, vmid, projected_bytes, ..provision_facts() };
                Concerning::Provision(more)
            });
    let ago = || proptest::option::of(0i64..20_000);
    let backup = (mostly(), ago(), ago(), bad_config(), bytes.clone()).prop_map(
        |(local, success, stopped, foreign, bytes)| {
            let target_kind = if local { TargetKind::Directory } else { TargetKind::OffTheBox };
            let (last_success, last_stopped) = (success.map(at), stopped.map(at));
            Concerning::Backup(BackupFacts {
                target_kind,
                last_success,
                last_stopped,
                foreign_settings: foreign,
                projected_bytes: bytes,
            })
        },
    );
    let restore = move |range| {
        let digest = any_seen(archive().digest, Digest::of(b"x"));
        let notes = any_seen(uuid(1), uuid(2));
        (digest, notes, bad_config(), any_vmid(range), bytes.clone()).prop_map(
            |(digest, notes_guest, forbidden_config, vmid, projected_bytes)| {
                let rest = restore_facts(2801);
                let more =
                    RestoreFacts { digest, notes_guest, forbidden_config, vmid, projected_bytes, ..rest };
                Concerning::Restore(more)
            },
        )
    };
    (provision.boxed(), backup.boxed(), restore(2800).boxed(), restore(2900).boxed())
        .prop_map(|(a, b, c, d)| vec![a, b, c, d])
        .boxed()
}

fn any_volumes() -> BoxedStrategy<DestroyFacts> {
    rarely()
        .prop_map(|foreign| DestroyFacts { made: if foreign { vec![] } else { volumes().made }, ..volumes() })
        .boxed()
}

fn any_ending() -> BoxedStrategy<Vec<Concerning>> {
    let destroy = any_volumes().prop_map(Concerning::Destroy);
    let discard =
        (any_volumes(), rarely()).prop_map(|(volumes, served)| Concerning::Discard { volumes, served });
    let cutover = prop_oneof![8 => Just(Some(uuid(1))), 1 => Just(Some(uuid(2))), 1 => Just(None)]
        .prop_map(|archive_of| Concerning::Cutover(CutoverFacts { archive_of }));
    let reclaim = (any_volumes(), rarely(), proptest::option::of(-100i64..100), 80u32..100).prop_map(
        |(volumes, bulk, stopped, unanswered_days)| {
            let bulk = if bulk { vec!["mp1".to_owned()] } else { vec![] };
            Concerning::Reclaim(ReclaimFacts { volumes, bulk, stopped_at: stopped.map(at), unanswered_days })
        },
    );
    let prune = (rarely(), rarely()).prop_map(|(protected, churned)| {
        let protected = if protected { vec![archive().volid] } else { vec![] };
        Concerning::Prune(PruneFacts { protected, churned })
    });
    let leftovers = (proptest::option::weighted(0.9, 1u64..3), mostly(), rarely(), mostly(), unmarked())
        .prop_map(|(maker, task_over, running, own, unmarked)| {
            let running_tasks = if running { vec!["UPID:x".to_owned()] } else { vec![] };
            let parts = vec![Part { what: "local:2000/y.raw".into(), own }];
            let maker = maker.map(op);
            Concerning::Leftovers(LeftoverFacts { maker, task_over, running_tasks, parts, unmarked })
        });
    (destroy, discard, cutover, reclaim, prune, leftovers)
        .prop_map(|(a, b, c, d, e, f)| vec![a, b, c, d, e, f])
        .boxed()
}

fn any_other() -> BoxedStrategy<Vec<Concerning>> {
    let roles = prop_oneof![
        2 => Just(None),
        2 => Just(Some(DiskRole::UserData)),
        1 => Just(Some(DiskRole::Backup)),
        1 => Just(Some(DiskRole::System))
    ];
    let disk = (roles, rarely(), rarely(), maybe_guest(), maybe_guest(), maybe_guest()).prop_map(
        |(role, of_the_host, used, assigned_to, formatted_for, marker_names)| {
            let consumers = if used { vec!["notes".to_owned()] } else { vec![] };
            Concerning::Disk(DiskFacts {
                role,
                of_the_host,
                consumers,
                assigned_to,
                formatted_for,
                marker_names,
            })
        },
    );
    let rotated = proptest::option::of(-700_000i64..20_000);
    let key = (rotated, any::<bool>(), any_seen(true, false), prop_oneof![3 => Just(0u32), 1 => Just(2)])
        .prop_map(|(rotated, failed_since, envelope_read_back, backups_under_it)| {
            let rotated_at = rotated.map(at);
            Concerning::Key(KeyFacts { rotated_at, failed_since, envelope_read_back, backups_under_it })
        });
    let rotation =
        (prop_oneof![6 => Just(1u64), 1 => Just(2), 1 => Just(0)], mostly()).prop_map(|(current, signed)| {
            Concerning::Rotation(RotationFacts { current, signed, ..rotation_facts() })
        });
    let resolve = any::<bool>().prop_map(|retry| {
        let offered = vec![if retry { WayOut::Retry } else { WayOut::Accept }];
        Concerning::Resolve(ResolveFacts { offered, what: None, reason: None, guest: None })
    });
    let release =
        (mostly(), 2u64..5, 1u64..5, rarely()).prop_map(|(signed, version, floor, past_no_return)| {
            Concerning::Release(ReleaseFacts { signed, version, floor, past_no_return })
        });
    let app = (mostly(), proptest::option::of(4u64..7), any::<bool>(), rarely()).prop_map(
        |(signed, installed, new_source, value_from_hub)| {
            Concerning::App(AppFacts { signed, serial: 5, installed, new_source, value_from_hub })
        },
    );
    let diagnostics =
        any::<bool>().prop_map(|beyond_allow_list| Concerning::Diagnostics { beyond_allow_list });
    (disk.boxed(), key.boxed(), rotation.boxed(), resolve, release.boxed(), app.boxed(), diagnostics)
        .prop_map(|(a, b, c, d, e, f, g)| vec![a, b, c, d, e, f, g, Concerning::Grow { storage: store() }])
        .boxed()
}

/// Up to four backups of guest 1, the oldest of which is the one that operations name.
fn any_archives() -> BoxedStrategy<Vec<Archive>> {
    let level = prop_oneof![1 => Just(None), 1 => Just(Some(Level::L2)), 4 => Just(Some(Level::L3))];
    let one = (level, 0i64..6, prop_oneof![4 => Just(100u64), 1 => Just(10)]);
    proptest::collection::vec(one, 0..5)
        .prop_map(|all| {
            all.into_iter()
                .enumerate()
                .map(|(n, (level, days, bytes))| Archive {
                    volid: if n == 0 { archive().volid } else { volid(&format!("local:backup/{n}.tar.zst")) },
                    taken_at: at(if n == 0 { 0 } else { days * 24 * 3600 }),
                    bytes,
                    proven: level.map(|level| (level, at(5))),
                    ..archive()
                })
                .collect()
        })
        .boxed()
}

fn any_limits() -> BoxedStrategy<BoxLimits> {
    (0u32..4, 0u64..(4 << 30), prop_oneof![Just(0u64), Just(1000)], 0u32..12, 1u32..4, 0i64..4)
        .prop_map(|(max_guests, reserve_bytes, grace_s, signatures_per_day, keep_backups, days)| BoxLimits {
            max_guests,
            reserve_bytes,
            grace_s,
            signatures_per_day,
            keep_backups,
            keep_spread: jiff::SignedDuration::from_hours(24 * days),
            ..BoxLimits::default()
        })
        .boxed()
}

fn any_authorization() -> BoxedStrategy<AuthorizationFacts> {
    let waited = prop_oneof![1 => Just(0u64), 1 => Just(999), 3 => Just(5000)];
    let wish = prop_oneof![3 => Just(0u64), 1 => Just(2000)];
    let uses = proptest::collection::vec((prop_oneof![Just("ada"), Just("bob")], 0u32..12), 0..3);
    (mostly(), waited, wish, uses, proptest::bool::weighted(0.05))
        .prop_map(|(known, waited_s, grace_at_least_s, uses, vetoed)| AuthorizationFacts {
            targets: known.then(|| vec![target()]),
            waited_s,
            grace_at_least_s,
            key_uses: uses.into_iter().map(|(name, n)| (format!("SHA256:{name}"), n)).collect(),
            vetoed_by: vetoed.then(|| "the customer".to_owned()),
        })
        .boxed()
}

pub(crate) fn any_world() -> BoxedStrategy<World> {
    let guests = (any_guest(1), any_guest(2), any_guest(3), 0usize..4);
    let stage = prop_oneof![Just(Stage::Begin), Just(Stage::Resume), Just(Stage::BeforeAct)];
    let storage = (mostly(), mostly(), (1u64 << 30)..(100 << 30));
    let abouts = (any_making(), any_ending(), any_other());
    let box_itself = (stage, 0i64..20_000, storage, rarely(), any_limits(), any_authorization());
    (guests, abouts, any_archives(), box_itself)
        .prop_map(|((one, two, three, n), (making, ending, other), archives, box_itself)| {
            let (stage, now, (active, is_target, free), others, limits, authorization) = box_itself;
            let mut facts = Facts { stage, now: at(now), limits, authorization, ..facts() };
            facts.observed.guests = vec![one, two, three];
            facts.observed.guests.truncate(n);
            facts.observed.archives = archives;
            let storage = &mut facts.observed.storages[0];
            (storage.active, storage.is_target, storage.free) = (active, is_target, free);
            if others {
                let (id, guest) = (op(999), Some(uuid(1)));
                let kind = OperationKind::RestoreTest;
                facts.observed.active = vec![ActiveOperation { id, kind, guest, name: None }];
            }
            World { facts, abouts: [making, ending, other].concat() }
        })
        .boxed()
}

/// What a consent may be wrong about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    OtherOperation,
    OtherKind,
    OtherTargets,
}

/// Who signed, with what fault; made into consents for each operation by [`consents`].
pub(crate) fn any_signers(faults: Vec<Fault>) -> BoxedStrategy<Vec<(Consenter, Fault)>> {
    let names = prop_oneof![Just("ada"), Just("bob"), Just("cleo")];
    let keys = prop_oneof![4 => Just(None), 1 => Just(Some("ada")), 1 => Just(Some("spare"))];
    let operator = (names, keys).prop_map(|(name, key)| Consenter::Operator {
        name: name.to_owned(),
        key: format!("SHA256:{}", key.unwrap_or(name)),
    });
    let by = prop_oneof![2 => operator, 1 => (1u8..4).prop_map(customer)];
    proptest::collection::vec((by, proptest::sample::select(faults)), 0..6).boxed()
}

pub(crate) fn consents(operation: &Operation, signers: &[(Consenter, Fault)]) -> Vec<Verified<Consent>> {
    let one = |(by, fault): &(Consenter, Fault)| {
        let mut consent = consent(operation.kind(), by.clone());
        match fault {
            Fault::None => {}
            Fault::OtherOperation => consent.operation = op(1001),
            Fault::OtherKind => {
                let other = OperationKind::ALL.into_iter().find(|kind| *kind != operation.kind());
                consent.kind = other.unwrap();
            }
            Fault::OtherTargets => consent.targets[0].bytes += 1,
        }
        verified(consent)
    };
    signers.iter().map(one).collect()
}

/// Everybody who could be asked, without a fault.
pub(crate) fn everybody() -> Vec<(Consenter, Fault)> {
    let operators = ["ada", "bob", "cleo"].map(operator);
    operators.into_iter().chain((1..4).map(customer)).map(|by| (by, Fault::None)).collect()
}

fn unmarked() -> impl Strategy<Value = Unmarked> {
    prop_oneof![Just(Unmarked::NoReason), Just(Unmarked::WhileMade), Just(Unmarked::WhileDestroyed)]
}
