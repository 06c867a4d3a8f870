//! `felhom-controller serve`: everything that runs for as long as the guest does.
//!
//! 1. The only controller of the guest (lock).
//! 2. What an earlier one left frozen is thawed.
//! 3. At the first start of a boot: a restored copy measures its sample, before any app touches it.
//! 4. Apps that run are taken over, the others started.
//! 5. Link, backups, page.
//! 6. SIGTERM: the apps are stopped, in their own time.

use crate::{
    config::Config,
    engine::{Engine, RunState, proc::ProcessId},
    identity,
    paths::Paths,
    quiesce::{lease, restored},
    runtime::{self, Runtime},
    state::State,
    wiring::{self, Parts},
};
use felhom_model::AppName;
use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

/// How often it is looked whether what should run does.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An app that failed is tried again after this time.
const FAILED_AGAIN: Duration = Duration::from_secs(60);

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file of the controller.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The HTTP client.
    #[error("the HTTP client cannot be built: {0}")]
    Http(#[from] reqwest::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`ServeError`], only at the start.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let paths = Paths::new(&config.root);
    let _only_one = runtime::lock(&paths)?;
    let first_of_boot = prepare(&paths).await?;
    let program = std::env::current_exe()?;
    let key = Arc::new(identity::guest_key(&paths)?);
    let state = Arc::new(State::load(&paths)?);
    if first_of_boot {
        state.forget_unfinished_backup()?;
    }
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let reconcile = Arc::new(Notify::new());
    let parts = Parts { config: config.clone(), paths: paths.clone(), program, key, state: state.clone() };
    let running = wiring::start(parts, reconcile.clone())?;
    tracing::info!(root = %config.root.display(), version = env!("CARGO_PKG_VERSION"), "controller runs");
    let engine = running.engine.clone();
    let apps = tokio::spawn(keep_running(paths.clone(), config.lo, engine.clone(), state.clone(), reconcile));
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("stopping");
    apps.abort();
    running.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    // Anything frozen would not hear that it is to end.
    lease::recover(&paths)?;
    let stops = state.apps().into_iter().map(|app| {
        let engine = engine.clone();
        async move { engine.stop(&app).await }
    });
    futures_util::future::join_all(stops).await;
    Ok(())
}

/// Says whether this is the first start of this boot.
async fn prepare(paths: &Paths) -> io::Result<bool> {
    if lease::recover(paths)? {
        tracing::warn!("an earlier controller left apps frozen; they run again");
    }
    if runtime::recorded(paths)?.is_some() {
        // Not the first start of this boot: the plan is that of a freeze that was cut short here.
        restored::remove_plan(paths)?;
        return Ok(false);
    }
    let measuring = paths.clone();
    let measured = tokio::task::spawn_blocking(move || restored::measure(&measuring));
    let pieces = measured.await.map_err(io::Error::other)??;
    if pieces > 0 {
        tracing::info!(pieces, "restored from a freeze: the sample was measured before the apps start");
    }
    Ok(true)
}

/// Starts what should run; the engine's supervisors keep it running.
async fn keep_running(
    paths: Paths,
    lo: std::net::Ipv4Addr,
    engine: Arc<dyn Engine>,
    state: Arc<State>,
    reconcile: Arc<Notify>,
) {
    let mut tried: BTreeMap<AppName, Instant> = BTreeMap::new();
    let mut recorded = None;
    loop {
        for app in state.apps() {
            let status = engine.status(&app);
            let due = match tried.get(&app) {
                None => true,
                Some(at) => status.state == RunState::Failed && at.elapsed() > FAILED_AGAIN,
            };
            if due {
                tried.insert(app.clone(), Instant::now());
                engine.up(&app).await;
            }
        }
        let now = look(&engine, &state, lo);
        if recorded != now {
            match now.as_ref().map_or(Ok(()), |now| runtime::record(&paths, now)) {
                Ok(()) => recorded = now,
                Err(e) => tracing::error!("{e}"),
            }
        }
        let _ = tokio::time::timeout(LOOK_EVERY, reconcile.notified()).await;
    }
}

fn look(engine: &Arc<dyn Engine>, state: &State, lo: std::net::Ipv4Addr) -> Option<Runtime> {
    let process = ProcessId::of(i32::try_from(std::process::id()).ok()?)?;
    let messages =
        state.apps().into_iter().filter_map(|app| Some((app.clone(), engine.status(&app).message?)));
    Some(Runtime { process, lo, version: env!("CARGO_PKG_VERSION").to_owned(), messages: messages.collect() })
}
