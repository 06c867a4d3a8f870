//! The network between box and hub: it speaks TLS with the hub's certificate, as a wire would pass it on, and does with each request
//! what the scheduler says. What is signed goes through it as it is.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum_server::tls_rustls::RustlsConfig;
use felhom_protocol::hub_sync::ANSWER_SIGNATURE;
use futures_util::stream;

use crate::liar::Liar;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives, and so does its answer.
    Whole,
    /// It does not arrive.
    RequestLost,
    /// It arrives, its answer does not.
    AnswerLost,
    /// It does not arrive now; later, when nobody waits for its answer, it may.
    Late,
    /// It arrives twice.
    Twice,
    /// It arrives; an older answer, genuine and signed, comes back in the place of its own.
    OldAnswer,
    /// It arrives, and who sent it dies before the answer.
    SenderDies,
    /// It arrives; a hub in other hands answers.
    Forged,
}

/// A request on its way.
#[derive(Debug, Clone)]
struct Request {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// An answer on its way.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

struct Inner {
    fate: Fate,
    late: Vec<Request>,
    /// The answer before.
    old: Option<Answer>,
    liar: Liar,
    /// Statuses that second copies and late ones were answered with.
    copies: Vec<u16>,
    /// Rung when a request is there whose sender dies.
    arrived: Sender<()>,
}

/// The network.
#[derive(Clone)]
pub(crate) struct Network {
    inner: Arc<Mutex<Inner>>,
    hub: Arc<Mutex<String>>,
    http: reqwest::Client,
    pub(crate) url: String,
}

impl Network {
    /// Begins to listen with the hub's own certificate; the hub is named later.
    pub(crate) async fn start(hub_dir: &Path, seed: u64) -> (Self, Receiver<()>) {
        let read = |name: &str| fs::read(hub_dir.join(name)).unwrap();
        let certificate = reqwest::Certificate::from_pem(&read("tls.crt")).unwrap();
        let tls = RustlsConfig::from_pem(read("tls.crt"), read("tls.key")).await.unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]).no_proxy();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (arrived, receiver) = channel();
        let inner = Inner {
            fate: Fate::Whole,
            late: Vec::new(),
            old: None,
            liar: Liar::new(hub_dir, seed),
            copies: Vec::new(),
            arrived,
        };
        let network = Self {
            inner: Arc::new(Mutex::new(inner)),
            hub: Arc::default(),
            http: client.build().unwrap(),
            url,
        };
        let app = Router::new().fallback(pass_on).with_state(network.clone());
        tokio::spawn(axum_server::from_tcp_rustls(listener, tls).unwrap().serve(app.into_make_service()));
        (network, receiver)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Where the hub is.
    pub(crate) fn lead_to(&self, hub: &str) {
        *self.hub.lock().unwrap() = hub.to_owned();
    }

    /// What becomes of the next requests.
    pub(crate) fn set(&self, fate: Fate) {
        self.inner().fate = fate;
    }

    /// How many requests are late.
    pub(crate) fn late(&self) -> usize {
        self.inner().late.len()
    }

    /// What copies and late requests were answered with since the last look.
    pub(crate) fn copies(&self) -> Vec<u16> {
        std::mem::take(&mut self.inner().copies)
    }

    /// A late request arrives; `None` if the hub cannot be reached.
    pub(crate) async fn deliver(&self, n: usize) -> Option<u16> {
        let request = self.inner().late.remove(n);
        self.forward(&request).await.map(|answer| answer.status.as_u16())
    }

    async fn forward(&self, request: &Request) -> Option<Answer> {
        let url = format!("{}{}", self.hub.lock().unwrap(), request.path);
        let sent = self.http.post(url).headers(request.headers.clone()).body(request.body.clone()).send();
        let response = sent.await.ok()?;
        let (status, mut headers) = (response.status(), response.headers().clone());
        // Of the hop, not of the message.
        headers.remove("transfer-encoding");
        Some(Answer { status, headers, body: response.bytes().await.ok()? })
    }
}

async fn pass_on(State(network): State<Network>, uri: Uri, mut headers: HeaderMap, body: Bytes) -> Response {
    headers.remove("host");
    let request = Request { path: uri.path().to_owned(), headers, body };
    let fate = network.inner().fate;
    match fate {
        Fate::Whole | Fate::OldAnswer | Fate::Forged => {}
        Fate::RequestLost => return cut(),
        Fate::Late => {
            network.inner().late.push(request);
            return cut();
        }
        Fate::AnswerLost => {
            network.forward(&request).await;
            return cut();
        }
        Fate::SenderDies => {
            network.forward(&request).await;
            let _ = network.inner().arrived.send(());
            return std::future::pending().await;
        }
        Fate::Twice => {
            let first = network.forward(&request).await;
            let second = network.forward(&request).await;
            let status = second.map(|answer| answer.status.as_u16());
            network.inner().copies.extend(status);
            return first.map_or_else(cut, shown);
        }
    }
    let Some(mut answer) = network.forward(&request).await else { return cut() };
    let mut inner = network.inner();
    inner.liar.hear_request(&request.body);
    inner.liar.hear_answer(&answer.body);
    let old = inner.old.replace(answer.clone());
    match (fate, old) {
        (Fate::OldAnswer, Some(old)) => return shown(old),
        (Fate::Forged, _) => {
            let (body, signature) = inner.liar.says(&answer.body);
            (answer.status, answer.body) = (StatusCode::OK, body.into());
            answer.headers.remove("content-length");
            answer.headers.insert(ANSWER_SIGNATURE, signature.parse().unwrap());
        }
        _ => {}
    }
    shown(answer)
}

fn shown(answer: Answer) -> Response {
    (answer.status, answer.headers, answer.body).into_response()
}

/// The connection breaks in the middle of the answer.
fn cut() -> Response {
    let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    Response::new(Body::from_stream(broken))
}
