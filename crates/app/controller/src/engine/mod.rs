//! The engine port: what the controller asks of whatever runs the apps.
//!
//! One implementation so far, [`process::ProcessEngine`]: services are processes in sessions of their own. Reconciling
//! calls ([`Engine::up`], [`Engine::stop`]) return nothing: what came of them is in [`Engine::status`], which is
//! observed, not remembered.

pub mod forward;
pub mod health;
pub mod instance;
pub mod launch;
pub mod net;
pub mod pause;
pub mod proc;
pub mod process;
pub mod service_root;
pub mod supervise;

use felhom_model::AppName;
use futures_util::future::BoxFuture;
use std::fmt;

pub use pause::{PauseError, Paused, ThawPlan};
pub use process::ProcessEngine;

/// Runs apps.
pub trait Engine: Send + Sync {
    /// The apps that the guest holds.
    fn installed(&self) -> Vec<AppName>;
    /// Makes an app run, if it does not. Returns when its services were started, not when they are healthy.
    fn up<'a>(&'a self, app: &'a AppName) -> BoxFuture<'a, ()>;
    /// Ends an app: SIGTERM, and after the service's period of grace SIGKILL.
    fn stop<'a>(&'a self, app: &'a AppName) -> BoxFuture<'a, ()>;
    /// What the app does now.
    fn status(&self, app: &AppName) -> AppStatus;
    /// Holds back every start until the answer is dropped, and says how the running ones of `apps` are thawed.
    fn prepare_pause<'a>(&'a self, apps: &'a [AppName]) -> BoxFuture<'a, PreparedPause>;
    /// Makes them all stand still, at one instant. Blocks until they do.
    ///
    /// # Errors
    /// [`PauseError`]; then all of them run again.
    fn pause(&self, plan: &ThawPlan) -> Result<Paused, PauseError>;
    /// Lets them run again. Blocks.
    fn resume(&self, plan: &ThawPlan);
}

/// Starts are held back while it lives.
#[must_use]
pub struct PreparedPause {
    /// How to thaw what will be paused.
    pub plan: ThawPlan,
    /// Ends the holding back when dropped.
    pub starts_held: Box<dyn Send + Sync>,
}

/// What an app does, as it was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppStatus {
    /// The app.
    pub app: AppName,
    /// The sum over its services.
    pub state: RunState,
    /// Whether every health check was answered by this very instance.
    pub healthy: bool,
    /// Why it does not run or is not healthy.
    pub message: Option<String>,
    /// URL of its pages, while the network is there.
    pub url: Option<String>,
}

/// States of an app or a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunState {
    /// It does not run, and should not.
    Stopped,
    /// It runs and has passed its health checks.
    Running,
    /// It was started and is not healthy yet, or waits to be started again.
    Starting,
    /// It stands still for a backup.
    Frozen,
    /// It should run and cannot.
    Failed,
}

impl RunState {
    /// The word on wire and pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Frozen => "frozen",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
