//! The unix socket: HTTP/1.1, JSON and SSE; `felhom_protocol::executor` names the calls.
//!
//! Every connection's peer is checked by its user id (`SO_PEERCRED`) against the configuration; the socket's file is 0660.

mod answer;
mod audit;
mod backups;
mod challenges;
mod events;
mod guests;
mod operations;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use crate::submit::Executor;
use answer::Failure;

/// Nothing that is sent here comes near it.
const MAX_BODY: usize = 8 << 20;

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
struct Peer {
    uid: Option<u32>,
}

impl Peer {
    /// Whether it is the user that this program runs as.
    fn is_own(self) -> bool {
        self.uid == Some(rustix::process::geteuid().as_raw())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|cred| cred.uid()) }
    }
}

/// All calls.
fn router(executor: Arc<Executor>) -> Router {
    Router::new()
        .route("/v1/observation", get(guests::observation))
        .route("/v1/local-api", put(guests::local_api))
        .route("/v1/limits", put(guests::limits))
        .route("/v1/box", put(guests::box_identity))
        .route("/v1/heartbeats", post(guests::heartbeat))
        .route("/v1/receipts", get(guests::receipts))
        .route("/v1/operations", get(operations::list).post(operations::submit))
        .route("/v1/operations/{id}", get(operations::show))
        .route("/v1/operations/{id}/veto", post(challenges::veto))
        .route("/v1/operations/{id}/cancel", post(operations::cancel))
        .route("/v1/challenges", get(challenges::list))
        .route("/v1/challenges/{digest}/answers", post(challenges::answer).get(challenges::counted))
        .route("/v1/challenges/{digest}/confirmations", post(challenges::confirm))
        .route("/v1/audit", get(audit::page))
        .route("/v1/challenges/{digest}/renew", post(challenges::renew))
        .route("/v1/events", get(events::stream))
        .route("/v1/backups/{id}", get(backups::status))
        .route("/v1/backups/{id}/frozen", post(backups::frozen))
        .route("/v1/backups/{id}/thawed", post(backups::thawed))
        .fallback(|| async { Failure::not_found("no_such_call", "there is no such call on this socket") })
        .layer(middleware::from_fn_with_state(executor.clone(), check_peer))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(executor)
}

async fn check_peer(
    State(executor): State<Arc<Executor>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let allowed = &executor.services.config.allowed_uids;
    let ok = peer.is_own() || peer.uid.is_some_and(|uid| allowed.contains(&uid));
    if ok {
        return Ok(next.run(request).await);
    }
    let who = peer.uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("user id {uid}"));
    tracing::warn!(peer = who, "refused on the socket");
    Err(Failure::forbidden("peer", &format!("{who} may not speak here; `allowed_uids` lists who may")))
}

/// Binds the socket. A file that an earlier process left is replaced: the database's lock says that there is no other.
///
/// # Errors
/// What the system said.
pub fn bind(path: &Path, gid: Option<u32>) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    if let Some(gid) = gid {
        std::os::unix::fs::chown(path, None, Some(gid))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves until the process ends.
///
/// # Errors
/// What the system said.
pub async fn serve(listener: UnixListener, executor: Arc<Executor>) -> io::Result<()> {
    axum::serve(listener, router(executor).into_make_service_with_connect_info::<Peer>()).await
}
