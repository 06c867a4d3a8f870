//! What boxes call: enrolment and the signed sync. Every answer is signed by the hub, refusals too.

mod answer;
mod authenticate;
mod enroll;
mod intake;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header, request::Parts};
use axum::response::Response;
use axum::routing::post;
use felhom_protocol::ErrorBody;
use felhom_protocol::hub_sync::{ANSWER_SIGNATURE, SyncRefusal};
use felhom_signing::Context;
use serde::Serialize;

use crate::hub::{Hub, Inner};
use crate::store::StoreError;

/// Largest report, bytes.
const MAX_SYNC: usize = 8 << 20;
/// Largest enrolment, bytes.
const MAX_ENROLL: usize = 16 << 10;
/// How long a body may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The routes, with their whole paths: the path is part of what a box signs, and nested routers do not see it whole.
pub(crate) fn router() -> Router<Hub> {
    Router::new().route("/api/v1/enroll", post(enroll_box)).route("/api/v1/sync", post(sync_box))
}

async fn enroll_box(
    State(hub): State<Hub>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let run = async {
        let (_, body) = receive(request, MAX_ENROLL).await?;
        enroll::enroll(&hub, peer.ip(), &body).await
    };
    match run.await {
        Ok(answer) => signed(&hub, StatusCode::OK, &answer),
        Err(refusal) => refusal.respond(&hub),
    }
}

async fn sync_box(State(hub): State<Hub>, request: Request) -> Response {
    let run = async {
        let (parts, body) = receive(request, MAX_SYNC).await?;
        let caller = authenticate::authenticate(&hub, &parts, &body).await?;
        let taken = intake::take(&hub, caller, &body).await?;
        answer::answer(&hub, taken).await
    };
    match run.await {
        Ok(answer) => signed(&hub, StatusCode::OK, &answer),
        Err(refusal) => refusal.respond(&hub),
    }
}

async fn receive(request: Request, limit: usize) -> Result<(Parts, Bytes), Refusal> {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok((parts, bytes)),
        Ok(Err(e)) => {
            let message = format!("the body could not be read, at most {limit} bytes are taken: {e}");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message))
        }
        Err(_) => {
            let message = "the body did not come in within 30 s".to_owned();
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message))
        }
    }
}

/// Why a box gets no answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: &'static str,
    message: String,
    hint: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, message: String) -> Self {
        Self { status, error, message, hint: None, retry_after: None }
    }

    fn unauthorized(error: &'static str, message: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error, message)
    }

    fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    fn respond(self, hub: &Inner) -> Response {
        tracing::info!(error = self.error, message = self.message, "refused");
        let error = ErrorBody {
            error: self.error.to_owned(),
            message: self.message,
            hint: self.hint.map(str::to_owned),
        };
        let mut response = signed(hub, self.status, &SyncRefusal { error, time: hub.now() });
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed");
        let message = "the hub's database failed; see the hub's log".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "database", message)
            .hint("nothing was lost; the same request can be made again")
    }
}

fn signed<T: Serialize>(hub: &Inner, status: StatusCode, answer: &T) -> Response {
    let bytes = serde_json::to_vec(answer).unwrap_or_default();
    let signature = hub.key.sign(Context::SyncAnswer, &bytes).to_string();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(value) = HeaderValue::from_str(&signature) {
        headers.insert(ANSWER_SIGNATURE, value);
    }
    response
}
