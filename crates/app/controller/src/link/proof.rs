//! What of the box's word about backups and proofs may be believed: a restore counts as proven only by a receipt whose
//! signature is that of the attestation key which the executor itself pushed into this guest. The agent only carries it.

use felhom_model::{
    GuestUuid,
    backup::{Level, PROVEN},
};
use felhom_protocol::{
    local_api::RestoreTestStatus,
    receipt::{Receipt, Verdict},
    status::Archive,
};
use felhom_signing::{
    PublicKey,
    sshsig::{self, Namespace, SshPublicKey},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is believed and kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proofs {
    /// The newest archive, as the box says.
    pub last_backup: Option<Archive>,
    /// The newest restore that a receipt proves.
    pub proven: Option<Tested>,
    /// The newest restore test that failed, if it is newer.
    pub failed: Option<Tested>,
    /// Why a receipt was not believed.
    pub distrust: Option<String>,
}

/// A restore test, from its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// When the data of the archive was frozen.
    pub taken_at: Timestamp,
    /// When the test began.
    pub tested_at: Timestamp,
    /// How far it passed.
    pub level: Option<Level>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What failed.
    pub failed: Vec<String>,
}

impl Proofs {
    /// Takes in what the box says now; a proof that was believed before stays until a newer one comes.
    pub fn take_in(&self, said: RestoreTestStatus, key: &PublicKey, guest: GuestUuid) -> Self {
        let mut now = self.clone();
        now.last_backup = said.last_backup;
        let Some(signed) = said.receipt else {
            return now;
        };
        let accepted = [SshPublicKey::from(key)];
        let verified =
            sshsig::verify(&signed.signature, Namespace::Receipt, signed.document.into_bytes(), &accepted)
                .map_err(|e| e.to_string())
                .and_then(|(bytes, _)| {
                    serde_json::from_slice::<Receipt>(bytes.get()).map_err(|e| e.to_string())
                });
        match verified {
            Err(e) => now.distrust = Some(e),
            Ok(receipt) if receipt.guest != guest => {
                now.distrust = Some(format!("the receipt is of another guest, {}", receipt.guest));
            }
            Ok(receipt) => {
                now.distrust = None;
                let proves = receipt.verdict == Verdict::Passed && receipt.level >= Some(PROVEN);
                let tested = Tested::from(receipt);
                let newer =
                    |old: &Option<Tested>| old.as_ref().is_none_or(|old| tested.tested_at >= old.tested_at);
                if proves && newer(&now.proven) {
                    now.failed.take_if(|failed| failed.tested_at < tested.tested_at);
                    now.proven = Some(tested);
                } else if !proves && newer(&now.proven) && newer(&now.failed) {
                    now.failed = Some(tested);
                }
            }
        }
        now
    }
}

impl From<Receipt> for Tested {
    fn from(receipt: Receipt) -> Self {
        let failed = receipt.checks.into_iter().filter(|check| !check.passed);
        Self {
            taken_at: receipt.taken_at,
            tested_at: receipt.started,
            level: receipt.level,
            took_ms: receipt.took_ms,
            failed: failed.map(|check| format!("{}: {}", check.name, check.detail)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use felhom_protocol::receipt::{SCHEMA, SignedReceipt};
    use felhom_signing::Key;

    fn guest(n: u8) -> GuestUuid {
        GuestUuid::from_random([n; 16])
    }

    fn receipt(key: &Key, verdict: Verdict, started: &str) -> RestoreTestStatus {
        let receipt = Receipt {
            schema: SCHEMA.into(),
            box_id: None,
            operation: felhom_model::OperationId::from_parts(1, 1),
            guest: guest(1),
            archive: "local:backup/a.tar.zst".parse().unwrap(),
            archive_digest: felhom_model::Digest::of(b"a"),
            taken_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            asked_level: Level::L4,
            level: Some(Level::L4),
            checks: vec![],
            verdict,
            not_tested: vec![],
            started: started.parse().unwrap(),
            took_ms: 1,
            bytes: 1,
        };
        let document = serde_json::to_string(&receipt).unwrap();
        let signature = sshsig::sign(key, Namespace::Receipt, document.as_bytes()).unwrap();
        RestoreTestStatus { receipt: Some(SignedReceipt { document, signature }), ..Default::default() }
    }

    #[test]
    fn only_the_boxs_own_unaltered_receipt_of_this_guest_proves() {
        let (key, other) = (Key::from_seed(&[1; 32]), Key::from_seed(&[2; 32]));
        let none = Proofs::default();
        let good = receipt(&key, Verdict::Passed, "2026-01-02T00:00:00Z");
        let proofs = none.take_in(good.clone(), &key.public(), guest(1));
        assert_eq!(proofs.proven.as_ref().unwrap().level, Some(Level::L4));
        assert!(none.take_in(good.clone(), &other.public(), guest(1)).proven.is_none());
        assert!(none.take_in(good.clone(), &key.public(), guest(2)).distrust.is_some());
        let mut altered = good;
        if let Some(receipt) = &mut altered.receipt {
            receipt.document = receipt.document.replace("\"failed\"", "\"passed\"").replace("L4", "L3");
        }
        assert!(none.take_in(altered, &key.public(), guest(1)).distrust.is_some());
        let failed = receipt(&key, Verdict::Failed, "2026-01-03T00:00:00Z");
        let both = proofs.take_in(failed, &key.public(), guest(1));
        assert!(both.proven.is_some() && both.failed.is_some());
    }
}
