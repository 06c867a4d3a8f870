//! Putting our own programs, units and settings onto a host, and taking them away: files at a closed list of places, and
//! Debian's own tools for users, directories and units.
//!
//! A file is written beside its place, synced and renamed over it; a place that is a link is replaced, not followed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use felhom_model::Digest;

use crate::act::RootAct;
use crate::error::HostError;
use crate::guest::Host;

const ACT: RootAct = RootAct::InstallFile;

/// Where our own files may be: a directory with everything in it, or in a directory what begins with a name.
const TREES: [&str; 2] = ["/opt/felhom", "/etc/felhom"];
const NAMES: [(&str, &str); 5] = [
    ("/etc/systemd/system", "felhom-"),
    ("/etc/sysusers.d", "felhom-"),
    ("/etc/tmpfiles.d", "felhom-"),
    ("/usr/local/bin", "felhom"),
    ("/var/lib/felhom", "install-"),
];
/// Directories that go when they are empty: ours, and one that Debian 13 does not have until somebody needs it.
const DIRECTORIES: [&str; 7] = [
    "/etc/sysusers.d",
    "/opt/felhom",
    "/etc/felhom",
    "/var/lib/felhom",
    "/var/lib/felhom/executor",
    "/var/lib/felhom/agent",
    "/var/lib/felhom/hub",
];

/// A user with its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserIds {
    /// User id.
    pub uid: u32,
    /// The user's own group.
    pub gid: u32,
}

impl Host {
    /// Digest of a file of ours; `None` if it is not there.
    ///
    /// # Errors
    /// [`HostError::Refused`] for a place that is not ours, [`HostError::File`] if it cannot be read.
    pub fn own_digest(&self, path: &Path) -> Result<Option<Digest>, HostError> {
        Ok(self.own_file(path)?.map(|bytes| Digest::of(&bytes)))
    }

    /// A file of ours; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Self::own_digest`].
    pub fn own_file(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        let at = self.own_place(path)?;
        match fs::read(&at) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(problem("read", &at)(e)),
        }
    }

    /// Writes a file of ours, owned by whoever runs this.
    ///
    /// # Errors
    /// As [`Self::own_digest`].
    pub fn place_own(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), HostError> {
        let at = self.own_place(path)?;
        tracing::debug!(act = %ACT, path = %at.display(), "root act");
        let beside = beside(&at);
        parent(&at).and_then(|()| write(&beside, bytes, mode)).map_err(problem("write", &at))?;
        fs::rename(&beside, &at).map_err(problem("write", &at))
    }

    /// Where a link of ours points to; `None` if there is none.
    ///
    /// # Errors
    /// [`HostError::Refused`] for a place that is not ours.
    pub fn own_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        Ok(fs::read_link(self.own_place(path)?).ok())
    }

    /// Makes a link of ours, or points it elsewhere. What is there and no link is refused.
    ///
    /// # Errors
    /// [`HostError::Refused`] also for a file that is in its place, else as [`Self::own_digest`].
    pub fn link_own(&self, path: &Path, target: &Path) -> Result<(), HostError> {
        let at = self.own_place(path)?;
        tracing::debug!(act = %ACT, path = %at.display(), "root act");
        if fs::symlink_metadata(&at).is_ok_and(|found| !found.is_symlink()) {
            return Err(refused(path, "something else is there, and would be lost"));
        }
        let beside = beside(&at);
        let made =
            parent(&at).and_then(|()| gone(fs::remove_file(&beside))).and_then(|()| symlink(target, &beside));
        made.map_err(problem("link", &at))?;
        fs::rename(&beside, &at).map_err(problem("link", &at))
    }

    /// Removes a file or link of ours; one that is not there is no error.
    ///
    /// # Errors
    /// As [`Self::own_digest`].
    pub fn remove_own(&self, path: &Path) -> Result<(), HostError> {
        let at = self.own_place(path)?;
        tracing::debug!(act = %ACT, path = %at.display(), "root act");
        gone(fs::remove_file(&at)).map_err(problem("remove", &at))
    }

    /// Removes a directory on the list if it is empty, and the slots below it that are; whether it is gone.
    ///
    /// # Errors
    /// [`HostError::Refused`] for a place that is not ours.
    pub fn remove_if_empty(&self, path: &Path) -> Result<bool, HostError> {
        if !DIRECTORIES.iter().any(|ours| Path::new(ours) == path) {
            return Err(refused(path, "it is not on the list of our directories"));
        }
        let at = self.roots.of_host(path);
        if path == Path::new(TREES[0]) {
            for below in ["slots/A", "slots/B", "slots"] {
                let _ = fs::remove_dir(at.join(below));
            }
        }
        let _ = fs::remove_dir(&at);
        Ok(!at.exists())
    }

    /// Removes `/run/felhom` with the executor's socket and what else is gone at the next boot anyway.
    ///
    /// # Errors
    /// [`HostError::File`] if it cannot be removed.
    pub fn remove_run_directory(&self) -> Result<(), HostError> {
        let at = self.roots.of_host(Path::new("/run/felhom"));
        tracing::debug!(act = %ACT, path = %at.display(), "root act");
        gone(fs::remove_dir_all(&at)).map_err(problem("remove", &at))
    }

    /// Whether something is at a path of the host.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        fs::symlink_metadata(self.roots.of_host(path)).is_ok()
    }

    /// A user of the host, from its `/etc/passwd` (passwd(5)).
    #[must_use]
    pub fn user_ids(&self, name: &str) -> Option<UserIds> {
        let fields = self.user_fields(name)?;
        Some(UserIds { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    }

    /// The program that a user of the host gets at login; empty for the system's own choice, which is a shell.
    #[must_use]
    pub fn user_shell(&self, name: &str) -> Option<String> {
        Some(self.user_fields(name)?.get(6).cloned().unwrap_or_default())
    }

    fn user_fields(&self, name: &str) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.roots.root.join("etc/passwd")).ok()?;
        let mut users = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
        users.find(|fields| fields[0] == name)
    }

    /// Makes the users of a file of ours in `/etc/sysusers.d` (sysusers.d(5)). Those that are there stay as they are.
    ///
    /// # Errors
    /// [`HostError`] if `systemd-sysusers` failed.
    pub async fn make_users(&self, file: &Path) -> Result<(), HostError> {
        let act = RootAct::MakeUsers;
        let mut argv = self.programs.sysusers.clone();
        argv.extend(self.root_option());
        argv.push(self.by_name(file)?);
        self.run_own(act, file.display().to_string(), argv).await.map(drop)
    }

    /// Makes the directories of a file of ours in `/etc/tmpfiles.d` (tmpfiles.d(5)), with owner and mode.
    ///
    /// # Errors
    /// [`HostError`] if `systemd-tmpfiles` failed.
    pub async fn make_directories(&self, file: &Path) -> Result<(), HostError> {
        let act = RootAct::MakeDirectories;
        let mut argv = self.programs.tmpfiles.clone();
        argv.extend(self.root_option());
        argv.extend(["--create".to_owned(), self.by_name(file)?]);
        self.run_own(act, file.display().to_string(), argv).await.map(drop)
    }

    /// Lets systemd read units again. Of a host that does not run there is nothing to be read.
    ///
    /// # Errors
    /// [`HostError`] if `systemctl` failed.
    pub async fn reload_units(&self) -> Result<(), HostError> {
        if self.root_option().is_some() {
            return Ok(());
        }
        let mut argv = self.programs.systemctl.clone();
        argv.push("daemon-reload".to_owned());
        self.run_own(RootAct::ManageUnits, "units".to_owned(), argv).await.map(drop)
    }

    /// Stops a unit of ours and lets it start no more.
    ///
    /// # Errors
    /// [`HostError::Refused`] for a unit whose name does not begin with `felhom-`, else [`HostError`] if `systemctl` failed.
    pub async fn disable_unit(&self, unit: &str) -> Result<(), HostError> {
        let act = RootAct::ManageUnits;
        ours(act, unit, "felhom-")?;
        let mut argv = self.programs.systemctl.clone();
        argv.extend(self.root_option());
        argv.push("disable".to_owned());
        argv.extend(self.root_option().is_none().then(|| "--now".to_owned()));
        argv.push(unit.to_owned());
        self.run_own(act, unit.to_owned(), argv).await.map(drop)
    }

    /// Removes a user of ours with its group; its files stay.
    ///
    /// # Errors
    /// [`HostError::Refused`] for a user whose name does not begin with `felhom`, else [`HostError`] if `userdel` failed.
    pub async fn remove_user(&self, name: &str) -> Result<(), HostError> {
        let act = RootAct::RemoveUser;
        ours(act, name, "felhom")?;
        let mut argv = self.programs.userdel.clone();
        if self.root_option().is_some() {
            argv.extend(["--prefix".to_owned(), self.roots.root.display().to_string()]);
        }
        argv.push(name.to_owned());
        self.run_own(act, name.to_owned(), argv).await.map(drop)
    }

    /// What systemd's tools are told of a host that is in a directory.
    fn root_option(&self) -> Option<String> {
        (self.roots.root != Path::new("/")).then(|| format!("--root={}", self.roots.root.display()))
    }

    /// The name by which systemd's tools find a file of ours in the host's own `/etc`, whichever `/` that is.
    fn by_name(&self, file: &Path) -> Result<String, HostError> {
        self.own_place(file)?;
        let name = file.file_name().and_then(|name| name.to_str());
        name.map(str::to_owned).ok_or_else(|| refused(file, "its name is no UTF-8"))
    }

    fn own_place(&self, path: &Path) -> Result<PathBuf, HostError> {
        let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        let tree = TREES.iter().any(|tree| path.starts_with(tree) && path != Path::new(tree));
        let named = NAMES.iter().any(|(directory, prefix)| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            path.parent() == Some(Path::new(directory)) && name.starts_with(prefix)
        });
        if plain && (tree || named) {
            Ok(self.roots.of_host(path))
        } else {
            Err(refused(path, "it is not on the list of places for our files"))
        }
    }
}

fn refused(path: &Path, reason: &str) -> HostError {
    HostError::Refused { act: ACT, target: path.display().to_string(), reason: reason.to_owned() }
}

/// Whether a unit or user is ours, by its name.
fn ours(act: RootAct, name: &str, begins: &str) -> Result<(), HostError> {
    if name.starts_with(begins) {
        return Ok(());
    }
    Err(HostError::Refused { act, target: name.to_owned(), reason: "it is not ours".to_owned() })
}

fn problem(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> HostError {
    let path = path.to_owned();
    move |source| HostError::File { act: ACT, doing, path, source }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn parent(path: &Path) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
}

fn gone(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}
