//! Receipts: whether the pinned key of the box signed them. The hub's copy of the key counts only if it is the pinned one.

use felhom_model::BoxId;
use felhom_model::backup::Level;
use felhom_protocol::receipt::{Receipt, SignedReceipt, Verdict};
use felhom_signing::PublicKey;
use felhom_signing::sshsig::{self, Namespace, SshPublicKey};
use serde::Serialize;

/// What can be said of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Judged {
    /// `verified`, `not_pinned` or `bad`.
    pub(crate) signature: &'static str,
    /// Why it is not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// What it says; of a bad one this is what it claims.
    pub(crate) receipt: Option<Receipt>,
}

impl Judged {
    /// The level that it proves, if it is verified and passed.
    pub(crate) fn proves(&self) -> Option<Level> {
        let receipt = self.receipt.as_ref().filter(|receipt| receipt.verdict == Verdict::Passed)?;
        receipt.level.filter(|_| self.signature == "verified")
    }
}

/// Judges a receipt by the fingerprint that this machine pinned and the key that the hub tells.
pub(crate) fn judge(
    signed: &SignedReceipt,
    pinned: Option<&str>,
    told: Option<&PublicKey>,
    box_id: Option<BoxId>,
) -> Judged {
    let claimed: Option<Receipt> = serde_json::from_str(&signed.document).ok();
    let with = |signature, problem: &str| Judged {
        signature,
        problem: Some(problem.to_owned()),
        receipt: claimed.clone(),
    };
    let Some(key) = told else { return with("bad", "the hub tells no key of the box") };
    if pinned.is_some_and(|pin| pin != key.fingerprint()) {
        return with("bad", "the hub tells another key than the pinned one");
    }
    let bytes = signed.document.clone().into_bytes();
    match sshsig::verify(&signed.signature, Namespace::Receipt, bytes, &[SshPublicKey::from(key)]) {
        Err(error) => with("bad", &error.to_string()),
        Ok(_) if claimed.is_none() => with("bad", "it is signed, but no receipt that this version reads"),
        Ok(_)
            if claimed
                .as_ref()
                .is_some_and(|receipt| receipt.box_id.is_some() && receipt.box_id != box_id) =>
        {
            with("bad", "it was made for another box")
        }
        Ok(_) if pinned.is_none() => {
            with("not_pinned", "no key is pinned for this box; see `felhom box pin`")
        }
        Ok(_) => Judged { signature: "verified", problem: None, receipt: claimed },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use felhom_model::{Digest, GuestUuid, OperationId};
    use felhom_signing::Key;
    use jiff::Timestamp;

    fn receipt(key: &Key) -> SignedReceipt {
        let receipt = Receipt {
            schema: felhom_protocol::receipt::SCHEMA.to_owned(),
            box_id: None,
            operation: OperationId::from_parts(1, 1),
            guest: GuestUuid::from_random([1; 16]),
            archive: "local:backup/a.tar.zst".parse().unwrap(),
            archive_digest: Digest::of(b"a"),
            taken_at: Timestamp::UNIX_EPOCH,
            asked_level: Level::L4,
            level: Some(Level::L4),
            checks: vec![],
            verdict: Verdict::Passed,
            not_tested: vec![],
            started: Timestamp::UNIX_EPOCH,
            took_ms: 1,
            bytes: 1,
        };
        let document = serde_json::to_string(&receipt).unwrap();
        let signature = sshsig::sign(key, Namespace::Receipt, document.as_bytes()).unwrap();
        SignedReceipt { document, signature }
    }

    #[test]
    fn only_the_pinned_key_proves_anything() {
        let key = Key::from_seed(&[1; 32]);
        let (public, pin) = (key.public(), key.public().fingerprint());
        let good = receipt(&key);
        assert_eq!(judge(&good, Some(&pin), Some(&public), None).proves(), Some(Level::L4));
        assert_eq!(judge(&good, None, Some(&public), None).signature, "not_pinned");
        assert_eq!(judge(&good, None, Some(&public), None).proves(), None);
        let other = Key::from_seed(&[2; 32]);
        let forged = judge(&receipt(&other), Some(&pin), Some(&other.public()), None);
        assert_eq!((forged.signature, forged.proves()), ("bad", None));
        let home = BoxId::from_random([8; 16]);
        let away = SignedReceipt {
            document: good.document.replace("\"box_id\":null", &format!("\"box_id\":\"{home}\"")),
            ..good.clone()
        };
        let signature = sshsig::sign(&key, Namespace::Receipt, away.document.as_bytes()).unwrap();
        let away = SignedReceipt { signature, ..away };
        assert_eq!(judge(&away, Some(&pin), Some(&public), Some(home)).signature, "verified");
        let other_box = judge(&away, Some(&pin), Some(&public), Some(BoxId::from_random([9; 16])));
        assert_eq!((other_box.signature, other_box.proves()), ("bad", None));
        let altered = SignedReceipt { document: good.document.replace("L4", "L3"), ..good };
        assert_eq!(judge(&altered, Some(&pin), Some(&public), None).signature, "bad");
    }
}
