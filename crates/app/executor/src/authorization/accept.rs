//! Answers to challenges, and vetoes: checked by the pure functions of `signing`, kept, and then weighed.

use felhom_journal::{JournalError, Operation as Journaled, State, StoreError};
use felhom_model::{Digest, GuestUuid, Operation, OperationId, OperationKind};
use felhom_signing::challenge::{Consent, Consenter};
use felhom_signing::consent::{
    Armored, ConsentError, Customer, OpenChallenge, Veto, VetoOn, accept_customer, accept_operator,
    veto_by_customer, veto_by_operator,
};
use serde_json::json;

use crate::audit::{Kind, Record};
use crate::ledger::{ChallengeRow, ConsentDocument, ConsentRow, who};
use crate::marks::{from_journal, to_journal};
use crate::request::{Chosen, Request};
use crate::services::Services;
use crate::submit::{Executor, SubmitError};

/// An answer to a challenge.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An operator's armored signature over the challenge's bytes.
    Operator(String),
    /// The customer's confirmation with the guest's signature.
    Customer(Armored),
}

/// Why an answer had no effect. The challenge stays open, and the operation waits on.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It does not count.
    #[error("{0}")]
    Consent(#[from] ConsentError),
    /// Nothing waits there.
    #[error("operation {0} does not wait for anybody")]
    NotWaiting(OperationId),
    /// Nobody can sign yet.
    #[error("{0}")]
    NotReady(&'static str),
    /// It counts, and what followed from it could not be done now; it is tried again.
    #[error(transparent)]
    Later(#[from] SubmitError),
    /// The journal or ledger failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl AnswerError {
    /// A stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Consent(e) => e.code(),
            Self::NotWaiting(_) => "not_waiting",
            Self::NotReady(_) => "not_ready",
            Self::Later(_) => "later",
            Self::Journal(_) => "journal",
        }
    }
}

impl From<StoreError> for AnswerError {
    fn from(e: StoreError) -> Self {
        Self::Journal(e.into())
    }
}

const NOT_ENROLLED: AnswerError = AnswerError::NotReady("this box is not enrolled");
const NO_OPERATORS: AnswerError = AnswerError::NotReady(
    "this box has no operators' file; as root: `felhom-executor operators install FILE`",
);

impl Executor {
    /// Takes an answer to a challenge; what it leads to is done at once if that is possible.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub async fn answer(&self, digest: Digest, answer: Answer) -> Result<Journaled, AnswerError> {
        let s = &self.services;
        // Nobody voids or issues challenges between the look at them and what is kept.
        let weighing = self.weighing.lock().await;
        let (consent, document) = match self.weigh(digest, answer) {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!(challenge = %digest, code = e.code(), why = %e, "an answer does not count");
                s.audit_refused_answer(digest, e.code())?;
                return Err(e);
            }
        };
        tracing::info!(operation = %consent.operation, challenge = %digest, by = ?consent.by, "consent accepted");
        let guest = s.ledger.challenge(digest)?.and_then(|row| row.guest);
        let record =
            Record::new(Kind::AnswerAccepted, json!({ "challenge": digest, "given_by": consent.by }));
        s.audit(&record.of(consent.operation, guest).by(who(&consent.by)))?;
        s.ledger.record_consent(&ConsentRow {
            challenge: digest,
            operation: consent.operation,
            by: consent.by,
            document,
            ran_s: s.running.ran_s(),
        })?;
        drop(weighing);
        Ok(self.advance(consent.operation).await?)
    }

    /// Whether an answer counts, and what is kept of it.
    fn weigh(&self, digest: Digest, answer: Answer) -> Result<(Consent, ConsentDocument), AnswerError> {
        let s = &self.services;
        let rows = s.ledger.open_challenges()?;
        let open: Vec<OpenChallenge> = rows.iter().map(kept).collect();
        let now = s.consent_now().ok_or(NOT_ENROLLED)?;
        let (consent, document) = match answer {
            Answer::Operator(armored) => {
                let operators = s.operators()?.ok_or(NO_OPERATORS)?;
                let consent = accept_operator(&open, digest, &armored, &operators, &now);
                (consent, ConsentDocument::Operator(armored))
            }
            Answer::Customer(signed) => {
                let row = rows.iter().find(|row| row.digest == digest);
                let customer = s.customer_of(row, &signed)?;
                let (guest, key) = customer.ok_or(ConsentError::NotOpen { digest })?;
                let consent = accept_customer(&open, &signed, Customer { guest, key: &key }, &now);
                (consent, ConsentDocument::Customer(signed))
            }
        };
        Ok((consent?.into_inner(), document))
    }

    /// Takes a veto against an operation that waits.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn veto(&self, operation: OperationId, signed: &Armored) -> Result<Journaled, AnswerError> {
        let s = &self.services;
        let op = s.journal.get(to_journal(operation))?.ok_or(AnswerError::NotWaiting(operation))?;
        if !matches!(op.state, State::PendingAuthorization | State::Waiting | State::Vetoed) {
            return Err(AnswerError::NotWaiting(operation));
        }
        if op.state == State::Vetoed {
            // Whoever carries it may say it twice.
            let (domain, chosen) =
                crate::operations::domain(&op).map_err(|e| SubmitError::Malformed(e.to_string()))?;
            s.weigh_veto(&op, (&domain, &chosen), signed)?;
            return Ok(op);
        }
        let said = s.checked_veto(&op, signed)?;
        let op = self.runner.veto(to_journal(operation), said)?;
        s.ledger.close_challenges(operation)?;
        Ok(op)
    }
}

impl Services {
    /// Who vetoes an operation and why, if the veto counts: it fits the operation, and its signer has a say in it.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn checked_veto(&self, op: &Journaled, signed: &Armored) -> Result<String, AnswerError> {
        let operation = from_journal(op.id());
        let (domain, chosen) =
            crate::operations::domain(op).map_err(|e| SubmitError::Malformed(e.to_string()))?;
        let record = |kind, data| Record::new(kind, data).of(operation, domain.guest());
        let (by, reason) = match self.weigh_veto(op, (&domain, &chosen), signed) {
            Ok(counts) => counts,
            Err(e) => {
                self.audit_refusal(record(Kind::VetoRefused, json!({})), e.code())?;
                return Err(e);
            }
        };
        let who = who(&by);
        self.audit(&record(Kind::Vetoed, json!({ "given_by": by, "reason": reason })).by(&who))?;
        Ok(format!("vetoed by {who}: {reason}"))
    }

    /// Whose veto it is, and why, if it counts.
    fn weigh_veto(
        &self,
        op: &Journaled,
        (domain, chosen): (&Operation, &Chosen),
        signed: &Armored,
    ) -> Result<(Consenter, String), AnswerError> {
        let box_id = self.box_id().ok_or(NOT_ENROLLED)?;
        let params = Request::of(op).map_err(SubmitError::Malformed)?.params;
        let on = VetoOn { box_id, operation: from_journal(op.id()), act: self.act(domain, &params)? };
        let veto = Veto::read(&signed.bytes)?;
        let customer = veto.object.map(|guest| self.has_a_say(guest, domain, chosen)).transpose()?.flatten();
        let vetoed = match customer {
            Some((guest, key)) => veto_by_customer(signed, Customer { guest, key: &key }, on)?,
            None => veto_by_operator(signed, &self.operators()?.ok_or(NO_OPERATORS)?, on)?,
        };
        Ok((vetoed.into_inner().by, veto.reason))
    }

    /// SHA-256 of each signature that was accepted to a challenge, open or not: whoever carries answers may have died before
    /// the outcome of one was noted, and can see here that it counted.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn answers_that_counted(&self, digest: Digest) -> Result<Vec<Digest>, StoreError> {
        let Some(row) = self.ledger.challenge(digest)? else { return Ok(Vec::new()) };
        let given = self.ledger.consents(row.operation)?;
        let given = given.iter().filter(|consent| consent.challenge == digest);
        Ok(given
            .map(|consent| match &consent.document {
                ConsentDocument::Operator(armored) => Digest::of(armored.as_bytes()),
                ConsentDocument::Customer(signed) => Digest::of(signed.signature.as_bytes()),
            })
            .collect())
    }

    /// Whose confirmation it claims to be, with the key that this box read itself.
    fn customer_of(
        &self,
        row: Option<&ChallengeRow>,
        signed: &Armored,
    ) -> Result<Option<(GuestUuid, felhom_signing::PublicKey)>, StoreError> {
        let claimed = serde_json::from_slice::<serde_json::Value>(&signed.bytes).ok();
        let claimed = claimed.and_then(|v| v.get("object")?.as_str()?.parse::<GuestUuid>().ok());
        let Some((guest, _)) = claimed.zip(row) else { return Ok(None) };
        let key = self.ledger.guest(guest)?.and_then(|row| row.detail.key);
        Ok(key.map(|key| (guest, key)))
    }

    /// The customer's key, if that guest is concerned: named by the operation, its successor, or any where it concerns all.
    fn has_a_say(
        &self,
        guest: GuestUuid,
        operation: &Operation,
        chosen: &Chosen,
    ) -> Result<Option<(GuestUuid, felhom_signing::PublicKey)>, StoreError> {
        let Some(row) = self.ledger.guest(guest)? else { return Ok(None) };
        let named: Vec<GuestUuid> = operation.guest().into_iter().chain(chosen.other).collect();
        let mut successors = Vec::new();
        for named in &named {
            successors.extend(self.ledger.guest(*named)?.and_then(|row| row.detail.succeeded_by));
        }
        // Leading an operation on concerns nobody where that one has no guest.
        let all = named.is_empty() && operation.kind() != OperationKind::ResolveOperation;
        let concerned = all || named.contains(&guest) || successors.contains(&guest);
        Ok(row.detail.key.filter(|_| concerned).map(|key| (guest, key)))
    }
}

fn kept(row: &ChallengeRow) -> OpenChallenge {
    OpenChallenge::new(row.signed.bytes.clone(), row.issued_boottime_ms, row.lifetime_ms)
}
