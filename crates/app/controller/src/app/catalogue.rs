//! The apps that the guest holds: each directory of `/opt/felhom/apps` with both files read and checked together.

use super::{
    compose::Compose,
    manifest::{Class, Manifest},
    service::HealthCheck,
    yaml::{self, AppError},
};
use crate::paths::Paths;
use felhom_model::AppName;
use std::{path::PathBuf, time::Duration};

/// An app that can be run.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name, that of its directory.
    pub name: AppName,
    /// Its services.
    pub compose: Compose,
    /// What else is known about it.
    pub manifest: Manifest,
}

impl App {
    /// The health checks of a service: the compose file's and `felhom.yaml`'s, with the status that is expected.
    pub fn health_of(&self, service: &str) -> Vec<(HealthCheck, u16)> {
        let own = self.compose.service(service).and_then(|service| service.health.clone());
        let declared = self.manifest.health.iter().filter(|health| health.service == service).map(|health| {
            let check = HealthCheck {
                port: health.http.port,
                path: health.http.path.clone(),
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(5),
                retries: 3,
            };
            (check, health.http.status)
        });
        own.map(|check| (check, 200)).into_iter().chain(declared).collect()
    }

    /// The port of the guest's network on which the app's pages are.
    pub fn published_ingress(&self) -> Option<u16> {
        let ingress = self.manifest.ingress.as_ref()?;
        let service = self.compose.service(&ingress.service)?;
        service.ports.iter().find(|port| port.target == ingress.port).map(|port| port.published)
    }
}

/// Reads apps.
#[derive(Debug, Clone)]
pub struct Catalogue {
    paths: Paths,
    reserved: Vec<u16>,
}

impl Catalogue {
    /// Reads below `paths`; no app may publish one of the `reserved` ports.
    pub fn new(paths: Paths, reserved: Vec<u16>) -> Self {
        Self { paths, reserved }
    }

    /// The names of all apps that the guest holds, whether they can be run or not.
    pub fn names(&self) -> Vec<AppName> {
        let Ok(entries) = std::fs::read_dir(self.paths.apps()) else {
            return Vec::new();
        };
        let mut names: Vec<AppName> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|name| self.paths.app(name).join("compose.yaml").is_file())
            .collect();
        names.sort();
        names
    }

    /// Reads and checks one app.
    ///
    /// # Errors
    /// [`AppError`]: the first thing that cannot be run exactly as it is written.
    pub fn load(&self, name: &AppName) -> Result<App, AppError> {
        let file = |file: &str| -> (PathBuf, String) {
            let real = self.paths.app(name).join(file);
            let shown = self.paths.guest_path(&real);
            (real, shown)
        };
        let (real, compose_file) = file("compose.yaml");
        let compose = Compose::parse(&compose_file, &yaml::read(&real, &compose_file)?)?;
        let (real, manifest_file) = file("felhom.yaml");
        let manifest = Manifest::parse(&manifest_file, &yaml::read(&real, &manifest_file)?)?;
        let app = App { name: name.clone(), compose, manifest };
        self.check(&app, &manifest_file)?;
        Ok(app)
    }

    fn check(&self, app: &App, file: &str) -> Result<(), AppError> {
        let fail = |why: String| Err(AppError::File { file: file.to_owned(), why });
        if let Some(name) = app.compose.volumes.iter().find(|name| !app.manifest.volumes.contains_key(*name))
        {
            return fail(format!("volume `{name}` of the compose file has no class here (app or bulk)"));
        }
        for (name, volume) in &app.manifest.volumes {
            if !app.compose.volumes.contains(name) {
                return fail(format!("volume `{name}` is not in the compose file"));
            }
            if volume.class == Class::Bulk {
                return fail(format!(
                    "volume `{name}` is `bulk`, but this guest has no disk for it, and bulk data never goes into \
                     the guest's own disk; assign a disk or make it `app`"
                ));
            }
        }
        let services = app.manifest.health.iter().map(|health| &health.service);
        for service in services.chain(app.manifest.ingress.iter().map(|ingress| &ingress.service)) {
            if app.compose.service(service).is_none() {
                return fail(format!("service `{service}` is not in the compose file"));
            }
        }
        let published = app.compose.services.iter().flat_map(|service| &service.ports);
        for port in published {
            if self.reserved.contains(&port.published) {
                return fail(format!("port {} is the controller's own; publish another one", port.published));
            }
        }
        Ok(())
    }
}
