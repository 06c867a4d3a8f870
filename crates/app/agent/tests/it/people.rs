//! The executor's part that waits for people, with the real checks: challenges that it issues, answers that it judges.

use crate::executor::{Executor, Inner, uuid};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use felhom_model::{BoxId, Digest, OperationId, OperationKind, OperationState};
use felhom_protocol::executor::OperatorAnswer;
use felhom_protocol::{ErrorBody, status};
use felhom_signing::Key;
use felhom_signing::challenge::{Asked, Challenge, Signers, Stakes, Target};
use felhom_signing::consent::{
    Act, Armored, ConsentError, EXPORTED_LIFETIME_MS, LIFETIME_MS, Now, OpenChallenge, VetoOn,
    accept_operator, veto_by_operator,
};
use felhom_signing::operators::{OperatorKey, OperatorsFile, Role};
use felhom_signing::sshsig::{self, Namespace, openssh_line};
use jiff::Timestamp;

/// What waits, and what was accepted.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) challenges: Vec<status::Challenge>,
    pub(crate) counted: Vec<Digest>,
    /// So many calls are answered by an executor that falls over first.
    pub(crate) fail: usize,
    seq: u64,
}

/// The operator.
pub(crate) fn ada() -> Key {
    Key::from_seed(&[41; 32])
}

fn operators() -> OperatorsFile {
    let line = openssh_line(&ada().public(), "ada").unwrap();
    OperatorsFile::new(1, 1, vec![OperatorKey::new("ada", Role::Operator, &line).unwrap()]).unwrap()
}

fn the_box() -> BoxId {
    BoxId::from_random([7; 16])
}

fn now() -> Now {
    Now { boottime_ms: 1_000, boot_id: "boot".to_owned(), box_id: the_box(), enrolment_epoch: 1 }
}

/// An armored signature over these bytes.
pub(crate) fn signed_by(key: &Key, bytes: &[u8]) -> String {
    sshsig::sign(key, Namespace::Operation, bytes).unwrap()
}

/// A veto by Ada.
pub(crate) fn veto(operation: OperationId) -> Armored {
    let (box_id, reason) = (the_box(), "no".to_owned());
    let veto = felhom_signing::consent::Veto {
        v: 1,
        box_id,
        veto: operation,
        object: None,
        act: None,
        reason,
        at: Timestamp::UNIX_EPOCH,
    };
    let bytes = veto.to_bytes().unwrap();
    let signature = signed_by(&ada(), &bytes);
    Armored { bytes, signature }
}

impl Waiting {
    /// Issues a challenge for an operation in place of an earlier one.
    pub(crate) fn issue(&mut self, operation: OperationId, left_s: u64) -> status::Challenge {
        self.seq += 1;
        let target = Target {
            uuid: Some(uuid(1)),
            vmid: Some(2001.try_into().unwrap()),
            volids: vec![],
            durable_id: None,
            bytes: 1 << 30,
            label: "family".to_owned(),
            config_digest: None,
        };
        let challenge = Challenge {
            v: 1,
            box_id: the_box(),
            enrolment_epoch: 1,
            challenge_id: Digest::of(&self.seq.to_be_bytes()),
            seq: self.seq,
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
            boot_id: "boot".to_owned(),
            operation: Asked {
                id: operation,
                kind: OperationKind::RetireGuest,
                params: serde_json::json!({ "guest": uuid(1) }),
                asked_by: "job".to_owned(),
                reason: "job".to_owned(),
                grace_s: 0,
            },
            targets: vec![target],
            evidence: Stakes::default(),
            requires: vec![Signers { operators: 1, customers: vec![] }],
            operators_version: 1,
        };
        let signed = challenge.issue(&Key::from_seed(&[3; 32])).unwrap();
        let digest = Digest::of(&signed.bytes);
        let shown = status::Challenge {
            digest,
            operation,
            guest: Some(uuid(1)),
            signed: signed.into(),
            left_s,
            consented: vec![],
        };
        self.challenges.retain(|other| other.operation != operation);
        self.challenges.push(shown.clone());
        shown
    }
}

pub(crate) fn routes() -> Router<Executor> {
    Router::new()
        .route("/v1/challenges/{digest}/answers", post(answer).get(counted))
        .route("/v1/challenges/{digest}/renew", post(renew))
        .route("/v1/operations/{id}/veto", post(take_veto))
}

fn refused(error: &ConsentError) -> Response {
    let body = ErrorBody { error: error.code().to_owned(), message: error.to_string(), hint: None };
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}

fn falls_over(inner: &mut Inner) -> bool {
    let fails = inner.people.fail > 0;
    inner.people.fail = inner.people.fail.saturating_sub(1);
    fails
}

fn end(inner: &mut Inner, id: OperationId, state: OperationState) -> Response {
    inner.people.challenges.retain(|other| other.operation != id);
    let operation = inner.operations.get_mut(&id).unwrap();
    operation.state = state;
    Json(operation.clone()).into_response()
}

async fn answer(
    State(executor): State<Executor>,
    Path(digest): Path<Digest>,
    Json(answer): Json<OperatorAnswer>,
) -> Response {
    let mut inner = executor.lock();
    let open = inner.people.challenges.iter().map(|c| {
        let lifetime = if c.left_s > 3600 { EXPORTED_LIFETIME_MS } else { LIFETIME_MS };
        OpenChallenge::new(c.signed.bytes.clone(), 0, lifetime)
    });
    let open: Vec<OpenChallenge> = open.collect();
    match accept_operator(&open, digest, &answer.signature, &operators(), &now()) {
        Err(error) => refused(&error),
        Ok(consent) => {
            let id = consent.into_inner().operation;
            inner.people.counted.push(Digest::of(answer.signature.as_bytes()));
            let done = end(&mut inner, id, OperationState::Waiting);
            // It counted, but nobody hears it.
            if falls_over(&mut inner) { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { done }
        }
    }
}

async fn counted(State(executor): State<Executor>) -> Json<Vec<Digest>> {
    Json(executor.lock().people.counted.clone())
}

async fn renew(State(executor): State<Executor>, Path(digest): Path<Digest>) -> Response {
    let mut inner = executor.lock();
    let of = inner.people.challenges.iter().find(|c| c.digest == digest).map(|c| c.operation);
    match of {
        None => refused(&ConsentError::NotOpen { digest }),
        Some(operation) => Json(inner.people.issue(operation, 86_400)).into_response(),
    }
}

async fn take_veto(
    State(executor): State<Executor>,
    Path(id): Path<OperationId>,
    Json(signed): Json<Armored>,
) -> Response {
    // A customer's is kept as it came.
    if felhom_signing::consent::Veto::read(&signed.bytes).is_ok_and(|veto| veto.object.is_some()) {
        let mut inner = executor.lock();
        inner.answered.push((id.to_string(), signed));
        return Json(inner.operations.values().next_back().unwrap().clone()).into_response();
    }
    let act = Act { enrolment_epoch: 1, kind: OperationKind::RetireGuest, what: Digest::of(b"") };
    let on = VetoOn { box_id: the_box(), operation: id, act };
    match veto_by_operator(&signed, &operators(), on) {
        Err(error) => refused(&error),
        Ok(_) => end(&mut executor.lock(), id, OperationState::Vetoed),
    }
}
