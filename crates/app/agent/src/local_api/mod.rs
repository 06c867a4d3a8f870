//! The local API for guests: HTTPS, own certificate, a token per guest. A guest sees and moves its own objects only.
//!
//! | file | holds |
//! |---|---|
//! | `certificate` | the certificate that guests pin |
//! | `caller` | from token to guest, and the limit on rate |
//! | `audit` | what the box wrote down about this guest |
//! | `handlers` | the calls of `felhom_protocol::local_api` |
//! | `backup` | the calls on one backup, and its stream |
//! | `consent` | challenges, confirmations and vetoes: carried, never judged |
//! | `rollback` | an earlier state of the own guest: a restore, then a cutover |
//!
//! **Architecture invariant:** no token is stored here; the executor's observation has its SHA-256.

mod audit;
mod backup;
mod caller;
mod certificate;
mod consent;
mod handlers;
mod rollback;

use crate::shared::Shared;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use felhom_client::Error as ClientError;
use felhom_protocol::ErrorBody;
use felhom_protocol::executor::LocalApi;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// A guest's body may have this many bytes: `frozen` carries a digest for each sample.
const BODY: usize = 4 << 20;

/// What every handler gets.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    shared: Arc<Shared>,
    callers: Arc<caller::Callers>,
}

/// The bound server, not serving yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    tls: RustlsConfig,
    /// Where guests reach it.
    pub(crate) address: LocalApi,
}

/// Binds the address and loads the certificate, made and kept if there is none.
///
/// # Errors
/// If the address cannot be had, or the certificate not be read.
pub(crate) async fn bind(shared: &Shared) -> anyhow::Result<Bound> {
    let listen = shared.config.local_api_listen;
    let certificate = certificate::load_or_make(&shared.config, listen.ip())?;
    let tls = RustlsConfig::from_pem(certificate.chain, certificate.key.to_vec()).await?;
    let listener = TcpListener::bind(listen)
        .map_err(|e| anyhow::anyhow!("cannot listen on {listen} (local_api_listen): {e}"))?;
    listener.set_nonblocking(true)?;
    let url = match &shared.config.local_api_url {
        Some(url) => url.clone(),
        None => format!("https://{}", listener.local_addr()?),
    };
    Ok(Bound { listener, tls, address: LocalApi { url, fingerprint: certificate.fingerprint } })
}

/// Serves until the process ends.
///
/// # Errors
/// If the listener breaks.
pub(crate) async fn serve(
    bound: Bound,
    shared: Arc<Shared>,
    handle: Handle<SocketAddr>,
) -> anyhow::Result<()> {
    tokio::spawn(rollback::run(shared.clone()));
    let api = Api { shared, callers: Arc::default() };
    let app = Router::new()
        .route("/v1/heartbeat", post(handlers::heartbeat))
        .route("/v1/backup/due", get(handlers::backup_due))
        .route("/v1/backup", post(backup::request))
        .route("/v1/backup/{id}", get(backup::show))
        .route("/v1/backup/{id}/frozen", post(backup::frozen))
        .route("/v1/backup/{id}/thawed", post(backup::thawed))
        .route("/v1/audit", get(audit::page))
        .route("/v1/restore-test/status", get(handlers::restore_test_status))
        .route("/v1/challenges", get(consent::challenges))
        .route("/v1/challenges/{digest}/confirmation", post(consent::confirm))
        .route("/v1/operations/{id}/veto", post(consent::veto))
        .route("/v1/rollback", get(rollback::show).post(rollback::request))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "unknown_call", "there is no such call") })
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(api);
    let server = axum_server::from_tcp_rustls(bound.listener, bound.tls)?;
    server.handle(handle).serve(app.into_make_service()).await?;
    Ok(())
}

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
}

impl Refusal {
    fn new(status: StatusCode, error: &str, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { error: error.to_owned(), message: message.into(), hint: None } }
    }

    /// Another guest's object, or none at all: the same words for both.
    fn not_yours() -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_yours", "this guest has no such object")
    }

    /// The agent itself failed; the log says more than the guest needs to know.
    fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!("local API: {error}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the agent could not do it; its log says why",
        )
    }
}

impl From<ClientError> for Refusal {
    /// The executor's words to its own callers pass through; everything else is "not now".
    fn from(error: ClientError) -> Self {
        match &error.kind {
            felhom_client::ErrorKind::Refused { status, body, .. } if (400..500).contains(status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
                Self { status, body: (**body).clone() }
            }
            _ => {
                tracing::warn!("local API: {error}");
                let message = "the executor does not answer now; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "executor_unavailable", message)
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.body)).into_response()
    }
}
