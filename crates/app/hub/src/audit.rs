//! Ends of boxes' audit logs: a log only ever gets longer. One that got shorter, or has another entry under a number that was
//! told before, was cut or forked, and that stays an alarm.
//!
//! Hub and box each keep what the other cannot change: the hub the signed heads, the box the entries.

use felhom_protocol::SignedBytes;
use felhom_signing::PublicKey;
use felhom_signing::audit::{Head, Tip};
use jiff::Timestamp;

use crate::store::{Cause, Conn, audit_heads};

/// What the hub knows of a log when a head comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The head that was told last.
    pub(crate) last: Option<Tip>,
    /// Hashes that were told for the number of the head that comes.
    pub(crate) same_number: Vec<Tip>,
}

/// What is wrong with a head; nothing if it may follow on what is known.
pub(crate) fn judge(known: &Known, head: Tip) -> Option<String> {
    if let Some(other) = known.same_number.iter().find(|other| other.hash != head.hash) {
        return Some(format!(
            "the box's audit log has another entry {} than it had before ({} instead of {}): it was forked",
            head.seq, head.hash, other.hash
        ));
    }
    let last = known.last.filter(|last| last.seq > head.seq)?;
    Some(format!(
        "the box's audit log ended with entry {} and now ends with entry {}: its end was cut off",
        last.seq, head.seq
    ))
}

/// Takes in the head of a report; an alarm, in words, if something is wrong with it.
///
/// # Errors
/// The database's.
pub(crate) async fn take(
    c: &mut Conn,
    box_name: &str,
    key: &PublicKey,
    signed: &SignedBytes,
    now: Timestamp,
) -> Result<Option<(&'static str, String)>, Cause> {
    let head = match Head::open(signed.clone().into(), key) {
        Ok(head) => head.into_inner().tip,
        Err(e) => {
            return Ok(Some((
                "audit_head_forged",
                format!("the report has no good end of the audit log: {e}"),
            )));
        }
    };
    let known = audit_heads::known(c, box_name, key, head).await?;
    if known.last == Some(head) {
        return Ok(None);
    }
    let problem = judge(&known, head);
    let told = audit_heads::Told { head, problem: problem.clone(), signed: signed.clone() };
    audit_heads::put(c, box_name, key, &told, now).await?;
    Ok(problem.map(|problem| ("audit_log_broken", problem)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use felhom_model::Digest;

    fn tip(seq: u64, text: &str) -> Tip {
        Tip { seq, hash: Digest::of(text.as_bytes()) }
    }

    #[test]
    fn a_log_only_gets_longer() {
        let known =
            |last: Option<Tip>, same_number: &[Tip]| Known { last, same_number: same_number.to_vec() };
        assert_eq!(judge(&known(None, &[]), tip(7, "a")), None);
        assert_eq!(judge(&known(Some(tip(7, "a")), &[tip(7, "a")]), tip(7, "a")), None);
        assert_eq!(
            judge(&known(Some(tip(7, "a")), &[]), tip(90, "b")),
            None,
            "the hub need not see every entry"
        );
        let fork = judge(&known(Some(tip(7, "a")), &[tip(7, "a")]), tip(7, "b")).unwrap();
        assert!(fork.contains("another entry 7"), "{fork}");
        let fork = judge(&known(Some(tip(9, "c")), &[tip(7, "a")]), tip(7, "b")).unwrap();
        assert!(fork.contains("another entry 7"), "{fork}");
        let cut = judge(&known(Some(tip(9, "c")), &[tip(7, "a")]), tip(7, "a")).unwrap();
        assert!(cut.contains("entry 9") && cut.contains("entry 7"), "{cut}");
    }
}
