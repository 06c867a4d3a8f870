//! Ends of boxes' audit logs: a log only ever gets longer. One that got shorter, or has another entry under a number that was
//! told before, was cut or forked, and that stays an alarm. A box that told an end once tells one with each report: where it is
//! missing, nobody would see a cut or a fork.
//!
//! Reports carry ends and no entries. So of entries between two ends the hub knows how many there are, and not that the one
//! end follows on the other: they are counted as unseen, and only the box's export shows what they are.
//!
//! Hub and box each keep what the other cannot change: the hub the signed heads, the box the entries.

use felhom_protocol::hub_sync::Report;
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

/// Entries between the end that was told last and one that follows; of those no end was told, so nothing here leads to them.
pub(crate) fn unseen(known: &Known, head: Tip) -> u64 {
    known.last.map_or(0, |last| head.seq.saturating_sub(last.seq).saturating_sub(1))
}

/// What the hub knows of a box's log that people should know. Of the key that the box has now: of another one is another log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The newest alarm.
    pub(crate) problem: Option<String>,
    /// Since when its reports have no good end, and why.
    pub(crate) absent: Option<(Timestamp, String)>,
}

/// Takes in what a report says of the log's end; an alarm, in words, if something is wrong with it. A missing end is an alarm when
/// it begins to be missing; one that an agent cannot have, as it has not reached its executor yet, is only kept in mind.
///
/// # Errors
/// The database's.
pub(crate) async fn take(
    c: &mut Conn,
    box_name: &str,
    key: &PublicKey,
    report: &Report,
    now: Timestamp,
) -> Result<Option<(&'static str, String)>, Cause> {
    let Some(signed) = &report.audit_head else {
        return missing(c, (box_name, key), report.executor_version.is_some(), now).await;
    };
    let head = match Head::open(signed.clone().into(), key) {
        Ok(head) => head.into_inner().tip,
        Err(e) => {
            let why = format!("the report has no good end of the audit log: {e}");
            audit_heads::set_absent(c, box_name, key, (now, &why)).await?;
            return Ok(Some(("audit_head_forged", why)));
        }
    };
    audit_heads::set_present(c, box_name).await?;
    let known = audit_heads::known(c, box_name, key, head).await?;
    if known.last == Some(head) {
        return Ok(None);
    }
    let problem = judge(&known, head);
    let unseen = unseen(&known, head);
    let told = audit_heads::Told { head, problem: problem.clone(), unseen, signed: signed.clone() };
    audit_heads::put(c, box_name, key, &told, now).await?;
    Ok(problem.map(|problem| ("audit_log_broken", problem)))
}

/// A report without an end. A box that never told one has nothing that could be missing.
async fn missing(
    c: &mut Conn,
    (box_name, key): (&str, &PublicKey),
    reached: bool,
    now: Timestamp,
) -> Result<Option<(&'static str, String)>, Cause> {
    let Some(last) = audit_heads::last(c, box_name, key).await? else { return Ok(None) };
    let because = if reached { "" } else { ", as its agent says that it has not reached its executor yet" };
    let why = format!(
        "its reports have no end of the audit log any more{because}; entry {} was the last one told, and a cut or a fork since \
         would not be seen",
        last.seq
    );
    let is_news = audit_heads::set_absent(c, box_name, key, (now, &why)).await?;
    Ok((is_news && reached).then_some(("audit_head_missing", why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use felhom_model::Digest;

    fn tip(seq: u64, text: &str) -> Tip {
        Tip { seq, hash: Digest::of(text.as_bytes()) }
    }

    #[test]
    fn entries_that_no_end_was_told_of_are_counted() {
        let known = |last: Option<Tip>| Known { last, same_number: vec![] };
        assert_eq!(unseen(&known(None), tip(7, "a")), 0, "what was before the first end is not between two");
        assert_eq!(unseen(&known(Some(tip(7, "a"))), tip(8, "b")), 0);
        assert_eq!(unseen(&known(Some(tip(7, "a"))), tip(90, "b")), 82);
        assert_eq!(unseen(&known(Some(tip(7, "a"))), tip(3, "b")), 0);
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
