//! The process engine: each service of an app is a process of the guest, in a session of its own.
//!
//! It needs neither Docker nor root. It isolates nothing: services share the guest's loopback address and its files.

use super::{
    AppStatus, Engine, PauseError, Paused, PreparedPause, RunState, ThawPlan, forward,
    health::HealthClient,
    net::{self, Net},
    pause::Session,
    supervise::{Shared, Supervisor, View},
};
use crate::{
    app::{App, Catalogue},
    paths::Paths,
};
use felhom_model::AppName;
use futures_util::future::{BoxFuture, FutureExt as _};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{RwLock, watch},
    task::JoinHandle,
};

/// How long a service may take to be started before the next one is.
const STARTED_WITHIN: Duration = Duration::from_secs(5);

/// Runs apps as processes.
pub struct ProcessEngine {
    catalogue: Catalogue,
    shared: Arc<Shared>,
    net: Net,
    apps: Mutex<BTreeMap<AppName, Running>>,
}

/// An app that should run.
struct Running {
    app: Option<Arc<App>>,
    error: Option<String>,
    services: Vec<Handle>,
    forwards: Vec<JoinHandle<()>>,
}

struct Handle {
    view: Arc<Mutex<View>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.forwards.iter().for_each(JoinHandle::abort);
    }
}

impl ProcessEngine {
    /// Runs the apps of `catalogue`; `program` is this program's file, `lo` the guest's loopback address.
    ///
    /// # Errors
    /// When no HTTP client can be built for the health checks.
    pub fn new(
        paths: Paths,
        catalogue: Catalogue,
        program: PathBuf,
        lo: Ipv4Addr,
        net: Net,
    ) -> reqwest::Result<Self> {
        let starts = Arc::new(RwLock::new(()));
        let shared = Shared { paths, lo, program, health: HealthClient::new()?, starts };
        Ok(Self { catalogue, shared: Arc::new(shared), net, apps: Mutex::default() })
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<AppName, Running>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn bring_up(&self, name: &AppName) {
        let gone = |running: &Running| running.services.iter().all(|service| service.task.is_finished());
        if self.apps().get(name).is_some_and(|running| running.error.is_none() && !gone(running)) {
            return;
        }
        let mut running = Running { app: None, error: None, services: Vec::new(), forwards: Vec::new() };
        match self.catalogue.load(name) {
            Err(e) => {
                tracing::error!(app = %name, "cannot be run: {e}");
                running.error = Some(e.to_string());
            }
            Ok(app) => {
                let app = Arc::new(app);
                running.app = Some(app.clone());
                for service in &app.compose.services {
                    running.services.push(self.spawn(&app, service.clone()).await);
                    let ports = service.ports.iter();
                    let publish = ports.map(|port| forward::publish(self.net.clone(), self.shared.lo, *port));
                    running.forwards.extend(publish.map(tokio::spawn));
                }
            }
        }
        self.apps().insert(name.clone(), running);
    }

    async fn spawn(&self, app: &Arc<App>, service: crate::app::Service) -> Handle {
        let view = Arc::new(Mutex::new(View::default()));
        let (stop, stopped) = watch::channel(false);
        let supervisor = Supervisor::new(self.shared.clone(), app.clone(), service, view.clone(), stopped);
        let task = tokio::spawn(supervisor.run());
        let deadline = Instant::now() + STARTED_WITHIN;
        loop {
            let seen = view.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // A message: it was tried and will be tried again; the others need not wait for that.
            if seen.instance.is_some() || seen.message.is_some() || Instant::now() > deadline {
                return Handle { view, stop, task };
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn bring_down(&self, name: &AppName) {
        let Some(mut running) = self.apps().remove(name) else {
            return;
        };
        for service in running.services.drain(..).rev() {
            let _ = service.stop.send(true);
            let _ = service.task.await;
        }
    }

    fn views(running: &Running) -> Vec<View> {
        let view = |service: &Handle| service.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        running.services.iter().map(view).collect()
    }
}

impl Engine for ProcessEngine {
    fn installed(&self) -> Vec<AppName> {
        self.catalogue.names()
    }

    fn up<'a>(&'a self, app: &'a AppName) -> BoxFuture<'a, ()> {
        self.bring_up(app).boxed()
    }

    fn stop<'a>(&'a self, app: &'a AppName) -> BoxFuture<'a, ()> {
        self.bring_down(app).boxed()
    }

    fn status(&self, name: &AppName) -> AppStatus {
        let apps = self.apps();
        let mut status = AppStatus {
            app: name.clone(),
            state: RunState::Stopped,
            healthy: false,
            message: None,
            url: None,
        };
        let Some(running) = apps.get(name) else {
            return status;
        };
        let views = Self::views(running);
        status.message = running.error.clone().or_else(|| views.iter().find_map(|view| view.message.clone()));
        status.state = match &running.error {
            Some(_) => RunState::Failed,
            // The order of the states is that of how much they matter.
            None => views.iter().map(View::state).max().unwrap_or(RunState::Stopped),
        };
        let fine = |view: &View| view.healthy || view.over == Some(RunState::Stopped);
        status.healthy = !views.is_empty() && views.iter().all(fine);
        let port = running.app.as_ref().and_then(|app| app.published_ingress());
        status.url = port.and_then(|port| net::url(&self.net, port));
        status
    }

    fn prepare_pause<'a>(&'a self, apps: &'a [AppName]) -> BoxFuture<'a, PreparedPause> {
        async move {
            let starts_held = Box::new(self.shared.starts.clone().write_owned().await);
            let running = self.apps();
            let mut plan = ThawPlan::default();
            for (name, app) in running.iter().filter(|(name, _)| apps.contains(name)) {
                let instances = Self::views(app).into_iter().filter_map(|view| view.instance);
                let alive = instances.map(|instance| instance.process).filter(|process| process.is_alive());
                plan.sessions.extend(alive.map(|leader| Session { app: name.clone(), leader }));
            }
            PreparedPause { plan, starts_held }
        }
        .boxed()
    }

    fn pause(&self, plan: &ThawPlan) -> Result<Paused, PauseError> {
        plan.pause()
    }

    fn resume(&self, plan: &ThawPlan) {
        plan.resume();
    }
}
