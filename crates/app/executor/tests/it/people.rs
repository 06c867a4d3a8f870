//! Operators with real keys of `ssh-keygen`, and the customer, who has the stub guest's key.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use felhom_model::operation::WayOut;
use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationState};
use felhom_protocol::executor::{BoxIdentity, RotateOperatorsParams};
use felhom_protocol::status;
use felhom_signing::challenge::Challenge;
use felhom_signing::consent::{Armored, Confirmation, Veto, Waiting, confirm};
use felhom_signing::operators::{OperatorKey, OperatorsFile, Role};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bench::{Bench, guest_key};

/// Keys of operators, each in a file named as its owner.
pub(crate) struct People {
    dir: TempDir,
}

fn keygen(dir: &Path, args: &[&str]) {
    let mut command = Command::new("ssh-keygen");
    let output = command.current_dir(dir).args(args).stdin(Stdio::null()).output().expect("ssh-keygen");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl People {
    /// These operators; the box takes their file from local media and is enrolled.
    pub(crate) async fn on(bench: &mut Bench, names: &[&str]) -> Self {
        let people = Self { dir: tempfile::tempdir().unwrap() };
        let key = |name: &&str| {
            people.make(name);
            let line = fs::read_to_string(people.dir.path().join(format!("{name}.pub"))).unwrap();
            OperatorKey::new(name, Role::Operator, line.trim()).unwrap()
        };
        let file = OperatorsFile::new(1, 1, names.iter().map(key).collect()).unwrap();
        let path = bench.sim.path("operators.json");
        fs::write(&path, file.to_text().unwrap()).unwrap();
        bench.kill();
        let done = bench.sim.executor(&["operators", "install", path.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert_eq!(done.json["version"], 1);
        bench.serve().await;
        let identity = BoxIdentity { box_id: BoxId::from_random([3; 16]), epoch: 1 };
        bench.client.set_box(&identity).await.unwrap();
        people
    }

    /// Makes a key for somebody, known to the box or not.
    pub(crate) fn make(&self, name: &str) {
        keygen(self.dir.path(), &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name]);
    }

    /// The armored signature of a person over these bytes.
    pub(crate) fn sign(&self, name: &str, bytes: &[u8]) -> String {
        self.sign_as(name, "felhom-op-v1", bytes)
    }

    fn sign_as(&self, name: &str, namespace: &str, bytes: &[u8]) -> String {
        let file = self.dir.path().join("document");
        fs::write(&file, bytes).unwrap();
        let _ = fs::remove_file(self.dir.path().join("document.sig"));
        keygen(self.dir.path(), &["-Y", "sign", "-q", "-f", name, "-n", namespace, "document"]);
        fs::read_to_string(self.dir.path().join("document.sig")).unwrap()
    }

    /// A next version of the operators' file; who has no key yet gets one.
    pub(crate) fn next_file(&self, version: u64, names: &[&str]) -> Vec<u8> {
        let key = |name: &&str| {
            if !self.dir.path().join(name).exists() {
                self.make(name);
            }
            let line = fs::read_to_string(self.dir.path().join(format!("{name}.pub"))).unwrap();
            OperatorKey::new(name, Role::Operator, line.trim()).unwrap()
        };
        let file = OperatorsFile::new(version, 1, names.iter().map(key).collect()).unwrap();
        file.to_text().unwrap().into_bytes()
    }

    /// Parameters of `rotate_operators` with signatures of these people.
    pub(crate) fn rotation(&self, version: u64, document: &[u8], signers: &[&str]) -> Value {
        let signatures = signers.iter().map(|name| self.sign_as(name, "felhom-operators-v1", document));
        let params = RotateOperatorsParams {
            version,
            digest: Digest::of(document),
            document: document.to_vec(),
            signatures: signatures.collect(),
        };
        serde_json::to_value(params).unwrap()
    }

    /// A veto of a person.
    pub(crate) fn veto(&self, name: &str, operation: OperationId) -> Armored {
        let veto = Veto {
            v: 1,
            box_id: BoxId::from_random([3; 16]),
            veto: operation,
            object: None,
            act: None,
            reason: "not this one".to_owned(),
            at: jiff::Timestamp::now(),
        };
        self.sign_veto(name, &veto)
    }

    /// A veto of a person against what the box says would happen.
    pub(crate) fn veto_against(&self, name: &str, says: &Waiting) -> Armored {
        let veto = Veto {
            v: 2,
            box_id: says.box_id,
            veto: says.waiting,
            object: None,
            act: Some(says.act),
            reason: "not this one".to_owned(),
            at: jiff::Timestamp::now(),
        };
        self.sign_veto(name, &veto)
    }

    fn sign_veto(&self, name: &str, veto: &Veto) -> Armored {
        let bytes = veto.to_bytes().unwrap();
        let signature = self.sign(name, &bytes);
        Armored { bytes, signature }
    }
}

/// What the box signed of an operation in its grace.
pub(crate) async fn waiting(bench: &Bench, of: OperationId) -> Waiting {
    let grace = bench.client.operation(of).await.unwrap().grace.expect("an operation in its grace");
    let key = bench.client.observation().await.unwrap().attestation_key;
    Waiting::open(grace.signed.unwrap().into(), &key).unwrap().into_inner()
}

/// What the box asks about an operation, opened with the key that it showed.
pub(crate) async fn challenge(bench: &Bench, of: OperationId) -> (status::Challenge, Challenge) {
    let shown = bench.client.challenges().await.unwrap();
    let shown = shown.into_iter().find(|c| c.operation == of).expect("a challenge of this operation");
    let key = bench.client.observation().await.unwrap().attestation_key;
    let challenge = Challenge::open(shown.signed.clone().into(), &key).unwrap().into_inner();
    assert_eq!(shown.digest, Digest::of(&shown.signed.bytes));
    (shown, challenge)
}

/// Gives what an operation asks people for, as far as the executor takes it: both operators, and each customer. Nothing if it does
/// not ask, or is over.
pub(crate) async fn consent(bench: &Bench, people: &People, of: OperationId) {
    let pending = |op: status::Operation| op.state == OperationState::PendingAuthorization;
    let asks = async || bench.client.operation(of).await.is_ok_and(pending);
    while asks().await {
        let Ok(open) = bench.client.challenges().await else { return };
        let key = bench.client.observation().await.map(|seen| seen.attestation_key);
        let (Some(shown), Ok(key)) = (open.into_iter().find(|c| c.operation == of), key) else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let asked = Challenge::open(shown.signed.clone().into(), &key).unwrap().into_inner();
        for name in ["anna", "bela"] {
            // One may be enough, and whoever listens may die of it.
            if bench.client.answer(shown.digest, &people.sign(name, &shown.signed.bytes)).await.is_err() {
                break;
            }
        }
        let customers = asked.requires.iter().flat_map(|signers| &signers.customers);
        for guest in customers {
            let _ = bench.client.confirm(shown.digest, &confirmation(&shown, &asked, *guest)).await;
        }
    }
}

/// Asks for an operation that people sign, and expects it done.
pub(crate) async fn signed(
    bench: &Bench,
    people: &People,
    key: &str,
    (kind, params): (&str, Value),
) -> OperationId {
    let op = bench.ask(key, kind, params).await;
    consent(bench, people, op.id).await;
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::Done, "{op:?}\n{}", bench.log());
    op.id
}

/// Leads on an operation that stands, in the first way that it offers. Whether it offers one.
pub(crate) async fn lead_on(bench: &Bench, people: &People, stands: OperationId) -> bool {
    for way in WayOut::ALL {
        let params = json!({ "operation": stands, "way": way.name() });
        let op = bench.ask(&format!("{stands}-{}", way.name()), "resolve_operation", params).await;
        if op.state != OperationState::Refused {
            consent(bench, people, op.id).await;
            let op = bench.end(op.id).await;
            assert_eq!(op.state, OperationState::Done, "{op:?}\n{}", bench.log());
            return true;
        }
    }
    false
}

/// The customer's confirmation of a challenge, as the guest's controller would write it.
pub(crate) fn confirmation(shown: &status::Challenge, challenge: &Challenge, guest: GuestUuid) -> Armored {
    let label = challenge.targets.iter().find(|t| t.uuid == Some(guest)).unwrap().label.clone();
    let document = Confirmation {
        v: 1,
        challenge: shown.digest,
        object: guest,
        typed: label,
        at: jiff::Timestamp::now(),
        boottime_ms: boottime_ms(),
        boot_id: challenge.boot_id.clone(),
    };
    confirm(&guest_key(), &document).unwrap()
}

fn boottime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap() * 1000 + u64::try_from(now.tv_nsec).unwrap() / 1_000_000
}
