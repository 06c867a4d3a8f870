//! An executor without Proxmox: the socket's protocol, an idempotent list of operations, and guests in a list.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use felhom_model::desired::Tightening;
use felhom_model::{Digest, GuestUuid, OperationId, OperationState};
use felhom_protocol::audit::AuditPage;
use felhom_protocol::executor::*;
use felhom_protocol::local_api::{BackupPhase, BackupStatus, Frozen, Thawed};
use felhom_protocol::receipt::SignedReceipt;
use felhom_protocol::{ErrorBody, SignedBytes, status};
use felhom_signing::audit::{AUDIT_VERSION, GuestTip, Head, Tip};
use felhom_signing::consent::Armored;
use felhom_signing::{Key, PublicKey};
use futures_util::stream;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path as FsPath;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

pub(crate) struct Inner {
    pub(crate) guests: Vec<status::Guest>,
    pub(crate) archives: Vec<status::Archive>,
    pub(crate) receipts: Vec<SignedReceipt>,
    pub(crate) used_names: Vec<felhom_model::GuestName>,
    pub(crate) requests: Vec<OperationRequest>,
    pub(crate) operations: BTreeMap<OperationId, status::Operation>,
    by_request: BTreeMap<String, OperationId>,
    pub(crate) phases: BTreeMap<OperationId, BackupPhase>,
    pub(crate) heartbeats: usize,
    pub(crate) frozen: Vec<Frozen>,
    pub(crate) thawed: Vec<Thawed>,
    pub(crate) challenges: Vec<status::Challenge>,
    /// Confirmations and vetoes, by digest or id.
    pub(crate) answered: Vec<(String, Armored)>,
    /// Operations of these kinds wait for people until the test says what becomes of them.
    pub(crate) asking: Vec<&'static str>,
    pub(crate) local_api: Option<LocalApi>,
    pub(crate) wished_limits: Tightening,
    pub(crate) box_id: Option<felhom_model::BoxId>,
    /// Operations of these kinds stay `running` until the test ends them.
    pub(crate) slow: Vec<&'static str>,
    pub(crate) pve_reachable: bool,
    /// Something is under way on these guests.
    pub(crate) busy: Vec<GuestUuid>,
    /// Operations of these kinds wait for people.
    pub(crate) asks_people: Vec<&'static str>,
    pub(crate) people: crate::people::Waiting,
    /// Long polls that came.
    pub(crate) waits: usize,
    seq: u64,
}

#[derive(Clone)]
pub(crate) struct Executor {
    inner: Arc<Mutex<Inner>>,
    events: broadcast::Sender<Event>,
    /// A runtime of its own, so that it can die with all its connections.
    process: Arc<Mutex<Option<Runtime>>>,
}

fn key() -> Key {
    Key::from_seed(&[3; 32])
}

pub(crate) fn attestation_key() -> PublicKey {
    key().public()
}

pub(crate) fn uuid(n: u8) -> GuestUuid {
    GuestUuid::from_random([n; 16])
}

/// A running tenant with the token `token-N`.
pub(crate) fn tenant(n: u8, name: &str) -> status::Guest {
    status::Guest {
        uuid: Some(uuid(n)),
        vmid: (2000 + u32::from(n)).try_into().unwrap(),
        name: Some(name.parse().unwrap()),
        purpose: "tenant".to_owned(),
        provenance: "proven".to_owned(),
        power: "running".to_owned(),
        lock: None,
        protection: false,
        cores: 2,
        memory_mib: 512,
        swap_mib: 0,
        apps: vec!["notes".parse().unwrap()],
        made_by: Some(OperationId::from_parts(1_700_000_000_000, n.into())),
        restored_from: None,
        succeeded_by: None,
        addresses: vec![],
        token_digest: Some(Digest::of(format!("token-{n}").as_bytes())),
        heartbeat: None,
    }
}

impl Executor {
    pub(crate) async fn start(socket: &FsPath) -> Self {
        let inner = Inner {
            guests: vec![],
            archives: vec![],
            receipts: vec![],
            used_names: vec![],
            requests: vec![],
            operations: BTreeMap::new(),
            by_request: BTreeMap::new(),
            phases: BTreeMap::new(),
            heartbeats: 0,
            frozen: vec![],
            thawed: vec![],
            challenges: vec![],
            answered: vec![],
            asking: vec![],
            local_api: None,
            wished_limits: Tightening::default(),
            box_id: None,
            slow: vec![],
            pve_reachable: true,
            busy: vec![],
            asks_people: vec![],
            people: Default::default(),
            waits: 0,
            seq: 0,
        };
        Self::serve(socket, Arc::new(Mutex::new(inner))).await
    }

    /// The same executor in a new process, after [`Self::stop`].
    pub(crate) async fn again(&self, socket: &FsPath) -> Self {
        std::fs::remove_file(socket).unwrap();
        Self::serve(socket, self.inner.clone()).await
    }

    /// Dies: every connection breaks.
    pub(crate) fn stop(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.shutdown_background();
        }
    }

    async fn serve(socket: &FsPath, inner: Arc<Mutex<Inner>>) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let process = Arc::new(Mutex::new(Some(runtime)));
        let executor = Self { inner, events: broadcast::channel(64).0, process };
        let app = Router::new()
            .route("/v1/observation", get(observation))
            .route("/v1/local-api", put(local_api))
            .route("/v1/limits", put(limits))
            .route("/v1/box", put(set_box))
            .route("/v1/operations", post(ask).get(list))
            .route("/v1/operations/{id}", get(one))
            .route("/v1/events", get(follow))
            .route("/v1/backups/{id}", get(backup))
            .route("/v1/backups/{id}/frozen", post(frozen))
            .route("/v1/backups/{id}/thawed", post(thawed))
            .route("/v1/heartbeats", post(heartbeat))
            .route("/v1/receipts", get(receipts))
            .route("/v1/audit", get(audit))
            .route("/v1/challenges", get(challenges))
            .route("/v1/challenges/{digest}/confirmations", post(answered))
            .merge(crate::people::routes())
            .with_state(executor.clone());
        handle.spawn(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
        executor
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn add(&self, guest: status::Guest) {
        let mut inner = self.lock();
        inner.used_names.extend(guest.name.clone());
        inner.guests.push(guest);
    }

    /// All requests of this kind.
    pub(crate) fn asked(&self, kind: &str) -> Vec<OperationRequest> {
        self.lock().requests.iter().filter(|request| request.kind == kind).cloned().collect()
    }

    /// Ends an operation that ran.
    pub(crate) fn end(&self, id: OperationId, state: OperationState) {
        let mut inner = self.lock();
        let operation = inner.operations.get_mut(&id).unwrap();
        (operation.state, operation.ended) = (state, Some(Timestamp::now()));
        let kind = operation.kind.clone();
        inner
            .phases
            .insert(id, if state == OperationState::Done { BackupPhase::Done } else { BackupPhase::Failed });
        drop(inner);
        self.event(id, &kind, state, "ended");
    }

    fn event(&self, id: OperationId, kind: &str, state: OperationState, what: &str) {
        let mut inner = self.lock();
        inner.seq += 1;
        let event = Event {
            seq: inner.seq,
            time: Timestamp::now(),
            operation: id,
            kind: kind.to_owned(),
            state,
            step: None,
            what: what.to_owned(),
            message: None,
            progress: None,
        };
        drop(inner);
        let _ = self.events.send(event);
    }
}

async fn observation(State(executor): State<Executor>) -> Json<Observation> {
    let inner = executor.lock();
    let golden =
        Golden { digest: Digest::of(b"g"), release: 1, apps: vec!["notes".parse().unwrap()], bytes: 1 };
    let storage = status::Storage {
        id: "local".parse().unwrap(),
        active: true,
        free: 50 << 30,
        total: 100 << 30,
        is_target: true,
    };
    Json(Observation {
        time: Timestamp::now(),
        version: "test".to_owned(),
        attestation_key: attestation_key(),
        pve_reachable: inner.pve_reachable,
        error: (!inner.pve_reachable).then(|| "connection refused".to_owned()),
        guests: inner.guests.clone(),
        archives: inner.archives.clone(),
        storages: vec![storage],
        golden: vec![golden],
        challenges: inner.people.challenges.clone(),
        audit_head: Some(audit_head(None)),
        wished_limits: inner.wished_limits,
        active: inner.operations.values().filter(|op| !op.state.is_final()).cloned().collect(),
        used_names: inner.used_names.clone(),
    })
}

/// A log without entries, as `guest` is shown it.
pub(crate) fn audit_head(guest: Option<GuestUuid>) -> SignedBytes {
    let guest = guest.map(|uuid| GuestTip { uuid, tip: Tip::BEGINNING });
    Head { v: AUDIT_VERSION, tip: Tip::BEGINNING, guest }.sign(&key()).unwrap().into()
}

#[derive(serde::Deserialize)]
struct AuditAsked {
    after: u64,
    guest: Option<GuestUuid>,
}

async fn audit(Query(asked): Query<AuditAsked>) -> Json<AuditPage> {
    let head = audit_head(asked.guest);
    // The cursor comes back as what it was.
    Json(AuditPage { entries: vec![], head, attestation_key: attestation_key(), more: asked.after == 41 })
}

async fn limits(State(executor): State<Executor>, Json(wish): Json<Tightening>) -> StatusCode {
    executor.lock().wished_limits = wish;
    StatusCode::NO_CONTENT
}

async fn local_api(State(executor): State<Executor>, Json(body): Json<LocalApi>) -> StatusCode {
    executor.lock().local_api = Some(body);
    StatusCode::NO_CONTENT
}

async fn set_box(State(executor): State<Executor>, Json(body): Json<BoxIdentity>) -> StatusCode {
    executor.lock().box_id = Some(body.box_id);
    StatusCode::NO_CONTENT
}

/// Refuses what is no operation or not built; everything else is done at once, or stays running if it is slow.
async fn ask(
    State(executor): State<Executor>,
    Json(request): Json<OperationRequest>,
) -> Result<Json<status::Operation>, Response> {
    let (operation, is_new) = {
        let mut inner = executor.lock();
        if !inner.pve_reachable {
            return Err(StatusCode::SERVICE_UNAVAILABLE.into_response());
        }
        if inner.busy.iter().any(|guest| request.params["guest"] == guest.to_string()) {
            let message = "operation 01 is active on guest".to_owned();
            let body = ErrorBody { error: "busy".to_owned(), message, hint: None };
            return Err((StatusCode::CONFLICT, Json(body)).into_response());
        }
        match inner.by_request.get(&request.request_id) {
            Some(id) => (inner.operations[id].clone(), false),
            None => (perform(&mut inner, &request), true),
        }
    };
    if is_new {
        executor.event(operation.id, &operation.kind, operation.state, "begun");
        if operation.state.is_final() {
            executor.event(operation.id, &operation.kind, operation.state, "ended");
        }
    }
    Ok(Json(operation))
}

fn perform(inner: &mut Inner, request: &OperationRequest) -> status::Operation {
    let id = OperationId::from_parts(1_800_000_000_000 + inner.operations.len() as u64, 0);
    let known = parse(&request.kind, &request.params);
    let guest = known.as_ref().ok().and_then(|operation| operation.guest());
    let (state, reason) = match (&known, request.kind.as_str()) {
        (Err(error), _) => (OperationState::Refused, Some(error.to_string())),
        (Ok(_), "reclaim_guest") => {
            (OperationState::Refused, Some("not_a_tombstone: not a tombstone".to_owned()))
        }
        (Ok(_), kind) if inner.asking.contains(&kind) => (OperationState::PendingAuthorization, None),
        (Ok(_), kind) if inner.asks_people.contains(&kind) => {
            inner.people.issue(id, 3600);
            (OperationState::PendingAuthorization, None)
        }
        (Ok(_), kind) if inner.slow.contains(&kind) => (OperationState::Running, None),
        (Ok(_), "provision_guest") => {
            let name = request.params["name"].as_str().unwrap().to_owned();
            let n = u8::try_from(inner.guests.len() + 1).unwrap();
            inner.used_names.push(name.parse().unwrap());
            inner.guests.push(tenant(n, &name));
            (OperationState::Done, None)
        }
        (Ok(_), "start_guest") => {
            for one in inner.guests.iter_mut().filter(|one| one.uuid == guest) {
                one.power = "running".to_owned();
            }
            (OperationState::Done, None)
        }
        (Ok(_), _) => (OperationState::Done, None),
    };
    let guest = if request.kind == "restore_guest" { Some(uuid(9)) } else { guest };
    let vmid = inner.guests.iter().find(|one| one.uuid == guest).map(|one| one.vmid.to_string());
    let line = |key: &str, value: String| status::Evidence { key: key.to_owned(), value };
    let operation = status::Operation {
        id,
        kind: request.kind.clone(),
        state,
        guest,
        guest_name: request.params["name"].as_str().and_then(|name| name.parse().ok()),
        asked_for: request.reason.clone(),
        asked_by: request.asked_by.clone(),
        verdict: String::new(),
        evidence: guest
            .map(|uuid| line("guest", uuid.to_string()))
            .into_iter()
            .chain(vmid.map(|vmid| line("vmid", vmid)))
            .collect(),
        reason,
        grace: None,
        steps: vec![],
        progress: None,
        created: Timestamp::now(),
        ended: state.is_final().then(Timestamp::now),
        result: serde_json::Value::Null,
    };
    inner.requests.push(request.clone());
    inner.by_request.insert(request.request_id.clone(), id);
    inner.operations.insert(id, operation.clone());
    if request.kind == "backup_guest" {
        inner.phases.insert(id, BackupPhase::Granted);
    }
    operation
}

async fn list(
    State(executor): State<Executor>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Vec<status::Operation>> {
    let after: Option<OperationId> = query.get("after").map(|text| text.parse().unwrap());
    let inner = executor.lock();
    Json(inner.operations.values().filter(|op| after.is_none_or(|after| op.id > after)).cloned().collect())
}

fn unknown() -> Response {
    let body = ErrorBody { error: "unknown".to_owned(), message: "no such operation".to_owned(), hint: None };
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

async fn one(State(executor): State<Executor>, Path(id): Path<OperationId>) -> Response {
    executor.lock().operations.get(&id).map_or_else(unknown, |operation| Json(operation).into_response())
}

async fn follow(
    State(executor): State<Executor>,
) -> Sse<impl stream::Stream<Item = Result<SseEvent, Infallible>>> {
    let receiver = executor.events.subscribe();
    Sse::new(stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await.ok()?;
        Some((Ok(SseEvent::default().json_data(event).unwrap()), receiver))
    }))
}

async fn backup(
    State(executor): State<Executor>,
    Path(id): Path<OperationId>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let after: Option<BackupPhase> =
        query.get("after").map(|text| serde_json::from_value(json!(text)).unwrap());
    let mut events = executor.events.subscribe();
    executor.lock().waits += usize::from(query["wait_s"] != "0");
    for _ in 0..300 {
        let phase = executor.lock().phases.get(&id).copied();
        let Some(phase) = phase else { return unknown() };
        if after.is_none_or(|after| phase > after) || query["wait_s"] == "0" {
            return Json(BackupStatus { id, phase, message: None, signature: None }).into_response();
        }
        let _ = tokio::time::timeout(std::time::Duration::from_millis(100), events.recv()).await;
    }
    unknown()
}

async fn frozen(
    State(executor): State<Executor>,
    Path(id): Path<OperationId>,
    Json(signed): Json<SignedBytes>,
) -> Json<BackupStatus> {
    let mut inner = executor.lock();
    inner.frozen.push(serde_json::from_slice(&signed.bytes).unwrap());
    inner.phases.insert(id, BackupPhase::Snapshotted);
    Json(BackupStatus { id, phase: BackupPhase::Frozen, message: None, signature: None })
}

async fn thawed(
    State(executor): State<Executor>,
    Path(id): Path<OperationId>,
    Json(thawed): Json<Thawed>,
) -> Json<BackupStatus> {
    let mut inner = executor.lock();
    inner.thawed.push(thawed);
    Json(BackupStatus { id, phase: inner.phases[&id], message: None, signature: None })
}

async fn heartbeat(State(executor): State<Executor>, Json(_): Json<SignedBytes>) -> StatusCode {
    executor.lock().heartbeats += 1;
    StatusCode::NO_CONTENT
}

async fn receipts(State(executor): State<Executor>) -> Json<Vec<SignedReceipt>> {
    Json(executor.lock().receipts.clone())
}

async fn challenges(State(executor): State<Executor>) -> Json<Vec<status::Challenge>> {
    Json(executor.lock().challenges.clone())
}

async fn answered(
    State(executor): State<Executor>,
    Path(name): Path<String>,
    Json(signed): Json<Armored>,
) -> Json<status::Operation> {
    let mut inner = executor.lock();
    inner.answered.push((name, signed));
    Json(inner.operations.values().next_back().unwrap().clone())
}
