//! `serve`: builds everything once and hands it in; keeps house; ends on SIGTERM or Ctrl-C.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use felhom_clock::Clock;
use jiff::SignedDuration;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tower_http::timeout::TimeoutLayer;

use crate::cli::Output;
use crate::config::Config;
use crate::hub::{Hub, Inner};
use crate::risk::Limits;
use crate::store::{Store, operators, sightings};
use crate::throttle::Throttle;
use crate::wait::Waiters;
use crate::{api, identity, pages, sync};

/// Longest request of all: the long poll of 55 s, and time to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(75);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest body of the operators' API, bytes. Boxes have their own limits.
const MAX_BODY: usize = 1 << 20;
/// How long requests may take to end when the hub stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Passwords checked at once.
const PASSWORD_CHECKS: usize = 2;
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);

/// Serves until it is told to stop; `clock` is the hub's.
///
/// # Errors
/// Why it cannot begin, or what broke.
pub async fn serve(config: Config, output: &Output, clock: Clock) -> Result<()> {
    let identity = identity::load(&config.state_dir)?;
    let _lock = lock(&config)?;
    let store = Store::open(&config.database_file()).await?;
    let listener = TcpListener::bind(config.listen)
        .with_context(|| format!("cannot listen on {} (configuration key `listen`)", config.listen))?;
    listener.set_nonblocking(true).context("cannot use the listening socket")?;
    let address = listener.local_addr().context("cannot read the listening address")?;
    let public_url = public_url(&config, address);
    let (stop, stopping) = watch::channel(false);
    let hub: Hub = Arc::new(Inner {
        limits: Limits::from(&config),
        store,
        config,
        clock,
        key: identity.key,
        fingerprint: identity.fingerprint,
        public_url,
        waiters: Waiters::default(),
        throttle: Throttle::default(),
        password_checks: Semaphore::new(PASSWORD_CHECKS),
        stopping,
    });
    let handle = Handle::new();
    let stopper = tokio::spawn(stop_on_signal(Signals::new()?, handle.clone(), stop));
    let keeper = tokio::spawn(keep_house(hub.clone()));
    announce(&hub, address, output)?;
    let acceptor = RustlsAcceptor::new(identity.tls).handshake_timeout(HANDSHAKE_TIMEOUT);
    let served = axum_server::from_tcp(listener)
        .context("cannot use the listening socket")?
        .acceptor(acceptor)
        .first_request_timeout(FIRST_REQUEST_TIMEOUT)
        .handle(handle)
        .serve(router(hub.clone()).into_make_service_with_connect_info::<SocketAddr>())
        .await;
    keeper.abort();
    stopper.abort();
    hub.store.close().await;
    served.context("the server ended")
}

/// One hub per state directory; the lock goes with the process.
fn lock(config: &Config) -> Result<File> {
    let path = config.state_dir.join("serve.lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another felhom-hub serves from {}; stop it first", config.state_dir.display())
        }
        Err(std::fs::TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn public_url(config: &Config, address: SocketAddr) -> String {
    if let Some(url) = &config.public_url {
        return url.clone();
    }
    if !address.ip().is_unspecified() {
        return format!("https://{address}");
    }
    let url = format!("https://127.0.0.1:{}", address.port());
    tracing::warn!(
        "configuration key `public_url` is not set: tickets name {url}, which works on this machine only"
    );
    url
}

fn announce(hub: &Inner, address: SocketAddr, output: &Output) -> Result<()> {
    let text = format!(
        "felhom-hub serves {}\nTLS certificate   {}\nhub key           {}\n",
        hub.public_url,
        hub.fingerprint,
        hub.key.public()
    );
    let json = json!({
        "ready": true,
        "url": hub.public_url,
        "listen": address.to_string(),
        "tls_fingerprint": hub.fingerprint,
        "hub_public_key": hub.key.public(),
    });
    output.end(&text, &json)
}

fn router(hub: Hub) -> Router {
    let limited = |router: Router<Hub>| {
        let timeout = TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT);
        router.layer(DefaultBodyLimit::max(MAX_BODY)).layer(timeout)
    };
    // What protects pages in a browser would only be bytes in each answer to a box.
    let for_people = limited(Router::new().nest(api::BASE, api::router()).merge(pages::router()))
        .layer(axum::middleware::map_response(pages::security_headers));
    limited(sync::router()).merge(for_people).with_state(hub)
}

/// SIGTERM and Ctrl-C. They are caught from here on, so that is done before anybody is told that the hub serves.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }
}

async fn stop_on_signal(mut signals: Signals, handle: Handle<SocketAddr>, stop: watch::Sender<bool>) {
    tokio::select! {
        _ = signals.terminate.recv() => {}
        _ = signals.interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    handle.graceful_shutdown(Some(STOP_WITHIN));
}

/// Forgets what has no effect any more.
async fn keep_house(hub: Hub) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_EVERY);
    loop {
        ticks.tick().await;
        let now = hub.now();
        // A request can come for twice the tolerance; the rest is for a clock that is set back.
        let keep = SignedDuration::from_secs(i64::from(hub.config.clock_tolerance_s) * 4);
        let done = hub
            .store
            .write("keeping house", move |c| {
                Box::pin(async move {
                    sightings::forget_runs(c, now - keep).await?;
                    operators::forget_sessions(c, now).await
                })
            })
            .await;
        if let Err(error) = done {
            tracing::error!(%error, "housekeeping failed; it is tried again in a minute");
        }
    }
}
