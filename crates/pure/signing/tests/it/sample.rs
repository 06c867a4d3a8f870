//! A box with a challenge, two operators, a recovery key and a customer.

use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind, Vmid};
use felhom_signing::challenge::{Asked, CHALLENGE_VERSION, Challenge, Signers, Stakes, Target};
use felhom_signing::consent::{Confirmation, Customer, LIFETIME_MS, Now, OpenChallenge};
use felhom_signing::operators::{OperatorKey, OperatorsFile, Role};
use felhom_signing::sshsig::{self, Namespace, openssh_line};
use felhom_signing::{Key, PublicKey};
use jiff::Timestamp;

/// When the challenge was issued, by the box's clock since its boot.
pub(crate) const ISSUED_MS: u64 = 5_000_000;

pub(crate) fn key(n: u8) -> Key {
    Key::from_seed(&[n; 32])
}

/// Ada's first key, Ada's second, Bela's, and a recovery key.
pub(crate) const ADA: u8 = 1;
pub(crate) const ADA_TOO: u8 = 2;
pub(crate) const BELA: u8 = 3;
pub(crate) const VAULT: u8 = 4;
pub(crate) const STRANGER: u8 = 5;
const GUEST: u8 = 6;

pub(crate) fn entry(name: &str, role: Role, n: u8) -> OperatorKey {
    OperatorKey::new(name, role, &openssh_line(&key(n).public(), name).unwrap()).unwrap()
}

pub(crate) fn entries() -> Vec<OperatorKey> {
    vec![
        entry("ada", Role::Operator, ADA),
        entry("ada", Role::Operator, ADA_TOO),
        entry("bela", Role::Operator, BELA),
        entry("vault", Role::Recovery, VAULT),
    ]
}

pub(crate) fn operators() -> OperatorsFile {
    OperatorsFile::new(3, 2, entries()).unwrap()
}

/// An operators' file with one operator's key.
pub(crate) fn operators_of(line: &str) -> OperatorsFile {
    OperatorsFile::new(1, 1, vec![OperatorKey::new("ada", Role::Operator, line).unwrap()]).unwrap()
}

pub(crate) fn guest() -> GuestUuid {
    GuestUuid::from_random([7; 16])
}

pub(crate) fn guest_key() -> Key {
    key(GUEST)
}

pub(crate) fn guest_public() -> PublicKey {
    guest_key().public()
}

pub(crate) fn customer(key: &PublicKey) -> Customer<'_> {
    Customer { guest: guest(), key }
}

pub(crate) fn challenge() -> Challenge {
    let target = Target {
        uuid: Some(guest()),
        vmid: Some(Vmid::try_from(2000).unwrap()),
        volids: vec!["local-lvm:vm-2000-disk-0".parse().unwrap()],
        durable_id: None,
        bytes: 8 << 30,
        label: "family".to_owned(),
        config_digest: Some(Digest::of(b"config")),
    };
    let operation = Asked {
        id: OperationId::from_parts(1_700_000_000_000, 1),
        kind: OperationKind::ReclaimGuest,
        params: serde_json::json!({ "guest": guest() }),
        asked_by: "hub".to_owned(),
        reason: "retired".to_owned(),
        grace_s: 604_800,
    };
    Challenge {
        v: CHALLENGE_VERSION,
        box_id: BoxId::from_random([8; 16]),
        enrolment_epoch: 2,
        challenge_id: Digest::of(b"256 random bits"),
        seq: 11,
        issued_at: Timestamp::from_second(1_700_000_000).unwrap(),
        expires_at: Timestamp::from_second(1_700_003_600).unwrap(),
        boot_id: "b".repeat(36),
        operation,
        targets: vec![target],
        evidence: Stakes { would_be_lost: vec!["everything since Monday".to_owned()], ..Stakes::default() },
        requires: vec![Signers { operators: 2, customers: vec![guest()] }],
        operators_version: 3,
    }
}

/// As the box keeps it.
pub(crate) fn kept(challenge: &Challenge) -> OpenChallenge {
    let bytes = challenge.issue(&key(9)).unwrap().bytes;
    OpenChallenge::new(bytes, ISSUED_MS, LIFETIME_MS)
}

/// The box a minute after it issued [`challenge`].
pub(crate) fn now() -> Now {
    let challenge = challenge();
    Now {
        boottime_ms: ISSUED_MS + 60_000,
        boot_id: challenge.boot_id,
        box_id: challenge.box_id,
        enrolment_epoch: challenge.enrolment_epoch,
    }
}

pub(crate) fn op_signature(n: u8, bytes: &[u8]) -> String {
    sshsig::sign(&key(n), Namespace::Operation, bytes).unwrap()
}

/// The customer typed the name 30 s after the challenge was issued.
pub(crate) fn confirmation() -> Confirmation {
    Confirmation {
        v: 1,
        challenge: kept(&challenge()).digest(),
        object: guest(),
        typed: " family\n".to_owned(),
        at: Timestamp::from_second(1_700_000_030).unwrap(),
        boottime_ms: ISSUED_MS + 30_000,
        boot_id: challenge().boot_id,
    }
}

/// The bytes inside an armor, and an armor around bytes.
pub(crate) fn unarmor(armored: &str) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let lines = armored.lines().filter(|line| !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

pub(crate) fn armor(blob: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(blob);
    let lines: Vec<&str> = text.as_bytes().chunks(70).map(|c| std::str::from_utf8(c).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// `bytes` with one bit flipped, if they have any.
pub(crate) fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.is_empty() {
        return bytes;
    }
    let at = at % (bytes.len() * 8);
    bytes[at / 8] ^= 1 << (at % 8);
    bytes
}
