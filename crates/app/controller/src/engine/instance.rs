//! The record of a running service: one file that the process itself writes before it becomes the service.
//!
//! It lies below `/run`, so it ends with the boot. It lets a controller that was killed find its services again, and the
//! probe, another process, know which answer to a health check is this instance's.

use super::proc::ProcessId;
use crate::{files, paths::Paths};
use felhom_model::AppName;
use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf};

/// A service's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The process, leader of its own session.
    pub process: ProcessId,
    /// 128 random bits of this start, which the service gets as `HEALTH_NONCE`.
    pub nonce: String,
}

/// Where the files of one service are.
#[derive(Debug, Clone)]
pub struct ServiceFiles {
    dir: PathBuf,
}

impl ServiceFiles {
    /// Those of `service` of `app`.
    pub fn new(paths: &Paths, app: &AppName, service: &str) -> Self {
        Self { dir: paths.service(app, service) }
    }

    /// The directory that the service sees as its root.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The record.
    pub fn record(&self) -> PathBuf {
        self.dir.join("instance.json")
    }

    /// Locked by the service's process and everything it starts, so that a second instance cannot start beside it.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// What the launcher is to do.
    pub fn launch(&self) -> PathBuf {
        self.dir.join("launch.json")
    }

    /// The recorded instance, running or not.
    ///
    /// # Errors
    /// When there is a record that cannot be read.
    pub fn recorded(&self) -> io::Result<Option<Instance>> {
        files::read_json(&self.record())
    }

    /// The recorded instance, if it runs.
    ///
    /// # Errors
    /// When there is a record that cannot be read.
    pub fn running(&self) -> io::Result<Option<Instance>> {
        Ok(self.recorded()?.filter(|instance| instance.process.is_alive()))
    }
}
