//! A request becomes an operation: look the key up → parse → observe → choose → gate → journal → run.
//!
//! A refusal is journaled with its evidence, also for a name that is no operation. A guest that another operation holds
//! is no refusal: nothing is recorded, and the caller asks again.

use std::sync::Arc;

use felhom_gate::{Evidence, Reason, Stage, Verdict, decide, refuse_unknown};
use felhom_journal::{
    BeginError, Begun, Body, Envelope, JournalError, Operation as Journaled, Runner, State, StoreError,
};
use felhom_model::observed::{Observed, ObservedGuest, Purpose};
use felhom_model::operation::UnknownOperation;
use felhom_model::{GuestUuid, Operation, OperationId, OperationKind};
use felhom_protocol::executor::{OperationRequest, RequestError, parse};
use serde_json::{Value, json};

use crate::audit::{Kind, Record};
use crate::driver::{Accepted, ExecutorDriver};
use crate::facts::{Asking, facts};
use crate::golden_record::imported;
use crate::marks::{from_journal, to_journal};
use crate::observe::{ObserveError, observe};
use crate::operations::{domain, is_built};
use crate::request::{Chosen, KIND_VERSION, Request, lines};
use crate::services::Services;

/// Why a request has no operation.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The request itself is malformed.
    #[error("{0}")]
    Malformed(String),
    /// Proxmox or the ledger cannot be asked; nothing was recorded.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// Another operation is active on the same guest; nothing was recorded.
    #[error("{0}")]
    Busy(String),
    /// Refused like many others in this hour; nothing was recorded.
    #[error("{0}")]
    Flood(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The ledger could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no randomness.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

impl From<BeginError> for SubmitError {
    fn from(e: BeginError) -> Self {
        match e {
            BeginError::Busy { .. } => Self::Busy(e.to_string()),
            BeginError::NoSteps(why) => Self::Malformed(why),
            BeginError::Journal(e) => e.into(),
        }
    }
}

/// Takes requests.
#[derive(Debug)]
pub struct Executor {
    /// Services.
    pub services: Arc<Services>,
    /// The runner.
    pub runner: Arc<Runner<ExecutorDriver>>,
    /// Held while what waits for people is weighed: two at once would each issue a challenge, and the first one, shown by then,
    /// could not be answered any more.
    pub weighing: tokio::sync::Mutex<()>,
    /// Whether this host had a watermark to compare the database with.
    pub compared: bool,
}

impl Executor {
    /// Turns a request into an operation; the same request id gives the same operation.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(&self, ask: OperationRequest) -> Result<Journaled, SubmitError> {
        check_request(&ask)?;
        if let Some(known) = self.services.journal.by_request_key(&ask.request_id)? {
            return Ok(known);
        }
        let id = self.services.new_operation_id()?;
        let operation = match parse(&ask.kind, &ask.params) {
            Ok(operation) => operation,
            Err(RequestError::Unknown(name)) => {
                return self.refuse(id, ask, Chosen::default(), &unknown(&name));
            }
            Err(e @ RequestError::Params { .. }) => {
                let evidence = Evidence::new().with("operation", &ask.kind).with("params", &ask.params);
                let reason = Reason::new("malformed_parameters", e.to_string(), evidence);
                return self.refuse(id, ask, Chosen::default(), &reason);
            }
        };
        if !is_built(operation.kind()) {
            return self.refuse(id, ask, Chosen::default(), &not_built(operation.kind()));
        }
        let seen = observe(&self.services).await?;
        // Nothing is chosen from a list that is cut short.
        seen.enough_for(operation.kind(), &self.services.rights)?;
        let chosen = match self.choose(&operation, &seen.observed)? {
            Ok(chosen) => chosen,
            Err(reason) => return self.refuse(id, ask, Chosen::default(), &reason),
        };
        let asking = Asking {
            operation: &operation,
            chosen: &chosen,
            params: &ask.params,
            within: id,
            archive: None,
            stage: Stage::Begin,
        };
        let facts = facts(&self.services, &seen, &asking).await?;
        match decide(&operation, &facts, &[]) {
            Verdict::Allow(approved) => {
                let request = request_of(&ask, chosen);
                self.begin(id, &ask, Accepted::new(approved, request))
            }
            Verdict::NeedsAuthorization(requirement, evidence) => {
                self.propose(id, &ask, (&operation, chosen), (&requirement.to_string(), &evidence)).await
            }
            Verdict::Wait { reason, .. } => {
                self.propose(id, &ask, (&operation, chosen), (&reason.text, &reason.evidence)).await
            }
            Verdict::Refuse(reason) => self.refuse(id, ask, chosen, &reason),
        }
    }

    fn begin(
        &self,
        id: OperationId,
        ask: &OperationRequest,
        accepted: Accepted,
    ) -> Result<Journaled, SubmitError> {
        match self.runner.begin(self.envelope(id, ask), accepted) {
            Ok(Begun::New(op) | Begun::Existing(op)) => {
                tracing::info!(operation = %op.id(), kind = ask.kind, by = ask.asked_by, "begun");
                Ok(op)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Journals an operation that waits for people, and asks them. One that waits for the same already is that one.
    async fn propose(
        &self,
        id: OperationId,
        ask: &OperationRequest,
        (operation, chosen): (&Operation, Chosen),
        (reason, evidence): (&str, &Evidence),
    ) -> Result<Journaled, SubmitError> {
        let s = &self.services;
        if let Some(same) = self.waits_already(operation) {
            return Ok(same);
        }
        if s.box_id().is_none() {
            let text = format!("{reason}; this box is not enrolled, so nobody can be asked");
            let reason = Reason::new("needs_authorization", text, evidence.clone());
            return self.refuse(id, ask.clone(), chosen, &reason);
        }
        if !s.may_wait(operation)? {
            let text = "too many operations of this kind wait for signatures; sign or veto those first";
            return self.refuse(
                id,
                ask.clone(),
                chosen,
                &Reason::new("too_many_challenges", text, evidence.clone()),
            );
        }
        let mut request = request_of(ask, chosen);
        request.verdict = format!("needs_authorization: {reason}");
        request.evidence = lines(evidence);
        let body = self.runner.driver().body_of(operation, &request);
        match self.runner.propose(self.envelope(id, ask), body, reason.to_owned(), json!(lines(evidence))) {
            Ok(Begun::New(op)) => {
                tracing::info!(operation = %op.id(), kind = ask.kind, by = ask.asked_by, reason, "waits for people");
                self.advance(from_journal(op.id())).await
            }
            Ok(Begun::Existing(op)) => Ok(op),
            Err(e) => Err(e.into()),
        }
    }

    fn waits_already(&self, operation: &Operation) -> Option<Journaled> {
        let waits = |op: &Journaled| matches!(op.state, State::PendingAuthorization | State::Waiting);
        let same = |op: &Journaled| domain(op).is_ok_and(|(other, _)| other == *operation);
        self.services.journal.active_operations().into_iter().find(|op| waits(op) && same(op))
    }

    fn refuse(
        &self,
        id: OperationId,
        ask: OperationRequest,
        mut chosen: Chosen,
        reason: &Reason,
    ) -> Result<Journaled, SubmitError> {
        let Some(left_out) = self.services.refused.take(self.services.running.ran_s()) else {
            let text = "refused, and not recorded, because many others were in this hour of the box";
            return Err(SubmitError::Flood(format!("{text}: {}: {}", reason.code, reason.text)));
        };
        // Nothing is made, so no identity is given away.
        chosen.new_guest = None;
        if chosen.guest.is_none() {
            let named = ask.params.get("guest").and_then(Value::as_str);
            chosen.guest = named.and_then(|text| text.parse().ok());
        }
        let mut request = request_of(&ask, chosen);
        request.judged(reason);
        bounded(&mut request);
        tracing::warn!(operation = %id, kind = ask.kind, by = ask.asked_by, %reason, "refused");
        let mut data = json!({ "kind": ask.kind, "code": reason.code });
        if left_out > 0 {
            data["left_out_before"] = left_out.into();
        }
        let record = Record::new(Kind::Refused, data).of(id, request.chosen.guest).by(&ask.asked_by);
        self.services.audit(&record)?;
        let envelope = self.envelope(id, &ask);
        let body = Body {
            kind: ask.kind,
            kind_version: KIND_VERSION,
            params: serde_json::to_value(&request).unwrap_or(Value::Null),
            claims: Vec::new(),
        };
        let text = beginning(&format!("{}: {}", reason.code, reason.text));
        Ok(self.services.journal.refuse(envelope, body, text, json!(request.evidence))?)
    }

    /// The guest that an operation in the journal is about.
    fn concerned(&self, id: OperationId) -> Result<Option<GuestUuid>, JournalError> {
        let op = self.services.journal.get(to_journal(id))?;
        Ok(op.and_then(|op| domain(&op).ok()).and_then(|(operation, _)| operation.guest()))
    }

    fn envelope(&self, id: OperationId, ask: &OperationRequest) -> Envelope {
        Envelope {
            id: to_journal(id),
            request_key: ask.request_id.clone(),
            requested_by: ask.asked_by.clone(),
            boot: self.services.boot.clone(),
        }
    }

    /// What the request leaves open is chosen once, and stands for the whole operation.
    fn choose(
        &self,
        operation: &Operation,
        observed: &Observed,
    ) -> Result<Result<Chosen, Reason>, SubmitError> {
        let mut chosen = Chosen { guest: operation.guest(), ..Chosen::default() };
        chosen.name = chosen.guest.and_then(|uuid| observed.guest(uuid)).and_then(|guest| guest.name.clone());
        match operation {
            Operation::ProvisionGuest(ask) => {
                let all = imported(&self.services.config);
                let found = all.iter().find(|i| ask.golden.is_none_or(|wanted| wanted == i.golden.digest));
                chosen.name = Some(ask.name.clone());
                chosen.golden = ask.golden.or(found.map(|i| i.golden.digest));
                chosen.archive = found.map(|i| i.volid.clone());
                chosen.new_guest = Some(self.services.new_guest_uuid()?);
                if found.is_none() {
                    return Ok(Err(no_golden(ask.golden.map(|d| d.to_string()))));
                }
            }
            Operation::RestoreGuest(ask) => {
                chosen.archive = ask.archive.clone().or_else(|| newest(observed, ask.guest));
                chosen.new_guest = Some(self.services.new_guest_uuid()?);
                if chosen.archive.is_none() {
                    return Ok(Err(no_archive(ask.guest)));
                }
            }
            Operation::RestoreTest(ask) => {
                chosen.archive = ask.archive.clone().or_else(|| newest(observed, ask.guest));
                chosen.new_guest = Some(self.services.new_guest_uuid()?);
                if chosen.archive.is_none() {
                    return Ok(Err(no_archive(ask.guest)));
                }
            }
            Operation::CutoverGuest(ask) => chosen.other = Some(ask.copy),
            Operation::ResolveOperation(ask) => chosen.other = self.concerned(ask.operation)?,
            Operation::ReverseCutoverGuest(guest) => {
                let of =
                    |g: &&ObservedGuest| g.purpose == Purpose::Tombstone && g.succeeded_by == Some(*guest);
                chosen.other = observed.guests.iter().find(of).and_then(|g| g.uuid);
            }
            _ => {}
        }
        Ok(Ok(chosen))
    }
}

/// Bytes of what a refused request said that are kept.
const KEPT: usize = 2 << 10;

/// What was refused says enough by its beginning: whoever speaks on the socket must not fill the disk with it.
fn bounded(request: &mut Request) {
    let size = request.params.to_string().len();
    if size > KEPT {
        request.params = json!({ "left_out_bytes": size });
    }
    for (_, value) in &mut request.evidence {
        *value = beginning(value);
    }
}

fn beginning(text: &str) -> String {
    if text.len() <= KEPT {
        return text.to_owned();
    }
    let end = (0..=KEPT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &text[..end])
}

/// The newest archive of a guest that is there; a proven one is not preferred, the newest is what one wants back.
fn newest(observed: &Observed, guest: GuestUuid) -> Option<felhom_model::Volid> {
    let of_guest = observed.archives.iter().filter(|a| a.guest == guest);
    of_guest.max_by_key(|a| a.taken_at).map(|a| a.volid.clone())
}

fn check_request(ask: &OperationRequest) -> Result<(), SubmitError> {
    let bad = |what: &str| Err(SubmitError::Malformed(what.to_owned()));
    if ask.request_id.is_empty() || ask.request_id.len() > 200 {
        return bad("`request_id` must have 1 to 200 bytes; it is the idempotency key");
    }
    if ask.kind.is_empty() || ask.kind.len() > 100 || ask.reason.len() > 2_000 || ask.asked_by.len() > 200 {
        return bad("`kind` must have 1 to 100 bytes, `reason` at most 2000, `asked_by` at most 200");
    }
    if ask.params.to_string().len() > 64 << 10 {
        return bad("`params` must be smaller than 64 KiB");
    }
    Ok(())
}

fn request_of(ask: &OperationRequest, chosen: Chosen) -> Request {
    Request {
        params: ask.params.clone(),
        reason: ask.reason.clone(),
        asked_by: ask.asked_by.clone(),
        chosen,
        verdict: String::new(),
        evidence: Vec::new(),
    }
}

fn unknown(name: &UnknownOperation) -> Reason {
    refuse_unknown(name)
}

fn not_built(kind: OperationKind) -> Reason {
    let text = format!("`{kind}` is not built yet; nothing was done");
    Reason::new("not_built_yet", text, Evidence::new().with("operation", kind))
}

fn no_golden(wanted: Option<String>) -> Reason {
    let evidence = Evidence::new().with("golden", wanted.unwrap_or_else(|| "any".to_owned()));
    let text = "no signed release that was imported on this box names this archive; `felhom-executor golden import FILE` \
                brings one in";
    Reason::new("golden_not_signed", text, evidence)
}

fn no_archive(guest: GuestUuid) -> Reason {
    Reason::new(
        "no_archive",
        "the ledger has no archive of this guest that is there",
        Evidence::new().with("guest", guest),
    )
}
