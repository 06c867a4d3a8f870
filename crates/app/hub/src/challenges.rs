//! What the hub makes of a challenge: pure. It is a mailbox: it looks at the box's signature so that people are warned early,
//! and whatever it finds, bytes and signature are kept and handed on exactly as they came.

use felhom_model::{BoxId, Digest, OperationId, OperationState};
use felhom_protocol::hub_api::{AnswerView, ChallengeState, ChallengeView};
use felhom_protocol::status;
use felhom_signing::PublicKey;
use felhom_signing::challenge::{Challenge, Signers};
use jiff::{SignedDuration, Timestamp};

use crate::words;

/// No challenge lives longer.
const LONGEST: u64 = 25 * 3600;

/// A challenge that came in, with what was found.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    /// As it came.
    pub(crate) told: status::Challenge,
    /// SHA-256 of the bytes, whatever the box says.
    pub(crate) digest: Digest,
    /// The operation, by the signed bytes where they are good.
    pub(crate) operation: OperationId,
    /// Why it does not count here.
    pub(crate) problem: Option<String>,
}

/// Judges a challenge of the box with this id and attestation key.
pub(crate) fn judge(told: status::Challenge, id: BoxId, key: &PublicKey) -> Judged {
    let digest = Digest::of(&told.signed.bytes);
    let opened = Challenge::open(told.signed.clone().into(), key);
    let (operation, problem) = match opened {
        Err(e) => (told.operation, Some(format!("bad_signature: {e}"))),
        Ok(challenge) => {
            let challenge = challenge.into_inner();
            let other = (challenge.box_id != id)
                .then(|| format!("other_box: it was issued by another box, {}", challenge.box_id));
            (challenge.operation.id, other)
        }
    };
    Judged { told, digest, operation, problem }
}

/// Until when it can be answered, by the hub's clock.
pub(crate) fn expires(now: Timestamp, left_s: u64) -> Timestamp {
    now + SignedDuration::from_secs(left_s.min(LONGEST).cast_signed())
}

/// A challenge as the hub keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// As the API gives it.
    pub(crate) view: ChallengeView,
    /// What it says, if it counts here.
    pub(crate) says: Option<Challenge>,
    /// Until when it can be answered.
    pub(crate) expires: Timestamp,
    /// The operation's state as the box told it last.
    pub(crate) operation: Option<OperationState>,
}

impl Found {
    /// Whether people are asked for something now.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.view.state, ChallengeState::Open | ChallengeState::Answered)
    }

    /// Whether it was authorized and can still be vetoed.
    pub(crate) fn is_in_grace(&self) -> bool {
        self.view.state == ChallengeState::Accepted && self.operation == Some(OperationState::Waiting)
    }

    /// What it concerns, as the box calls it.
    pub(crate) fn on(&self) -> String {
        let labels = self.says.iter().flat_map(|says| &says.targets).map(|target| target.label.as_str());
        labels.collect::<Vec<_>>().join(", ")
    }

    /// Bytes at stake in all.
    pub(crate) fn at_stake(&self) -> String {
        let targets = self.says.iter().flat_map(|says| &says.targets);
        words::bytes(targets.map(|target| target.bytes).fold(0, u64::saturating_add))
    }

    /// Who must sign, one text for each set that suffices.
    pub(crate) fn signers(&self) -> Vec<String> {
        self.says.iter().flat_map(|says| &says.requires).map(signers).collect()
    }
}

fn signers(signers: &Signers) -> String {
    let operators = match signers.operators {
        0 => None,
        1 => Some("1 operator".to_owned()),
        n => Some(format!("{n} different operators")),
    };
    let customer = match signers.customers.len() {
        0 => None,
        1 => Some("the customer".to_owned()),
        n => Some(format!("the customers of {n} guests")),
    };
    operators.into_iter().chain(customer).collect::<Vec<_>>().join(" and ")
}

/// Where a challenge stands.
pub(crate) fn state(
    problem: Option<&str>,
    (is_open, expires, now): (bool, Timestamp, Timestamp),
    answers: &[AnswerView],
    operation: Option<OperationState>,
) -> ChallengeState {
    use OperationState as S;
    if problem.is_some() {
        return ChallengeState::BadSignature;
    }
    if is_open {
        let on_its_way = answers.iter().any(|answer| answer.accepted.is_none());
        return match (expires <= now, on_its_way) {
            (true, _) => ChallengeState::Expired,
            (false, true) => ChallengeState::Answered,
            (false, false) => ChallengeState::Open,
        };
    }
    match operation {
        Some(S::Waiting | S::Running | S::Done | S::RollingBack | S::RolledBack | S::NeedsOperator) => {
            ChallengeState::Accepted
        }
        Some(S::Expired) => ChallengeState::Expired,
        Some(S::Pending | S::PendingAuthorization | S::Refused | S::Vetoed) | None => ChallengeState::Void,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_stands_where_box_and_clock_say() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let answer = |accepted| AnswerView { by: "ada".into(), at: at(0), accepted, why: None };
        let open = |answers: &[AnswerView], now| state(None, (true, at(10), at(now)), answers, None);
        assert_eq!(open(&[], 9), ChallengeState::Open);
        assert_eq!(open(&[answer(Some(false))], 9), ChallengeState::Open);
        assert_eq!(open(&[answer(Some(true)), answer(None)], 9), ChallengeState::Answered);
        assert_eq!(open(&[], 10), ChallengeState::Expired);
        let closed = |operation| state(None, (false, at(10), at(1)), &[], operation);
        assert_eq!(closed(Some(OperationState::Waiting)), ChallengeState::Accepted);
        assert_eq!(closed(Some(OperationState::PendingAuthorization)), ChallengeState::Void);
        assert_eq!(closed(Some(OperationState::Vetoed)), ChallengeState::Void);
        assert_eq!(closed(None), ChallengeState::Void);
        assert_eq!(state(Some("x"), (true, at(10), at(1)), &[], None), ChallengeState::BadSignature);
    }
}
