//! A hub with one box: real TLS, real signatures, a desired state and jobs that the test sets.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use felhom_model::{BoxId, Digest, Generation, JobId, MessageId};
use felhom_protocol::desired::{Document, SCHEMA, Spec};
use felhom_protocol::hub_sync::*;
use felhom_protocol::{ErrorBody, SignedBytes};
use felhom_signing::{Context, Key, PublicKey, Signed, http};
use jiff::{SignedDuration, Timestamp};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) used_tickets: Vec<String>,
    pub(crate) refuse_tickets: bool,
    pub(crate) device_key: Option<PublicKey>,
    pub(crate) attestation_key: Option<PublicKey>,
    pub(crate) document: Option<(Document, SignedBytes)>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) finished: Vec<JobReport>,
    pub(crate) messages: Vec<Message>,
    pub(crate) judged: Vec<Outcome>,
    pub(crate) reports: Vec<Report>,
    pub(crate) syncs: usize,
    /// Bytes of the last sync's request, as HTTP.
    pub(crate) sync_bytes: usize,
    pub(crate) nonces: Vec<String>,
    /// So many syncs are said to be out of turn.
    pub(crate) out_of_turn: usize,
    pub(crate) next_sync_s: u32,
    pub(crate) forge: bool,
    /// The hub's clock is this far ahead.
    pub(crate) ahead: SignedDuration,
}

#[derive(Clone)]
pub(crate) struct Hub {
    inner: Arc<Mutex<Inner>>,
    key: Arc<Key>,
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: Digest,
    tls: RustlsConfig,
    handle: Handle<SocketAddr>,
}

pub(crate) fn box_id() -> BoxId {
    BoxId::from_random([7; 16])
}

impl Hub {
    pub(crate) async fn start() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["hub".to_owned()]).unwrap().self_signed(&key).unwrap();
        let fingerprint = Digest::of(certificate.der());
        let pem = certificate.pem().into_bytes();
        let tls = RustlsConfig::from_pem(pem, key.serialize_pem().into_bytes()).await.unwrap();
        let inner = Arc::new(Mutex::new(Inner { next_sync_s: 1, ..Inner::default() }));
        let hub = Self {
            inner,
            key: Arc::new(Key::from_seed(&[5; 32])),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            fingerprint,
            tls,
            handle: Handle::new(),
        };
        hub.listen(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same hub on the same port, after [`Self::stop`].
    pub(crate) fn again(&self) -> Self {
        Self { handle: Handle::new(), ..self.clone() }.listen(self.address)
    }

    fn listen(mut self, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/api/v1/enroll", post(enroll))
            .route("/api/v1/sync", post(sync))
            .with_state(self.clone());
        let server =
            axum_server::from_tcp_rustls(listener, self.tls.clone()).unwrap().handle(self.handle.clone());
        tokio::spawn(server.serve(app.into_make_service()));
        self
    }

    pub(crate) fn stop(&self) {
        self.handle.shutdown();
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket {
            hub_url: format!("https://{}", self.address),
            hub_fingerprint: self.fingerprint,
            hub_key: self.key.public(),
            token: "00112233".to_owned(),
        }
    }

    /// Sets desired state as the next generation.
    pub(crate) fn desire(&self, guests: &str) {
        let (generation, prev_hash) = match &self.lock().document {
            Some((document, signed)) => (document.generation.next(), Some(Digest::of(&signed.bytes))),
            None => (Generation(1), None),
        };
        self.write(generation, prev_hash, guests);
    }

    /// Writes any document.
    pub(crate) fn write(&self, generation: Generation, prev_hash: Option<Digest>, guests: &str) {
        let spec: Spec = toml::from_str(&format!("schema = \"{SCHEMA}\"\n{guests}")).unwrap();
        let document = Document { schema: SCHEMA.to_owned(), box_id: box_id(), generation, prev_hash, spec };
        let bytes = serde_json::to_vec(&document).unwrap();
        let signed = Signed::new(&self.key, Context::DesiredState, bytes).into();
        self.lock().document = Some((document, signed));
    }

    pub(crate) fn job(&self, n: u64, kind: &str, params: serde_json::Value) -> JobId {
        let id = JobId::from_parts(n, 1);
        let deadline = Timestamp::now() + SignedDuration::from_mins(10);
        let author = "operator".to_owned();
        self.lock().jobs.push(Job { id, kind: kind.to_owned(), params, deadline, author });
        id
    }

    /// Somebody says something to the box.
    pub(crate) fn say(&self, n: u64, said: Said) -> MessageId {
        let id = MessageId::from_parts(n, 1);
        self.lock().messages.push(Message { id, said });
        id
    }

    pub(crate) fn finished(&self, id: JobId) -> Option<JobReport> {
        self.lock().finished.iter().find(|report| report.id == id).cloned()
    }

    pub(crate) fn last_report(&self) -> Option<Report> {
        self.lock().reports.last().cloned()
    }

    /// Whether the last report holds this condition with this reason.
    pub(crate) fn told(&self, kind: &str, reason: &str) -> Option<String> {
        let report = self.last_report()?;
        let condition = report.conditions.into_iter().find(|c| c.kind == kind && c.reason == reason)?;
        Some(condition.message)
    }

    fn answer(&self, status: StatusCode, body: &impl serde::Serialize) -> Response {
        let bytes = serde_json::to_vec(body).unwrap();
        let other = Key::from_seed(&[66; 32]);
        let key = if self.lock().forge { &other } else { &*self.key };
        let signature = key.sign(Context::SyncAnswer, &bytes).to_string();
        (status, [(ANSWER_SIGNATURE, signature)], bytes).into_response()
    }

    fn refuse(&self, error: &str, message: &str) -> Response {
        let error = ErrorBody { error: error.to_owned(), message: message.to_owned(), hint: None };
        self.answer(StatusCode::FORBIDDEN, &SyncRefusal { error, time: self.now() })
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + self.lock().ahead
    }
}

async fn enroll(State(hub): State<Hub>, body: Bytes) -> Response {
    let request: EnrollRequest = serde_json::from_slice(&body).unwrap();
    {
        let mut inner = hub.lock();
        if inner.refuse_tickets || inner.used_tickets.contains(&request.token) {
            drop(inner);
            return hub.refuse("ticket_used", "this ticket was used already");
        }
        inner.used_tickets.push(request.token);
        inner.device_key = Some(request.device_key);
        inner.attestation_key = Some(request.attestation_key);
    }
    hub.answer(StatusCode::OK, &EnrollAnswer { box_id: box_id(), name: "home".to_owned(), epoch: 1 })
}

async fn sync(State(hub): State<Hub>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
    let signature = http::Headers {
        content_digest: header("content-digest"),
        signature_input: header("signature-input"),
        signature: header("signature"),
    };
    let request = http::Request { method: "POST", path: "/api/v1/sync", body: &body };
    let key = hub.lock().device_key.unwrap();
    let params = http::verify(&key, &request, &signature).unwrap();
    assert_eq!(params.key_id, box_id().to_string());
    if (hub.now().as_second() - params.created).abs() > 300 {
        return hub.refuse("clock_off", "the request's time is far from the hub's clock");
    }
    {
        let mut inner = hub.lock();
        if inner.out_of_turn > 0 {
            inner.out_of_turn -= 1;
            drop(inner);
            return hub.refuse("replayed", "this request, or a later one of the box, was taken already");
        }
    }
    let sync: SyncRequest = serde_json::from_slice(&body).unwrap();
    let head: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let sync_bytes = "POST /api/v1/sync HTTP/1.1\r\n\r\n".len() + head + body.len();
    let time = hub.now();
    let answer = {
        let mut inner = hub.lock();
        assert!(!inner.nonces.contains(&params.nonce), "each nonce once");
        inner.nonces.push(params.nonce);
        inner.syncs += 1;
        inner.sync_bytes = sync_bytes;
        if let Some(report) = sync.report {
            let over: Vec<JobReport> = report.jobs.iter().filter(|job| job.is_final()).cloned().collect();
            inner.jobs.retain(|job| over.iter().all(|report| report.id != job.id));
            inner.finished.extend(over);
            inner.messages.retain(|message| report.outcomes.iter().all(|outcome| outcome.id != message.id));
            inner.judged.extend(report.outcomes.clone());
            inner.reports.push(report);
        }
        let document = inner.document.clone();
        let digest = document.as_ref().map(|(_, signed)| Digest::of(&signed.bytes));
        SyncAnswer {
            nonce: sync.nonce,
            time,
            generation: document.as_ref().map(|(document, _)| document.generation).unwrap_or_default(),
            desired_state: document.map(|(_, signed)| signed).filter(|_| digest != sync.document_digest),
            jobs: inner.jobs.clone(),
            messages: inner.messages.clone(),
            next_sync_s: inner.next_sync_s,
        }
    };
    hub.answer(StatusCode::OK, &answer)
}
