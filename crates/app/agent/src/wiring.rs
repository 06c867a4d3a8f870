//! Where the real things are built and handed in.

use crate::config::Config;
use crate::hub_link::Link;
use crate::shared::Shared;
use crate::store::Store;
use crate::{events, files, hub_link, local_api, pass};
use anyhow::Context as _;
use felhom_client::executor::ExecutorClient;
use felhom_clock::Clock;
use felhom_protocol::executor::LocalApi;
use std::fs::File;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// The agent of one state directory, which it has locked.
#[derive(Debug)]
pub struct Agent {
    shared: Arc<Shared>,
    link: Option<Link>,
    /// Held until the agent ends.
    _lock: File,
}

impl Agent {
    /// Opens its memory and its way to the executor; `clock` is the box's.
    ///
    /// # Errors
    /// If another agent runs on the same directory, or something cannot be opened.
    pub fn open(config: Config, clock: Clock) -> anyhow::Result<Self> {
        files::make_private_dir(&config.state_dir)?;
        let lock = files::lock(&config.state("agent.lock"))?;
        let store = Store::open(&config.state("agent.sqlite"))?;
        let executor = ExecutorClient::new(&config.executor_socket)?;
        let zone = config.zone()?;
        let shared = Arc::new(Shared::new(config, clock, zone, store, executor));
        Ok(Self { shared, link: None, _lock: lock })
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// If it cannot start, or the local API breaks.
    pub async fn serve(self) -> anyhow::Result<()> {
        let shared = &self.shared;
        let bound = local_api::bind(shared).await?;
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
        Ok(())
    }

    /// Tells the executor who this box is and where guests reach the agent, as at each new connection.
    ///
    /// # Errors
    /// If the executor does not take it.
    pub async fn introduce(&self, local_api: &LocalApi) -> anyhow::Result<()> {
        events::introduce(&self.shared, local_api).await
    }

    /// One pass, for whoever leads the agent round by round instead of serving.
    ///
    /// # Errors
    /// Why it could not be finished; the next one begins anew.
    pub async fn pass(&self) -> anyhow::Result<()> {
        Ok(pass::pass(&self.shared).await?)
    }

    /// One exchange with the hub, likewise. `false`: this box is not enrolled.
    ///
    /// # Errors
    /// Why there was no answer, or none that counts.
    pub async fn sync(&mut self) -> anyhow::Result<bool> {
        hub_link::once(&self.shared, &mut self.link).await
    }
}
