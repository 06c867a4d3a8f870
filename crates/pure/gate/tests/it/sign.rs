//! Consents as they come out of the signing crate, of any content.

use crate::build::*;
use felhom_gate::*;
use felhom_model::*;
use felhom_signing::challenge::{Consent, Consenter, Target};
use felhom_signing::{Context, Key, Signed, Verified};
use std::convert::Infallible;
use std::sync::LazyLock;

/// One genuine signature is enough: what it says is put in by each test.
static SIGNED: LazyLock<Verified<Vec<u8>>> = LazyLock::new(|| {
    let key = Key::from_seed(&[7; 32]);
    let signed = Signed::new(&key, Context::Challenge, b"a challenge".to_vec());
    signed.verify(&key.public(), Context::Challenge).unwrap()
});

pub(crate) fn verified(consent: Consent) -> Verified<Consent> {
    SIGNED.clone().try_map(|_| Ok::<_, Infallible>(consent)).unwrap()
}

static TARGET: LazyLock<Target> = LazyLock::new(|| Target {
    uuid: Some(uuid(1)),
    vmid: Some(vmid(2000)),
    volids: vec![volid("local:2000/vm-2000-disk-0.raw")],
    durable_id: Some("fs-1".into()),
    bytes: 10,
    label: "guest-1".into(),
    config_digest: Some(Digest::of(b"config")),
});

pub(crate) fn target() -> Target {
    TARGET.clone()
}

static CHALLENGE: LazyLock<Digest> = LazyLock::new(|| Digest::of(b"a challenge"));

/// A consent to `kind` within the operation of [`facts`], to [`target`].
pub(crate) fn consent(kind: OperationKind, by: Consenter) -> Consent {
    Consent { by, challenge: *CHALLENGE, operation: op(1000), kind, targets: vec![target()] }
}

pub(crate) fn operator(name: &str) -> Consenter {
    Consenter::Operator { name: name.into(), key: format!("SHA256:{name}") }
}

pub(crate) fn customer(n: u8) -> Consenter {
    Consenter::Customer { guest: uuid(n) }
}

/// Verified consents of all these to `operation`.
pub(crate) fn all_of(operation: &Operation, who: &[Consenter]) -> Vec<Verified<Consent>> {
    who.iter().map(|by| verified(consent(operation.kind(), by.clone()))).collect()
}

/// The verdict in one word: the code of the rule, or what it needs.
pub(crate) fn word(verdict: &Verdict<Operation>) -> &'static str {
    match verdict {
        Verdict::Allow(approved) => approved.reason().code,
        Verdict::NeedsAuthorization(..) => "needs_authorization",
        Verdict::Wait { .. } => "in_grace",
        Verdict::Refuse(reason) => reason.code,
    }
}

/// The word of a verdict with the consents of these, to what stands there now.
pub(crate) fn asked_with(operation: &Operation, facts: &Facts, who: &[Consenter]) -> &'static str {
    let mut facts = facts.clone();
    facts.authorization.targets = Some(vec![target()]);
    word(&decide(operation, &facts, &all_of(operation, who)))
}

/// Who suffices, as `operators+customers`, of each alternative; checked against what the gate then does: each alternative
/// passes, and with any signer less it does not.
pub(crate) fn needs(operation: &Operation, facts: &Facts) -> Vec<(u8, Vec<GuestUuid>)> {
    let requirement = match decide(operation, facts, &[]) {
        Verdict::NeedsAuthorization(requirement, evidence) => {
            assert!(evidence.iter().count() > 0 && !requirement.why.is_empty(), "{}", operation.kind());
            requirement
        }
        other => panic!("{}: {}", operation.kind(), word(&other)),
    };
    let passes = if requirement.grace_s > 0 { "in_grace" } else { "consented" };
    for signers in &requirement.any_of {
        let operators = ["ada", "bob", "cleo"].into_iter().take(signers.operators.into()).map(operator);
        let customers = signers.customers.iter().map(|guest| Consenter::Customer { guest: *guest });
        let who: Vec<Consenter> = operators.chain(customers).collect();
        assert_eq!(asked_with(operation, facts, &who), passes, "{} with {who:?}", operation.kind());
        for left_out in 0..who.len() {
            let mut fewer = who.clone();
            fewer.remove(left_out);
            let suffices = requirement.any_of.iter().any(|other| {
                let operators = fewer.iter().filter(|by| matches!(by, Consenter::Operator { .. })).count();
                let has = |guest: &GuestUuid| fewer.contains(&Consenter::Customer { guest: *guest });
                operators >= usize::from(other.operators) && other.customers.iter().all(has)
            });
            let wanted = if suffices { passes } else { "needs_authorization" };
            assert_eq!(asked_with(operation, facts, &fewer), wanted, "{} with {fewer:?}", operation.kind());
        }
    }
    requirement.any_of.into_iter().map(|signers| (signers.operators, signers.customers)).collect()
}
