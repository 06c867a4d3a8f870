//! What a receipt counts for: pure, and judged once, when it comes in, with the key that the box had then.

use felhom_model::BoxId;
use felhom_model::backup::PROVEN;
use felhom_protocol::receipt::{Receipt, SCHEMA, SignedReceipt, Verdict};
use felhom_signing::PublicKey;
use felhom_signing::sshsig::{self, Namespace, SshPublicKey};

/// A receipt with what it counts for.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    /// As it came.
    pub(crate) signed: SignedReceipt,
    /// What it says, if it can be read.
    pub(crate) receipt: Option<Receipt>,
    /// Why it proves nothing; `None`: it proves the restore of its archive.
    pub(crate) problem: Option<String>,
}

/// Judges a receipt of the box with this id and attestation key.
pub(crate) fn judge(signed: SignedReceipt, id: BoxId, key: &PublicKey) -> Judged {
    let receipt: Result<Receipt, _> = serde_json::from_str(&signed.document);
    let problem = match &receipt {
        Err(e) => Some(format!("it cannot be read: {e}")),
        Ok(receipt) => problem(&signed, receipt, id, key),
    };
    Judged { signed, receipt: receipt.ok(), problem }
}

fn problem(signed: &SignedReceipt, receipt: &Receipt, id: BoxId, key: &PublicKey) -> Option<String> {
    let accepted = [SshPublicKey::from(key)];
    let bytes = signed.document.as_bytes().to_vec();
    if let Err(e) = sshsig::verify(&signed.signature, Namespace::Receipt, bytes, &accepted) {
        return Some(format!("its signature does not count: {e}"));
    }
    if receipt.schema != SCHEMA {
        return Some(format!("its schema `{}` is unknown here", receipt.schema));
    }
    if let Some(other) = receipt.box_id.filter(|other| *other != id) {
        return Some(format!("it was made for another box, {other}"));
    }
    if receipt.verdict == Verdict::Failed {
        let failed = receipt.checks.iter().find(|check| !check.passed);
        return Some(match failed {
            Some(check) => {
                format!("the restore test failed at {} {}: {}", check.level, check.name, check.detail)
            }
            None => "the restore test failed".to_owned(),
        });
    }
    match receipt.level {
        Some(level) if level >= PROVEN => None,
        Some(level) => Some(format!("it reached {level}; a restore counts as proven from {PROVEN} on")),
        None => Some("it reached no level".to_owned()),
    }
}
