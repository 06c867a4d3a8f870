//! Where the real things are built and handed in.

use crate::config::Config;
use crate::shared::Shared;
use crate::store::Store;
use crate::{events, files, hub_link, local_api, pass};
use anyhow::Context as _;
use felhom_client::executor::ExecutorClient;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the agent until it is told to stop.
///
/// # Errors
/// If it cannot start, or the local API breaks.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    files::make_private_dir(&config.state_dir)?;
    let lock = files::lock(&config.state("agent.lock"))?;
    let store = Store::open(&config.state("agent.sqlite"))?;
    let executor = ExecutorClient::new(&config.executor_socket)?;
    let zone = config.zone()?;
    let shared = Arc::new(Shared::new(config, zone, store, executor));
    let bound = local_api::bind(&shared).await?;
    tracing::info!(url = bound.address.url, fingerprint = %bound.address.fingerprint, "local API");
    let handle = axum_server::Handle::new();
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::spawn(pass::run(shared.clone()));
    tokio::spawn(events::run(shared.clone(), bound.address.clone()));
    tokio::spawn(hub_link::run(shared.clone()));
    let mut api = tokio::spawn(local_api::serve(bound, shared.clone(), handle.clone()));
    loop {
        tokio::select! {
            ended = &mut api => return ended.context("the local API's task ended")?,
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            _ = hangup.recv() => {
                shared.sync.notify_one();
                shared.pass.notify_one();
            }
        }
    }
    // Nothing needs to be finished: what counts is in the database.
    handle.shutdown();
    drop(lock);
    Ok(())
}
