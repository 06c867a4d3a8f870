//! An operation that waits is weighed again: with the consents that there are, and with facts of just now.

use felhom_gate::{Evidence, Reason, Requirement, Stage, Verdict, decide};
use felhom_journal::{GraceAsked, Operation as Journaled, StartError, State};
use felhom_model::{Operation, OperationId};
use felhom_signing::Verified;
use felhom_signing::challenge::Consent;
use serde_json::{Value, json};

use super::issue::About;
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
}

impl Executor {
    /// Weighs an operation that waits for people, and does what follows.
    ///
    /// # Errors
    /// [`SubmitError`]; it waits on.
    pub async fn advance(&self, id: OperationId) -> Result<Journaled, SubmitError> {
        let s = &self.services;
        let unknown = || SubmitError::Malformed(format!("operation {id} is not in the journal"));
        let op = s.journal.get(to_journal(id))?.ok_or_else(unknown)?;
        if !matches!(op.state, State::PendingAuthorization | State::Waiting) {
            return Ok(op);
        }
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
        let (operation_kind, guest) = (operation.kind(), operation.guest());
        let waiting = Waiting { op, operation, chosen, seen, consents };
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
        if waiting.op.state == State::Waiting {
            return Ok(waiting.op.clone());
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
        let about = About {
            operation: &waiting.operation,
            chosen: &waiting.chosen,
            requirement,
            evidence,
            seen: &waiting.seen,
        };
        self.services.issue(&op, &about)?;
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
