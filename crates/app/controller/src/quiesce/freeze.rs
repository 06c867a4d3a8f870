//! The freeze itself, and the thaw.
//!
//! Everything that can be done before the apps stand still is done before: the sample is planned and read once, its plan
//! left in the state directory, the lease armed, the file system synced.

use super::{lease::Lease, restored, sample::SamplePlan};
use crate::{
    app::{Catalogue, Consistency},
    engine::{Engine, Paused, PreparedPause, RunState, ThawPlan},
    paths::Paths,
};
use felhom_model::AppName;
use felhom_protocol::local_api::{AppDowntime, Thawed};
use felhom_protocol::probe::Sample;
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// How long the first sync may delay the freeze: the box waits for it, and a disk that others write to may take long.
const FIRST_SYNC: Duration = Duration::from_secs(2);
/// How long the last sync may keep the apps waiting. The snapshot itself sees what is in memory; the sync only makes it
/// faster.
const LAST_SYNC: Duration = Duration::from_millis(100);

/// Why nothing was frozen. Everything runs as before.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// No lease, so no freeze.
    #[error("nothing was frozen: {0}")]
    Lease(#[source] io::Error),
    /// The apps did not stand still.
    #[error("nothing stays frozen: {0}")]
    Pause(#[from] crate::engine::PauseError),
    /// A task of this program was ended.
    #[error("nothing stays frozen: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Freezes the guest's apps.
#[derive(Clone)]
pub struct Freezer {
    /// Runs the apps.
    pub engine: Arc<dyn Engine>,
    /// Knows the apps.
    pub catalogue: Catalogue,
    /// The guest's paths.
    pub paths: Paths,
    /// This program's file, which is also the lease's holder.
    pub program: PathBuf,
    /// The longest freeze.
    pub longest: Duration,
}

/// The apps stand still. Consumed by [`Frozen::thaw`]; if it is dropped instead, the lease thaws.
#[must_use]
pub struct Frozen {
    freezer: Freezer,
    plan: ThawPlan,
    paused: Paused,
    stopped: BTreeMap<AppName, Instant>,
    lease: Lease,
    prepared: PreparedPause,
    /// What their content is.
    pub samples: Vec<Sample>,
}

impl Freezer {
    /// Makes all running apps consistent: pauses the `frozen`, stops the `clean`, leaves the `crash`.
    ///
    /// # Errors
    /// [`FreezeError`]; then everything runs as before.
    pub async fn freeze(&self, seed: u64) -> Result<Frozen, FreezeError> {
        let this = self.clone();
        let prepare = move || {
            let syncing = Syncing::begin(&this.paths);
            let (frozen, clean, sample) = this.select(seed);
            sample.measure(&this.paths);
            syncing.wait(Instant::now() + FIRST_SYNC);
            (frozen, clean, Arc::new(sample))
        };
        let (frozen, clean, sample) = tokio::task::spawn_blocking(prepare).await?;
        let mut stopped = BTreeMap::new();
        for app in clean {
            stopped.insert(app.clone(), Instant::now());
            self.engine.stop(&app).await;
        }
        match self.freeze_now(&frozen, sample).await {
            Ok((plan, paused, lease, prepared, samples)) => {
                Ok(Frozen { freezer: self.clone(), plan, paused, stopped, lease, prepared, samples })
            }
            Err(e) => {
                let _ = restored::remove_plan(&self.paths);
                for app in stopped.keys() {
                    self.engine.up(app).await;
                }
                Err(e)
            }
        }
    }

    async fn freeze_now(
        &self,
        apps: &[AppName],
        sample: Arc<SamplePlan>,
    ) -> Result<(ThawPlan, Paused, Lease, PreparedPause, Vec<Sample>), FreezeError> {
        let prepared = self.engine.prepare_pause(apps).await;
        let plan = prepared.plan.clone();
        restored::leave_plan(&self.paths, &sample).map_err(FreezeError::Lease)?;
        let lease = Lease::arm(&self.paths, &self.program, plan.clone(), self.longest)
            .await
            .map_err(FreezeError::Lease)?;
        let (engine, paths, frozen) = (self.engine.clone(), self.paths.clone(), plan.clone());
        let begun = tokio::task::spawn_blocking(move || {
            let paused = engine.pause(&frozen)?;
            let syncing = Syncing::begin(&paths);
            let samples = sample.measure(&paths);
            syncing.wait(paused.since.values().min().map_or_else(Instant::now, |since| *since) + LAST_SYNC);
            Ok::<_, FreezeError>((paused, samples))
        });
        match begun.await.map_err(FreezeError::from).flatten() {
            Ok((paused, samples)) => Ok((plan, paused, lease, prepared, samples)),
            Err(e) => {
                self.engine.resume(&plan);
                let _ = lease.end();
                Err(e)
            }
        }
    }

    /// The running apps by what is done to them, and what of them is sampled.
    fn select(&self, seed: u64) -> (Vec<AppName>, Vec<AppName>, SamplePlan) {
        let (mut frozen, mut clean, mut sample) = (Vec::new(), Vec::new(), SamplePlan::default());
        for name in self.engine.installed() {
            let runs = matches!(self.engine.status(&name).state, RunState::Running | RunState::Starting);
            let Some(app) = self.catalogue.load(&name).ok().filter(|_| runs) else {
                continue;
            };
            match app.manifest.consistency {
                Consistency::Frozen => frozen.push(name),
                Consistency::Clean => clean.push(name),
                Consistency::Crash => continue,
            }
            sample.add(&self.paths, &app, seed);
        }
        (frozen, clean, sample)
    }
}

impl Frozen {
    /// The apps that stand still.
    pub fn apps(&self) -> Vec<AppName> {
        self.plan.apps().into_iter().chain(self.stopped.keys().cloned()).collect()
    }

    /// How long they may still stand still.
    pub fn left(&self) -> Duration {
        self.lease.left()
    }

    /// Lets them run again and says how long they stood, and whether they did all the time.
    pub async fn thaw(self) -> Thawed {
        let Self { freezer, plan, paused, stopped, lease, prepared, .. } = self;
        let (engine, thawing) = (freezer.engine.clone(), plan.clone());
        let since = paused.since.clone();
        let thawed = tokio::task::spawn_blocking(move || {
            let held = thawing.held(&paused);
            engine.resume(&thawing);
            (held, Instant::now())
        });
        let (held, resumed) = thawed.await.unwrap_or_else(|e| {
            tracing::error!("thaw: {e}");
            plan.resume();
            (false, Instant::now())
        });
        let expired = lease.end().unwrap_or_else(|e| {
            tracing::error!("end of the lease: {e}");
            false
        });
        drop(prepared.starts_held);
        if let Err(e) = restored::remove_plan(&freezer.paths) {
            tracing::error!("plan of the sample: {e}");
        }
        let mut down: BTreeMap<AppName, Duration> =
            since.into_iter().map(|(app, since)| (app, resumed - since)).collect();
        for (app, since) in stopped {
            freezer.engine.up(&app).await;
            down.insert(app, since.elapsed());
        }
        let ms = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Thawed {
            downtime_ms: down.values().max().map_or(0, ms),
            apps: down
                .iter()
                .map(|(app, time)| AppDowntime { app: app.clone(), downtime_ms: ms(time) })
                .collect(),
            held: held && !expired,
        }
    }
}

/// Everything of the volumes' file system is being written to its disk (syncfs(2)), in a thread that may outlast the
/// wait: nothing can be taken back of it, and nothing depends on it.
struct Syncing(mpsc::Receiver<()>);

impl Syncing {
    fn begin(paths: &Paths) -> Self {
        let (done, waits) = mpsc::channel();
        let volumes = paths.volumes();
        std::thread::spawn(move || {
            let synced = std::fs::File::open(&volumes).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
            match synced {
                Ok(()) => {}
                // No app has a volume yet.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => tracing::warn!("{}", crate::files::about("syncing", &volumes, &e)),
            }
            let _ = done.send(());
        });
        Self(waits)
    }

    fn wait(self, until: Instant) {
        let _ = self.0.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}
