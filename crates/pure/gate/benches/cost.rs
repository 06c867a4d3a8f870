//! What one decision of the gate costs, and one check of people's signatures: `cargo bench -p felhom-gate --bench cost`.
//! One line of JSON: for each row the median in nanoseconds.
//!
//! The box is a large one: fifty guests with three backups each, and a key's uses of a day. Each case is one that passes
//! its row's every check: a refusal would be cheaper than what is measured.
#![allow(clippy::unwrap_used, missing_docs, reason = "as in tests")]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/build.rs"]
mod build;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/sign.rs"]
mod sign;

use std::hint::black_box;
use std::time::Instant;

use build::{
    at, backup_facts, facts, guest, op, provision, provision_facts, reclaim_facts, restore_facts, store,
    uuid, volid,
};
use felhom_gate::{Concerning, CutoverFacts, Facts, PruneFacts, ReclaimFacts, Seen, Verdict, decide};
use felhom_model::backup::{Archive, Level};
use felhom_model::observed::Purpose;
use felhom_model::operation::{Backup, Cutover, Prune, Restore};
use felhom_model::{BoxId, Digest, Operation, OperationKind};
use felhom_signing::challenge::{Asked, CHALLENGE_VERSION, Challenge, Consent, Signers, Stakes};
use felhom_signing::consent::{
    Armored, Confirmation, Customer, LIFETIME_MS, Now, OpenChallenge, accept_customer, accept_operator,
    confirm, recheck_customer, recheck_operator,
};
use felhom_signing::operators::{OperatorKey, OperatorsFile, Role};
use felhom_signing::sshsig::{self, Namespace, openssh_line};
use felhom_signing::{Key, Verified};

/// Decisions of each kind, each timed by itself.
const DECISIONS: usize = 20_001;
/// Checks of signatures.
const CHECKS: usize = 2_001;
const GUESTS: u8 = 50;
/// Challenges that are open at the same time.
const OPEN: u64 = 10;

fn main() {
    let mut costs = Vec::new();
    for (operation, facts, passes) in cases() {
        let verdict = decide(&operation, &facts, &[]);
        assert_eq!(sign::word(&verdict), passes, "{}", operation.kind());
        let ns = median(DECISIONS, || decide(black_box(&operation), black_box(&facts), &[]));
        costs.push((format!("decide {}", operation.kind()), ns));
    }
    costs.extend(authorizations());
    let all: Vec<String> = costs.iter().map(|(name, ns)| format!("\"{name}\":{ns}")).collect();
    println!("{{{}}}", all.join(","));
}

fn median(times: usize, mut work: impl FnMut() -> Verdict<Operation>) -> u128 {
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        drop(black_box(work()));
        all.push(begun.elapsed().as_nanos());
    }
    all.sort_unstable();
    all[all.len() / 2]
}

/// Guest 1 is a tenant, 2 its restored copy, 3 a tombstone; the rest are tenants. Guest 1 is the last that is found.
fn large_box() -> Facts {
    let mut large = facts();
    let purpose = |n: u8| match n {
        2 => (2802, Purpose::Copy),
        _ => (2000 + u32::from(n), if n == 3 { Purpose::Tombstone } else { Purpose::Tenant }),
    };
    let guests = (1..=GUESTS).rev().map(|n| guest(n, purpose(n).0, purpose(n).1));
    large.observed.guests = guests.collect();
    for guest in large.observed.guests.iter_mut().filter(|guest| guest.purpose == Purpose::Copy) {
        guest.restored_from = Some(uuid(1));
    }
    large.observed.archives =
        (1..=GUESTS).rev().flat_map(|n| (0..3).map(move |age| backup_of(n, age))).collect();
    large.observed.used_names = large.observed.guests.iter().filter_map(|guest| guest.name.clone()).collect();
    large.limits.max_guests = u32::from(GUESTS) * 2;
    large.authorization.targets = Some(vec![sign::target()]);
    large.authorization.key_uses = (0..9).map(|n| (format!("SHA256:{n}"), 1)).collect();
    large.within = op(1000);
    large
}

fn backup_of(n: u8, age: u32) -> Archive {
    Archive {
        volid: volid(&format!("local:backup/vzdump-lxc-{}-{age}.tar.zst", 2000 + u32::from(n))),
        guest: uuid(n),
        operation: op(u64::from(n) * 10 + u64::from(age)),
        taken_at: at(-i64::from(age) * 86_400 * 3),
        bytes: 1 << 30,
        proven: Some((Level::L3, at(5))),
        ..build::archive()
    }
}

/// Operation, facts, and the word of the verdict that it has to get.
fn cases() -> Vec<(Operation, Facts, &'static str)> {
    let case = |operation: Operation, concerning: Concerning, word: &'static str| {
        (operation, Facts { concerning, ..large_box() }, word)
    };
    let needs = "needs_authorization";
    let mut restore = restore_facts(2810);
    // Guest 1 has a copy already.
    (restore.archive, restore.notes_guest) = (backup_of(4, 0).volid, Seen::Is(uuid(4)));
    let pair = Cutover { guest: uuid(1), copy: uuid(2) };
    let backup = Backup { guest: uuid(1), target: store(), quiesced: true };
    let prune = Prune { guest: uuid(1), target: store(), remove: vec![backup_of(1, 2).volid] };
    let ask = Restore { guest: uuid(4), archive: Some(restore.archive.clone()) };
    let kept = PruneFacts { protected: vec![], churned: false };
    let mut new = provision_facts();
    new.vmid = build::free(2100);
    vec![
        case(Operation::RetireGuest(uuid(1)), Concerning::Nothing, needs),
        case(Operation::ReclaimGuest(uuid(3)), Concerning::Reclaim(reclaim_facts()), needs),
        case(
            Operation::CutoverGuest(pair),
            Concerning::Cutover(CutoverFacts { archive_of: Some(uuid(1)) }),
            needs,
        ),
        case(provision(), Concerning::Provision(new), "signed_golden_within_capacity"),
        case(Operation::BackupGuest(backup), Concerning::Backup(backup_facts()), "only_adds"),
        case(Operation::RestoreGuest(ask), Concerning::Restore(restore), "own_archive_beside"),
        case(Operation::PruneBackups(prune), Concerning::Prune(kept), "retention"),
    ]
}

/// A box that asks two operators and the customer of tombstone 3, and what they answered.
struct Asking {
    open: Vec<OpenChallenge>,
    bytes: Vec<u8>,
    digest: Digest,
    operators: OperatorsFile,
    now: Now,
    signed: Vec<String>,
    confirmed: Armored,
    guest_key: Key,
    facts: Facts,
}

impl Asking {
    fn new() -> Self {
        let keys = [1, 2, 3].map(|n| Key::from_seed(&[n; 32]));
        let names = ["ada", "bela", "cili"];
        let line = |(key, name): (&Key, &str)| {
            OperatorKey::new(name, Role::Operator, &openssh_line(&key.public(), name).unwrap()).unwrap()
        };
        let operators = OperatorsFile::new(1, 2, keys.iter().zip(names).map(line).collect()).unwrap();
        // No backup of its last state is proven.
        let about = ReclaimFacts { stopped_at: Some(at(100)), ..reclaim_facts() };
        let facts = Facts { concerning: Concerning::Reclaim(about), ..large_box() };
        let the_box = Key::from_seed(&[9; 32]);
        let kept = |n| OpenChallenge::new(challenge(n).issue(&the_box).unwrap().bytes, 1000, LIFETIME_MS);
        let open: Vec<OpenChallenge> = (0..OPEN).map(kept).collect();
        let (bytes, digest) = (open[9].bytes().to_vec(), open[9].digest());
        let sign = |key: &Key| sshsig::sign(key, Namespace::Operation, &bytes).unwrap();
        let guest_key = Key::from_seed(&[7; 32]);
        let confirmation = Confirmation {
            v: 1,
            challenge: digest,
            object: uuid(3),
            typed: sign::target().label,
            at: at(0),
            boottime_ms: 2000,
            boot_id: "b".repeat(36),
        };
        let confirmed = confirm(&guest_key, &confirmation).unwrap();
        let now = Now {
            boottime_ms: 3000,
            boot_id: "b".repeat(36),
            box_id: BoxId::from_random([8; 16]),
            enrolment_epoch: 1,
        };
        let signed = keys[..2].iter().map(sign).collect();
        let mut asking = Self { open, bytes, digest, operators, now, signed, confirmed, guest_key, facts };
        asking.facts.authorization.targets = Some(challenge(0).targets);
        asking
    }

    fn by_operator(&self) -> Verified<Consent> {
        accept_operator(&self.open, self.digest, &self.signed[0], &self.operators, &self.now).unwrap()
    }

    fn by_customer(&self) -> Verified<Consent> {
        let key = self.guest_key.public();
        let customer = Customer { guest: uuid(3), key: &key };
        accept_customer(&self.open, &self.confirmed, customer, &self.now).unwrap()
    }

    /// All that were given before, checked once more, as before a point of no return.
    fn again(&self) -> Vec<Verified<Consent>> {
        let key = self.guest_key.public();
        let customer = Customer { guest: uuid(3), key: &key };
        let operators =
            self.signed.iter().map(|signed| recheck_operator(&self.bytes, signed, &self.operators));
        let customers = std::iter::once(recheck_customer(&self.bytes, &self.confirmed, customer));
        operators.chain(customers).collect::<Result<_, _>>().unwrap()
    }

    fn decide(&self, consents: &[Verified<Consent>]) -> Verdict<Operation> {
        decide(&Operation::ReclaimGuest(uuid(3)), &self.facts, consents)
    }
}

/// The `n`-th open one.
fn challenge(n: u64) -> Challenge {
    let mut target = sign::target();
    target.uuid = Some(uuid(3));
    Challenge {
        v: CHALLENGE_VERSION,
        box_id: BoxId::from_random([8; 16]),
        enrolment_epoch: 1,
        challenge_id: Digest::of(&n.to_be_bytes()),
        seq: n,
        issued_at: at(0),
        expires_at: at(3600),
        boot_id: "b".repeat(36),
        operation: Asked {
            id: op(1000),
            kind: OperationKind::ReclaimGuest,
            params: Default::default(),
            asked_by: "hub".to_owned(),
            reason: "retired".to_owned(),
            grace_s: 604_800,
        },
        targets: vec![target],
        evidence: Stakes { would_be_lost: vec!["everything since Monday".to_owned()], ..Stakes::default() },
        requires: vec![Signers { operators: 2, customers: vec![uuid(3)] }],
        operators_version: 1,
    }
}

/// An answer that comes in, and what was answered before, each up to the verdict that it leads to.
fn authorizations() -> Vec<(String, u128)> {
    let asking = Asking::new();
    let everybody = asking.again();
    assert_eq!(sign::word(&asking.decide(&[])), "needs_authorization");
    assert_eq!(sign::word(&asking.decide(&everybody)), "in_grace");
    let operator = median(CHECKS, || asking.decide(&[black_box(&asking).by_operator()]));
    let customer = median(CHECKS, || asking.decide(&[black_box(&asking).by_customer()]));
    let again = median(CHECKS, || asking.decide(&black_box(&asking).again()));
    let of = |name: &str, ns| (format!("authorize {name}"), ns);
    vec![of("operator", operator), of("customer", customer), of("three_again", again)]
}
