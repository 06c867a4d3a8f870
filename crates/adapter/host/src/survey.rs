//! What the host is like, as far as guests and backups depend on it and Proxmox's API does not tell: read, never changed.
//!
//! * kernel: control groups v2, overlayfs, user namespaces, AppArmor;
//! * `/etc/subuid` and `/etc/subgid`: which ids root may give to an unprivileged guest (`PVE::LXC` maps 100000:65536);
//! * mounts, what `/etc/fstab` would mount, the time zone;
//! * a file system with what its sparse images may still grow by.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::act::RootAct;
use crate::error::HostError;
use crate::guest::Host;
use crate::mountinfo::{self, Mounted};

const ACT: RootAct = RootAct::ReadHost;
/// `timedatectl` starts a service that answers.
const CLOCK: Duration = Duration::from_secs(20);

/// How many links the kernel follows (path_resolution(7)).
const LINKS: u32 = 40;

/// A range of subordinate ids (subuid(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// The host as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Whether all control groups are in the one hierarchy of version 2.
    pub cgroup2: bool,
    /// Whether overlayfs is there, or a module that brings it.
    pub overlay: bool,
    /// How many user namespaces there may be; `None` if the kernel has none.
    pub user_namespaces: Option<u64>,
    /// Whether AppArmor confines.
    pub apparmor: bool,
    /// Root's subordinate user ids.
    pub subuids: Vec<IdRange>,
    /// Root's subordinate group ids.
    pub subgids: Vec<IdRange>,
    /// The host's name up to its first dot, which is what Proxmox calls the node.
    pub name: Option<String>,
    /// The time zone that `/etc/localtime` points to, e.g. `Europe/Budapest`; `None` if it is no link to one.
    pub time_zone: Option<String>,
    /// What is mounted, in the order of mounting.
    pub mounts: Vec<Mounted>,
    /// Mount points of `/etc/fstab`.
    pub fstab: Vec<PathBuf>,
    /// The certificate that the host's API shows, in PEM: `/etc/pve/local/pveproxy-ssl.pem`, else `pve-ssl.pem`.
    pub certificate: Option<String>,
}

/// A file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// What may still be written.
    pub available: u64,
    /// Its size.
    pub total: u64,
    /// By how much the sparse images in it may still grow.
    pub promised: u64,
}

impl Host {
    /// Looks at the host.
    ///
    /// # Errors
    /// [`HostError::File`] if the kernel's list of mounts cannot be read; what else is not there counts as absent.
    pub fn survey(&self) -> Result<Survey, HostError> {
        tracing::debug!(act = %ACT, "root act");
        let etc = |name: &str| fs::read_to_string(self.roots.root.join("etc").join(name)).unwrap_or_default();
        let proc = |name: &str| fs::read_to_string(self.roots.proc.join(name)).unwrap_or_default();
        let path = self.roots.proc.join("self/mountinfo");
        let mounts =
            fs::read(&path).map_err(|source| HostError::File { act: ACT, doing: "read", path, source })?;
        let apparmor = self.roots.sys.join("module/apparmor/parameters/enabled");
        Ok(Survey {
            cgroup2: self.roots.sys.join("fs/cgroup/cgroup.controllers").exists(),
            overlay: self.overlay(&proc("filesystems"), proc("sys/kernel/osrelease").trim()),
            user_namespaces: proc("sys/user/max_user_namespaces").trim().parse().ok(),
            apparmor: fs::read_to_string(apparmor).is_ok_and(|text| text.trim() == "Y"),
            subuids: ranges(&etc("subuid")),
            subgids: ranges(&etc("subgid")),
            name: etc("hostname").trim().split('.').next().filter(|name| !name.is_empty()).map(str::to_owned),
            time_zone: self.time_zone(),
            mounts: mountinfo::parse(&mounts),
            fstab: fstab(&etc("fstab")),
            certificate: ["pveproxy-ssl.pem", "pve-ssl.pem"]
                .iter()
                .map(|name| etc(&format!("pve/local/{name}")))
                .find(|pem| !pem.is_empty()),
        })
    }

    fn overlay(&self, file_systems: &str, release: &str) -> bool {
        let there = file_systems.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
        let modules = self.roots.root.join("lib/modules").join(release);
        there
            || ["modules.dep", "modules.builtin"]
                .iter()
                .any(|name| fs::read_to_string(modules.join(name)).is_ok_and(|t| t.contains("/overlay.ko")))
    }

    fn time_zone(&self) -> Option<String> {
        let target = fs::read_link(self.roots.root.join("etc/localtime")).ok()?;
        let (_, zone) = target.to_str()?.split_once("zoneinfo/")?;
        Some(zone.to_owned())
    }

    /// A path of the host without links in it. What is not there, with its disk away say, is taken as it is written.
    #[must_use]
    pub fn real_path(&self, path: &Path) -> PathBuf {
        let parts =
            |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
        let mut rest: VecDeque<OsString> = parts(path).into();
        let mut done = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::ParentDir) => drop(done.pop()),
                Some(Component::Normal(_)) => match fs::read_link(self.roots.of_host(&done.join(&part))) {
                    Ok(target) if links < LINKS => {
                        links += 1;
                        for part in parts(&target).into_iter().rev() {
                            rest.push_front(part);
                        }
                    }
                    _ => done.push(part),
                },
                Some(Component::RootDir) => done = PathBuf::from("/"),
                _ => {}
            }
        }
        done
    }

    /// The file system that this directory of the host lies in, and what the images in the directory may still grow by:
    /// their sizes less the blocks that they have. Directories are followed four levels down, links are not.
    ///
    /// # Errors
    /// [`HostError::File`] if the directory cannot be looked at.
    pub fn space(&self, directory: &Path) -> Result<Space, HostError> {
        tracing::debug!(act = %ACT, path = %directory.display(), "root act");
        let path = self.roots.of_host(directory);
        let problem = |source: std::io::Error| HostError::File {
            act: ACT,
            doing: "ask for free space at",
            path: path.clone(),
            source,
        };
        let found = rustix::fs::statvfs(&path).map_err(|e| problem(e.into()))?;
        Ok(Space {
            available: found.f_bavail * found.f_frsize,
            total: found.f_blocks * found.f_frsize,
            promised: promised(&path.join("images"), 4),
        })
    }

    /// Whether something, a time server as a rule, keeps the clock right.
    ///
    /// # Errors
    /// [`HostError`] if `timedatectl` cannot say.
    pub async fn clock_is_synchronised(&self) -> Result<bool, HostError> {
        let act = RootAct::ClockState;
        let target = "the clock".to_owned();
        let mut argv = self.programs.timedatectl.clone();
        argv.extend(["show", "--property=NTPSynchronized", "--value"].map(str::to_owned));
        let output = self.run_own_for(act, target.clone(), argv, CLOCK).await?;
        match String::from_utf8_lossy(&output.stdout).trim() {
            "yes" => Ok(true),
            "no" => Ok(false),
            other => {
                let reason = format!("it answered {other:?} instead of yes or no");
                Err(HostError::Refused { act, target, reason })
            }
        }
    }
}

/// `root:100000:65536`; by name or by number.
fn ranges(text: &str) -> Vec<IdRange> {
    let range = |line: &str| {
        let (user, rest) = line.trim().split_once(':')?;
        let (first, count) = rest.split_once(':')?;
        matches!(user, "root" | "0").then_some(())?;
        Some(IdRange { first: first.parse().ok()?, count: count.parse().ok()? })
    };
    text.lines().filter_map(range).collect()
}

/// The second field (fstab(5)).
fn fstab(text: &str) -> Vec<PathBuf> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let points =
        lines.filter_map(|line| line.split_whitespace().nth(1)).filter(|point| point.starts_with('/'));
    points.map(|point| PathBuf::from(point.replace("\\040", " "))).collect()
}

fn promised(directory: &Path, depth: u32) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let one = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() && depth > 1 => promised(&entry.path(), depth - 1),
        Ok(found) if found.is_file() => found.len().saturating_sub(found.blocks() * 512),
        _ => 0,
    };
    entries.flatten().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_followed_through_links_that_lead_anywhere_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let host =
            Host::new(crate::Programs::default(), "/run/felhom").with_roots(crate::Roots::below(dir.path()));
        fs::create_dir_all(dir.path().join("mnt/tank/pve")).unwrap();
        let link = |at: &str, target: &str| std::os::unix::fs::symlink(target, dir.path().join(at)).unwrap();
        link("backups", "/mnt/tank");
        link("mnt/tank/old", "../tank/./pve");
        link("away", "mnt/gone/pve");
        link("round", "/round");
        for (path, real) in [
            ("/mnt/tank/pve", "/mnt/tank/pve"),
            ("/backups/pve", "/mnt/tank/pve"),
            ("/backups/old/x", "/mnt/tank/pve/x"),
            ("/away/dump", "/mnt/gone/pve/dump"),
            ("/../backups", "/mnt/tank"),
            ("/round/x", "/round/x"),
        ] {
            assert_eq!(host.real_path(Path::new(path)), Path::new(real), "{path}");
        }
    }
}
