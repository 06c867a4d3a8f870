//! The probe: `felhom-controller probe`, asked by the executor through `pct exec`; no network is needed.
//!
//! It is another process than the controller and believes nobody: it looks at the records of the running services, makes
//! the health checks itself and accepts only answers with the nonce of this start, opens the databases itself, and
//! computes digests itself. In a restored copy the digests of the sample are those that were measured before the apps
//! started.

use crate::{
    app::{App, Catalogue},
    engine::{RunState, health::HealthClient, instance::ServiceFiles},
    identity,
    paths::Paths,
    quiesce::{dump, restored, sample},
    runtime::{self, Runtime},
    state,
};
use felhom_model::AppName;
use felhom_protocol::probe::{AppProbe, DatabaseCheck, ProbeAnswer, ProbeRequest, Sample, SampleId};
use std::{
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// Between two looks while it waits for apps.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The controller does not run.
    #[error("the controller does not run in this guest{0}")]
    NoController(String),
    /// A file of the controller cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The HTTP client cannot be built.
    #[error("health checks cannot be made: {0}")]
    Http(#[from] reqwest::Error),
}

/// Answers a request, after waiting for apps to become healthy for as long as it allows.
///
/// # Errors
/// [`ProbeError`].
pub async fn answer(paths: &Paths, request: ProbeRequest) -> Result<ProbeAnswer, ProbeError> {
    let until = Instant::now() + Duration::from_millis(request.wait_ms);
    let health = HealthClient::new()?;
    let (runtime, apps) = loop {
        let looked = look(paths, &health).await?;
        let ready = looked.as_ref().is_some_and(|(_, apps)| apps.iter().all(|app| app.healthy));
        if ready || Instant::now() >= until {
            break looked.ok_or_else(|| {
                let waited = Duration::from_millis(request.wait_ms);
                ProbeError::NoController(format!(" (waited {} s for it)", waited.as_secs_f32()))
            })?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let measured = restored::measured(paths)?;
    let samples = request.samples.into_iter().map(|id| sample_of(paths, &measured, id)).collect();
    Ok(ProbeAnswer {
        nonce: request.nonce,
        guest: identity::kept(paths)?.map(|identity| identity.guest),
        version: runtime.version,
        apps: apps.into_iter().map(|app| with_databases(paths, app)).collect(),
        samples,
    })
}

/// The running controller and its apps; `None` while there is none.
async fn look(paths: &Paths, health: &HealthClient) -> io::Result<Option<(Runtime, Vec<AppProbe>)>> {
    let Some(runtime) = runtime::recorded(paths)?.filter(|runtime| runtime.process.is_alive()) else {
        return Ok(None);
    };
    let mut apps = Vec::new();
    for name in state::kept_apps(paths)? {
        let mut probe = look_at(paths, health, runtime.lo, &name).await;
        if !probe.healthy {
            probe.message = probe.message.or_else(|| runtime.messages.get(&name).cloned());
        }
        apps.push(probe);
    }
    Ok(Some((runtime, apps)))
}

async fn look_at(paths: &Paths, health: &HealthClient, lo: Ipv4Addr, name: &AppName) -> AppProbe {
    let mut probe = AppProbe {
        app: name.clone(),
        state: RunState::Failed.name().to_owned(),
        healthy: false,
        message: None,
        databases: Vec::new(),
    };
    let app = match Catalogue::new(paths.clone(), Vec::new()).load(name) {
        Ok(app) => app,
        Err(e) => {
            probe.message = Some(e.to_string());
            return probe;
        }
    };
    let mut sum = RunState::Stopped;
    for service in &app.compose.services {
        let (state, message) = look_at_service(paths, health, lo, &app, &service.name).await;
        sum = sum.max(state);
        probe.message = probe.message.or(message);
    }
    probe.state = sum.name().to_owned();
    probe.healthy = sum == RunState::Running && probe.message.is_none();
    probe
}

async fn look_at_service(
    paths: &Paths,
    health: &HealthClient,
    lo: Ipv4Addr,
    app: &App,
    service: &str,
) -> (RunState, Option<String>) {
    let instance = match ServiceFiles::new(paths, &app.name, service).running() {
        Ok(Some(instance)) => instance,
        Ok(None) => return (RunState::Stopped, Some(format!("service `{service}` does not run"))),
        Err(e) => return (RunState::Failed, Some(e.to_string())),
    };
    if instance.process.state() == Some('T') {
        return (RunState::Frozen, Some(format!("service `{service}` stands still")));
    }
    for (check, status) in app.health_of(service) {
        if let Err(e) = health.check(lo, &check, status, &instance.nonce).await {
            return (RunState::Starting, Some(format!("service `{service}`: {e}")));
        }
    }
    (RunState::Running, None)
}

fn with_databases(paths: &Paths, mut probe: AppProbe) -> AppProbe {
    let Ok(app) = Catalogue::new(paths.clone(), Vec::new()).load(&probe.app) else {
        return probe;
    };
    let check = |db: &crate::app::manifest::Database| {
        let verdict = dump::integrity(&paths.volume(&app.name, &db.volume).join(&db.path));
        DatabaseCheck {
            name: format!("{}/{}", db.volume, db.path),
            ok: verdict.as_deref() == Ok("ok"),
            detail: verdict.unwrap_or_else(|e| e),
        }
    };
    probe.databases = app.manifest.databases.iter().map(check).collect();
    probe
}

fn sample_of(paths: &Paths, measured: &[Sample], id: SampleId) -> Sample {
    if let Some(found) = measured.iter().find(|sample| sample.id == id) {
        return found.clone();
    }
    let kind = if id.offset.is_some() { "block" } else { "file" }.to_owned();
    match sample::digest(paths, &id) {
        Ok(digest) => Sample { id, kind, digest: Some(digest), message: None },
        Err(e) => Sample { id, kind, digest: None, message: Some(e.to_string()) },
    }
}
