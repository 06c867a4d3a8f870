//! Every path that the controller uses, in one place, below one root.
//!
//! In a real guest the root is `/`. Where a guest is a directory of another system, the root is that directory, and the
//! same program works: nothing else in this crate builds an absolute path.

use felhom_model::AppName;
use std::path::{Component, Path, PathBuf};

/// The root of the guest and the places below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Uses `root` as the guest's `/`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The guest's `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// An absolute path of the guest as a path of this process.
    ///
    /// `None` if it is not absolute or holds `.` or `..`. Symbolic links are not looked at here.
    pub fn inside(&self, guest_path: &str) -> Option<PathBuf> {
        let mut real = self.root.clone();
        let mut parts = Path::new(guest_path).components();
        if parts.next() != Some(Component::RootDir) {
            return None;
        }
        for part in parts {
            match part {
                Component::Normal(name) => real.push(name),
                _ => return None,
            }
        }
        Some(real)
    }

    /// The path inside the guest of a path of this process, for messages and digests.
    pub fn guest_path(&self, real: &Path) -> String {
        match real.strip_prefix(&self.root) {
            Ok(rest) => format!("/{}", rest.display()),
            Err(_) => real.display().to_string(),
        }
    }

    /// Persistent state of the controller: guest key, apps to run, last backup.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/felhom/controller")
    }

    /// What the executor keeps here of itself; the controller only shows it.
    pub fn watermark(&self) -> PathBuf {
        self.state().join("watermark.json")
    }

    /// State that ends with the boot and is in no archive.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/felhom")
    }

    /// What the executor pushes at each start: where the local API is and who this guest is.
    pub fn bootstrap(&self) -> PathBuf {
        self.run().join("bootstrap.json")
    }

    /// What the executor tells the customer, pushed when there is something.
    pub fn notices(&self) -> PathBuf {
        self.run().join("notices.json")
    }

    /// The guest's token for the local API, pushed by the executor at each start.
    pub fn token(&self) -> PathBuf {
        self.run().join("token")
    }

    /// The directory of all apps, or of one.
    pub fn apps(&self) -> PathBuf {
        self.root.join("opt/felhom/apps")
    }

    /// The directory of one app: `compose.yaml`, `felhom.yaml`, `bin/`.
    pub fn app(&self, app: &AppName) -> PathBuf {
        self.apps().join(app.as_str())
    }

    /// The directory that is the volume `volume` of `app`.
    pub fn volume(&self, app: &AppName, volume: &str) -> PathBuf {
        self.volumes().join(format!("{app}_{volume}"))
    }

    /// The directory of all volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("var/lib/felhom/volumes")
    }

    /// Dumps that were made while the app ran; they go into the backup.
    pub fn dumps(&self, app: &AppName) -> PathBuf {
        self.root.join("var/lib/felhom/dumps").join(app.as_str())
    }

    /// What a running service needs: its root, its record and its lock.
    pub fn service(&self, app: &AppName, service: &str) -> PathBuf {
        self.run().join("services").join(app.as_str()).join(service)
    }

    /// Standard output and error of a service.
    pub fn service_log(&self, app: &AppName, service: &str) -> PathBuf {
        self.root.join("var/log/felhom").join(format!("{app}-{service}.log"))
    }

    /// The lease that bounds the freeze under way.
    pub fn lease(&self) -> PathBuf {
        self.run().join("lease.json")
    }

    /// Written by the lease's holder when it had to thaw.
    pub fn lease_expired(&self) -> PathBuf {
        self.run().join("lease-expired.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_path_stays_inside_the_root() {
        let paths = Paths::new("/srv/guest");
        assert_eq!(paths.inside("/var/x"), Some("/srv/guest/var/x".into()));
        for bad in ["var/x", "/var/../../etc", "", "/a/.."] {
            assert_eq!(paths.inside(bad), None, "{bad}");
        }
        assert_eq!(paths.guest_path(Path::new("/srv/guest/var/x")), "/var/x");
        assert_eq!(Paths::new("/").inside("/etc/x"), Some("/etc/x".into()));
    }
}
