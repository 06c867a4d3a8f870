//! The box as a guest sees it: the local API over TLS, as far as one backup needs it. It plays the executor's part too:
//! it signs what the executor signs, and what it saw can be asked for.

use crate::guest::Guest;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use felhom_model::{Digest, GuestUuid, OperationId};
use felhom_protocol::status;
use felhom_protocol::{
    ErrorBody, SignedBytes,
    local_api::{
        BackupDue, BackupPhase, BackupRequest, BackupStatus, Bootstrap, Frozen, Heartbeat, HeartbeatAnswer,
        RestoreTestStatus, Thawed,
    },
};
use felhom_signing::{Context, Key, PublicKey, Signed, consent::Armored};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) fn box_id() -> felhom_model::BoxId {
    felhom_model::BoxId::from_random([4; 16])
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) heartbeats: Vec<Heartbeat>,
    pub(crate) phase: Option<BackupPhase>,
    pub(crate) frozen: Option<Frozen>,
    pub(crate) thawed: Option<Thawed>,
    /// The test lets the snapshot be taken.
    pub(crate) snapshot: bool,
    pub(crate) due: bool,
    pub(crate) requests: u32,
    /// So many calls about a backup are answered with 503, as if the executor were being started again.
    pub(crate) away: u32,
    /// What the agent carries as challenges.
    pub(crate) challenges: Vec<status::Challenge>,
    /// What it was handed, by the last parts of the path.
    pub(crate) confirmed: Vec<(String, Armored)>,
    pub(crate) vetoed: Vec<(String, Armored)>,
    /// It refuses confirmations and vetoes with this status and word.
    pub(crate) refuses: Option<(u16, &'static str)>,
    /// So many answers lie that the snapshot was taken, without the executor's signature.
    pub(crate) lies: u32,
}

#[derive(Clone)]
pub(crate) struct TheBox {
    pub(crate) seen: Arc<Mutex<Seen>>,
    attestation: Arc<Key>,
    guest_key: PublicKey,
    pub(crate) guest: GuestUuid,
    id: OperationId,
}

impl TheBox {
    /// Starts it and pushes bootstrap and token into the guest.
    pub(crate) async fn start(guest: &Guest) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = String::from_utf8(guest.call(&["public-key"], "").stdout).unwrap();
        let the_box = Self {
            seen: Arc::default(),
            attestation: Arc::new(Key::from_seed(&[9; 32])),
            guest_key: key.trim().parse().unwrap(),
            guest: GuestUuid::from_random([5; 16]),
            id: OperationId::from_parts(1, 7),
        };
        let cert = rcgen::generate_simple_self_signed(vec!["box".into()]).unwrap();
        let fingerprint = Digest::of(cert.cert.der());
        let config = axum_server::tls_rustls::RustlsConfig::from_der(
            vec![cert.cert.der().to_vec()],
            cert.signing_key.serialize_der(),
        );
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = axum_server::from_tcp_rustls(listener, config.await.unwrap()).unwrap();
        tokio::spawn(server.serve(the_box.clone().router().into_make_service()));
        let bootstrap = Bootstrap {
            guest: the_box.guest,
            name: "family".parse().unwrap(),
            box_id: Some(box_id()),
            local_api: format!("https://{address}"),
            local_api_fingerprint: fingerprint,
            attestation_key: the_box.attestation.public(),
            boot_nonce: "boot-1".into(),
            apps: vec!["notes".parse().unwrap()],
        };
        let run = guest.paths().run();
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("token"), "secret\n").unwrap();
        std::fs::write(run.join("bootstrap.json"), serde_json::to_vec(&bootstrap).unwrap()).unwrap();
        the_box
    }

    fn router(self) -> Router {
        Router::new()
            .route("/v1/heartbeat", post(heartbeat))
            .route("/v1/backup/due", get(due))
            .route("/v1/backup", post(request))
            .route("/v1/backup/{id}", get(backup))
            .route("/v1/backup/{id}/frozen", post(frozen))
            .route("/v1/backup/{id}/thawed", post(thawed))
            .route("/v1/restore-test/status", get(async || Json(RestoreTestStatus::default())))
            .route("/v1/challenges", get(challenges))
            .route("/v1/challenges/{digest}/confirmation", post(confirmation))
            .route("/v1/operations/{id}/veto", post(veto))
            .with_state(self)
    }

    pub(crate) fn attestation(&self) -> &Key {
        &self.attestation
    }

    pub(crate) fn guest_key(&self) -> &PublicKey {
        &self.guest_key
    }

    fn status(&self) -> BackupStatus {
        let mut seen = self.seen.lock().unwrap();
        if seen.lies > 0 && seen.phase == Some(BackupPhase::Frozen) {
            seen.lies -= 1;
            return BackupStatus {
                id: self.id,
                phase: BackupPhase::Archiving,
                message: None,
                signature: None,
            };
        }
        let phase = seen.phase.unwrap();
        drop(seen);
        let name = serde_json::to_value(phase).unwrap();
        let text = format!("{} {}", self.id, name.as_str().unwrap());
        let signed = matches!(phase, BackupPhase::Granted | BackupPhase::Snapshotted);
        let signature = signed.then(|| self.attestation.sign(Context::BackupPhase, text.as_bytes()));
        BackupStatus { id: self.id, phase, message: None, signature }
    }

    fn verified(&self, signed: SignedBytes, context: Context) -> Vec<u8> {
        Signed::from(signed).verify(&self.guest_key, context).unwrap().into_inner()
    }

    /// Polls until something was seen.
    pub(crate) async fn until<T>(&self, what: &str, mut ready: impl FnMut(&mut Seen) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = ready(&mut self.seen.lock().unwrap()) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn heartbeat(
    State(the_box): State<TheBox>,
    headers: HeaderMap,
    Json(signed): Json<SignedBytes>,
) -> Json<HeartbeatAnswer> {
    assert_eq!(headers["authorization"], "Bearer secret");
    let heartbeat: Heartbeat = serde_json::from_slice(&the_box.verified(signed, Context::Heartbeat)).unwrap();
    let mut seen = the_box.seen.lock().unwrap();
    seen.heartbeats.push(heartbeat);
    Json(HeartbeatAnswer { time: jiff::Timestamp::now(), apps: vec![], backup_due: seen.due, next_s: 1 })
}

/// Says so for longer than it is true, as a box does that looks again only later.
async fn due(State(the_box): State<TheBox>) -> Json<BackupDue> {
    for _ in 0..100 {
        if the_box.seen.lock().unwrap().due {
            return Json(BackupDue { due: true, request_id: Some("r1".into()), reason: Some("job".into()) });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Json(BackupDue { due: false, request_id: None, reason: None })
}

async fn request(State(the_box): State<TheBox>, Json(request): Json<BackupRequest>) -> Json<BackupStatus> {
    assert_eq!(request.request_id, "r1");
    let mut seen = the_box.seen.lock().unwrap();
    seen.requests += 1;
    // The same request is the same backup.
    seen.phase.get_or_insert(BackupPhase::Requested);
    drop(seen);
    Json(the_box.status())
}

async fn backup(
    State(the_box): State<TheBox>,
    Path(id): Path<OperationId>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<BackupStatus>, StatusCode> {
    assert_eq!(id, the_box.id);
    let after = query.get("after").map(String::as_str).unwrap_or_default();
    for _ in 0..100 {
        {
            let mut seen = the_box.seen.lock().unwrap();
            if seen.away > 0 {
                seen.away -= 1;
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            match seen.phase {
                Some(BackupPhase::Requested) => seen.phase = Some(BackupPhase::Granted),
                Some(BackupPhase::Frozen) if seen.snapshot => seen.phase = Some(BackupPhase::Snapshotted),
                Some(BackupPhase::Snapshotted) if seen.thawed.is_some() => {
                    seen.phase = Some(BackupPhase::Done)
                }
                _ => {}
            }
        }
        let status = the_box.status();
        if serde_json::to_value(status.phase).unwrap() != after {
            return Ok(Json(status));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Json(the_box.status()))
}

async fn frozen(State(the_box): State<TheBox>, Json(signed): Json<SignedBytes>) -> Json<BackupStatus> {
    let frozen = serde_json::from_slice(&the_box.verified(signed, Context::Frozen)).unwrap();
    {
        let mut seen = the_box.seen.lock().unwrap();
        seen.frozen = Some(frozen);
        seen.phase = Some(BackupPhase::Frozen);
    }
    Json(the_box.status())
}

async fn thawed(State(the_box): State<TheBox>, Json(thawed): Json<Thawed>) -> Json<BackupStatus> {
    the_box.seen.lock().unwrap().thawed = Some(thawed);
    Json(the_box.status())
}

async fn challenges(State(the_box): State<TheBox>) -> Json<Vec<status::Challenge>> {
    Json(the_box.seen.lock().unwrap().challenges.clone())
}

type Taken = Result<Json<status::Operation>, (StatusCode, Json<ErrorBody>)>;

fn take(the_box: &TheBox, id: OperationId) -> Taken {
    if let Some((status, word)) = the_box.seen.lock().unwrap().refuses {
        let body = ErrorBody { error: word.into(), message: "no".into(), hint: None };
        return Err((StatusCode::from_u16(status).unwrap(), Json(body)));
    }
    let operation = serde_json::json!({
        "id": id, "kind": "retire_guest", "state": "running", "asked_for": "", "asked_by": "", "verdict": "",
        "created": "2026-01-01T00:00:00Z",
    });
    Ok(Json(serde_json::from_value(operation).unwrap()))
}

async fn confirmation(
    State(the_box): State<TheBox>,
    Path(digest): Path<String>,
    Json(signed): Json<Armored>,
) -> Taken {
    the_box.seen.lock().unwrap().confirmed.push((digest, signed));
    take(&the_box, the_box.id)
}

async fn veto(State(the_box): State<TheBox>, Path(id): Path<String>, Json(signed): Json<Armored>) -> Taken {
    the_box.seen.lock().unwrap().vetoed.push((id, signed));
    take(&the_box, the_box.id)
}
