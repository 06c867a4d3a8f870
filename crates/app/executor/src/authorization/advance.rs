//! An operation that waits is weighed again: with the consents that there are, and with facts of just now. A challenge that
//! is to be signed without network is issued anew, to live longer.

use felhom_gate::{Evidence, Reason, Requirement, Stage, Verdict, decide};
use felhom_journal::{GraceAsked, Operation as Journaled, StartError, State};
use felhom_model::{Digest, Operation, OperationId};
use felhom_signing::Verified;
use felhom_signing::challenge::Consent;
use felhom_signing::consent::{ConsentError, EXPORTED_LIFETIME_MS, LIFETIME_MS};
use serde_json::{Value, json};

use super::AnswerError;
use super::issue::{About, RENEWED_AT_MOST};
use crate::audit::{Kind, Record};
use crate::driver::Accepted;
use crate::facts::{Asking, facts};
use crate::ledger::who;
use crate::marks::{from_journal, to_journal};
use crate::observe::{Seen, observe};
use crate::operations::domain;
use crate::request::{Chosen, Request, lines};
use crate::submit::{Executor, SubmitError};

/// Refusals that pass by themselves: a backup holds the guest, a storage is away.
const PASSING: [&str; 2] = ["guest_locked", "storage_not_active"];

/// An operation that waits, with what it is weighed by.
struct Waiting {
    op: Journaled,
    operation: Operation,
    chosen: Chosen,
    seen: Seen,
    consents: Vec<Verified<Consent>>,
}

impl Waiting {
    fn record(&self, kind: Kind, data: Value) -> Record {
        Record::new(kind, data).of(from_journal(self.op.id()), self.operation.guest())
    }

    fn about<'a>(
        &'a self,
        requirement: &'a Requirement,
        evidence: &'a Evidence,
        lifetime_ms: u64,
    ) -> About<'a> {
        let Self { operation, chosen, seen, .. } = self;
        About { operation, chosen, requirement, evidence, seen, lifetime_ms }
    }
}

impl Executor {
    /// Weighs an operation that waits for people, and does what follows.
    ///
    /// # Errors
    /// [`SubmitError`]; it waits on.
    pub async fn advance(&self, id: OperationId) -> Result<Journaled, SubmitError> {
        let s = &self.services;
        let unknown = || SubmitError::Malformed(format!("operation {id} is not in the journal"));
        let _weighing = self.weighing.lock().await;
        let op = s.journal.get(to_journal(id))?.ok_or_else(unknown)?;
        if !matches!(op.state, State::PendingAuthorization | State::Waiting) {
            return Ok(op);
        }
        self.make_up_for(&op)?;
        let (waiting, verdict) = self.weigh_waiting(op).await?;
        let (operation_kind, guest) = (waiting.operation.kind(), waiting.operation.guest());
        match verdict {
            Verdict::Allow(approved) => self.start(&waiting, approved),
            Verdict::Wait { left_s, reason } => self.begin_grace(&waiting, left_s, &reason),
            Verdict::NeedsAuthorization(requirement, evidence) => {
                self.ask_again(&waiting, &requirement, &evidence)
            }
            Verdict::Refuse(reason) if PASSING.contains(&reason.code) => {
                tracing::debug!(operation = %id, %reason, "waits on");
                Ok(waiting.op)
            }
            Verdict::Refuse(reason) if reason.code == "target_changed" => {
                self.ask_for_what_is(&waiting, &reason)
            }
            Verdict::Refuse(reason) => {
                let data = json!({ "kind": operation_kind, "code": reason.code });
                s.audit(&Record::new(Kind::Refused, data).of(id, guest))?;
                s.ledger.close_challenges(id)?;
                let text = format!("{}: {}", reason.code, reason.text);
                let evidence = json!(lines(&reason.evidence));
                Ok(self.runner.refuse_waiting(to_journal(id), text, evidence)?)
            }
        }
    }

    /// What follows on an authorization was cut off by a death: it is written down, perhaps a second time, and nobody is asked any
    /// more.
    fn make_up_for(&self, op: &Journaled) -> Result<(), SubmitError> {
        let id = from_journal(op.id());
        let ledger = &self.services.ledger;
        let Some(authorization) = &op.authorization else { return Ok(()) };
        if !ledger.open_challenges()?.iter().any(|row| row.operation == id) {
            return Ok(());
        }
        let (operation, chosen) = domain(op).map_err(|e| SubmitError::Malformed(e.to_string()))?;
        let data = json!({ "kind": operation.kind(), "by": authorization, "made_up_for": true });
        self.services
            .audit(&Record::new(Kind::Authorized, data).of(id, operation.guest().or(chosen.guest)))?;
        Ok(ledger.close_challenges(id)?)
    }

    /// Issues a challenge that lives long enough to be carried to a machine without network, in place of the open one. What
    /// was signed already still counts. The same request a second time gives the same one.
    ///
    /// # Errors
    /// [`AnswerError`]; the open challenge stays open then.
    pub async fn renew(&self, digest: Digest) -> Result<Digest, AnswerError> {
        let s = &self.services;
        let _weighing = self.weighing.lock().await;
        let not_open = || AnswerError::Consent(ConsentError::NotOpen { digest });
        let old = s.ledger.challenge(digest)?.ok_or_else(not_open)?;
        let open = s.ledger.open_challenges()?;
        let open = open.iter().find(|row| row.operation == old.operation).ok_or_else(not_open)?;
        if open.lifetime_ms >= EXPORTED_LIFETIME_MS {
            return Ok(open.digest);
        }
        if open.digest != digest {
            return Err(not_open());
        }
        let op = s.journal.get(to_journal(old.operation))?.ok_or_else(not_open)?;
        if op.state != State::PendingAuthorization || op.authorization.is_some() {
            return Err(AnswerError::NotWaiting(old.operation));
        }
        if s.ledger.challenges_of(old.operation)? >= RENEWED_AT_MOST {
            return Err(AnswerError::NotReady("this operation got too many challenges; ask for it again"));
        }
        let (waiting, verdict) = self.weigh_waiting(op).await?;
        let Verdict::NeedsAuthorization(requirement, evidence) = verdict else {
            return Err(AnswerError::NotReady("no signature is missing, or the operation is impossible now"));
        };
        let about = waiting.about(&requirement, &evidence, EXPORTED_LIFETIME_MS);
        Ok(s.issue(&waiting.op, &about)?.digest)
    }

    /// What the gate says of an operation that waits, now.
    async fn weigh_waiting(&self, op: Journaled) -> Result<(Waiting, Verdict<Operation>), SubmitError> {
        let s = &self.services;
        let id = from_journal(op.id());
        let (operation, chosen) = domain(&op).map_err(|e| SubmitError::Malformed(e.to_string()))?;
        let seen = observe(s).await?;
        seen.enough_for(operation.kind(), &s.rights)?;
        let consents = s.consents(id)?;
        let params = Request::of(&op).map(|request| request.params).unwrap_or_default();
        let asking = Asking {
            operation: &operation,
            chosen: &chosen,
            params: &params,
            within: id,
            archive: None,
            stage: Stage::Begin,
        };
        let facts = facts(s, &seen, &asking).await?;
        let verdict = decide(&operation, &facts, &consents);
        Ok((Waiting { op, operation, chosen, seen, consents }, verdict))
    }

    fn start(
        &self,
        waiting: &Waiting,
        approved: felhom_gate::Approved<Operation>,
    ) -> Result<Journaled, SubmitError> {
        let id = from_journal(waiting.op.id());
        self.authorize(waiting, None)?;
        let request = Request::of(&waiting.op).map_err(SubmitError::Malformed)?;
        match self.runner.start_authorized(to_journal(id), Accepted::new(approved, request)) {
            Ok(op) => {
                tracing::info!(operation = %id, kind = op.new.body.kind, "authorized and begun");
                Ok(op)
            }
            Err(StartError::Busy { by, claim }) => {
                tracing::info!(operation = %id, %by, claim, "authorized; waits until the guest is free");
                Ok(self.services.journal.get(to_journal(id))?.unwrap_or_else(|| waiting.op.clone()))
            }
            Err(StartError::Journal(e)) => Err(e.into()),
            Err(
                e @ (StartError::NotWaiting { .. }
                | StartError::NotAuthorized(_)
                | StartError::GraceRuns { .. }
                | StartError::NotForThis(_)
                | StartError::NoSteps(_)),
            ) => Err(SubmitError::Malformed(e.to_string())),
        }
    }

    fn begin_grace(&self, waiting: &Waiting, left_s: u64, reason: &Reason) -> Result<Journaled, SubmitError> {
        if let Some(grace) = waiting.op.grace.filter(|_| waiting.op.state == State::Waiting) {
            // The limit may have been made stricter meanwhile.
            let seconds = grace.counted.saturating_add(left_s).max(grace.seconds);
            return Ok(self.runner.lengthen_grace(waiting.op.id(), seconds)?);
        }
        let text = format!(
            "{}; begins after {left_s} s in which this box runs, unless somebody vetoes it",
            reason.text
        );
        self.authorize(waiting, Some(GraceAsked { reason: text, seconds: left_s }))
    }

    /// Consents and challenge are used up in the transaction that authorizes. Done once.
    fn authorize(&self, waiting: &Waiting, grace: Option<GraceAsked>) -> Result<Journaled, SubmitError> {
        let op = &waiting.op;
        if op.authorization.is_some() {
            return Ok(op.clone());
        }
        let used: Vec<&Consent> = waiting.consents.iter().map(Verified::get).collect();
        let mut consumes: Vec<String> = used.iter().map(|c| format!("challenge:{}", c.challenge)).collect();
        consumes.sort();
        consumes.dedup();
        let people: Vec<String> = used.iter().map(|c| who(&c.by)).collect();
        let who: Vec<Value> = used.iter().map(|c| json!({ "by": c.by, "challenge": c.challenge })).collect();
        let grace_s = grace.as_ref().map_or(0, |grace| grace.seconds);
        let op = self.runner.authorize(op.id(), Value::Array(who), consumes, grace)?;
        let data = json!({ "kind": waiting.operation.kind(), "by": people, "grace_s": grace_s });
        self.services.audit(&waiting.record(Kind::Authorized, data))?;
        self.services.ledger.close_challenges(from_journal(op.id()))?;
        Ok(op)
    }

    /// Not enough yet. In its grace, what was enough is so no more (a key was taken out of the operators' file): it goes back.
    fn ask_again(
        &self,
        waiting: &Waiting,
        requirement: &Requirement,
        evidence: &Evidence,
    ) -> Result<Journaled, SubmitError> {
        let id = from_journal(waiting.op.id());
        let open = self.services.ledger.open_challenges()?;
        let mut op = waiting.op.clone();
        if op.authorization.is_some() {
            self.services
                .audit(&waiting.record(Kind::AskedAnew, json!({ "code": "not_enough_any_more" })))?;
            op = self.runner.back_to_authorization(
                op.id(),
                requirement.to_string(),
                json!(lines(evidence)),
            )?;
        } else if open.iter().any(|row| row.operation == id) {
            return Ok(op);
        }
        self.services.issue(&op, &waiting.about(requirement, evidence, LIFETIME_MS))?;
        Ok(op)
    }

    /// What was signed for is no longer what is there: a new challenge, as if nobody had signed.
    fn ask_for_what_is(&self, waiting: &Waiting, reason: &Reason) -> Result<Journaled, SubmitError> {
        let s = &self.services;
        tracing::warn!(operation = %waiting.op.id(), %reason, "asked anew");
        let evidence = json!(lines(&reason.evidence));
        let text = format!("{}: {}", reason.code, reason.text);
        s.audit(&waiting.record(Kind::AskedAnew, json!({ "code": reason.code })))?;
        let op = self.runner.back_to_authorization(waiting.op.id(), text, evidence)?;
        s.ledger.close_challenges(from_journal(op.id()))?;
        s.ledger.forget_consents(from_journal(op.id()))?;
        Ok(op)
    }
}
