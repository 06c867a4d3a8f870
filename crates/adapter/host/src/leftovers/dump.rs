//! Temporary files that a dead backup left beside its archive (F91, rec 2/238): `NAME.tmp`, a directory, and `NAME.tar.dat`, or
//! `NAME.dat` without compression. PVE lists neither and never removes them. With another place for temporary files, or a
//! storage that has none, there is `/var/tmp/vzdumptmpPID_ID` instead of `NAME.tmp`.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use felhom_model::Vmid;

use super::{DeadWorker, problem, processes, refused};
use crate::act::RootAct;
use crate::archive::blocking;
use crate::error::HostError;
use crate::guest::Host;

const ACT: RootAct = RootAct::RemoveDumpFiles;
/// Ends of names while an archive is being written.
const HALF_WRITTEN: [&str; 3] = [".tmp", ".tar.dat", ".dat"];

/// The name of one backup's files without their ending: `vzdump-lxc-100-2026_11_23-16_19_33`. The time is the node's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpName {
    text: String,
    vmid: Vmid,
}

impl DumpName {
    /// The guest that was backed up.
    #[must_use]
    pub fn vmid(&self) -> Vmid {
        self.vmid
    }

    /// The name in the path of an archive, finished or not, as a backup's log names it.
    #[must_use]
    pub fn of_archive(path: &Path) -> Option<Self> {
        path.file_name()?.to_str()?.split('.').next()?.parse().ok()
    }
}

impl fmt::Display for DumpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is no name of a container's backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no vzdump-lxc-ID-YYYY_MM_DD-HH_MM_SS")]
pub struct NoDumpName(String);

impl FromStr for DumpName {
    type Err = NoDumpName;
    fn from_str(text: &str) -> Result<Self, NoDumpName> {
        let wrong = || NoDumpName(text.to_owned());
        let (id, time) =
            text.strip_prefix("vzdump-lxc-").and_then(|rest| rest.split_once('-')).ok_or_else(wrong)?;
        let digits = time.bytes().zip("0000_00_00-00_00_00".bytes());
        let shaped = time.len() == 19
            && digits.clone().all(|(b, p)| if p == b'0' { b.is_ascii_digit() } else { b == p });
        let vmid =
            id.parse::<Vmid>().ok().filter(|vmid| vmid.to_string() == id && shaped).ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), vmid })
    }
}

/// Whether a file's name is one of a backup of this guest that is being written.
pub(super) fn is_half_written(name: &OsStr, vmid: Vmid) -> bool {
    let stem =
        |name: &str| HALF_WRITTEN.iter().find_map(|end| name.strip_suffix(end)?.parse::<DumpName>().ok());
    name.to_str().and_then(stem).is_some_and(|name| name.vmid == vmid)
}

/// A backup whose worker is dead.
#[derive(Debug, Clone)]
pub struct DeadBackup {
    /// The worker.
    pub worker: DeadWorker,
    /// Where the archive was being written.
    pub dump_dir: PathBuf,
    /// Its name.
    pub name: DumpName,
}

impl Host {
    /// The temporary files of a dead backup that are there.
    ///
    /// # Errors
    /// [`HostError::File`] if something cannot be looked at.
    pub fn left_dump_files(&self, backup: &DeadBackup) -> Result<Vec<PathBuf>, HostError> {
        let beside = HALF_WRITTEN.map(|end| backup.dump_dir.join(format!("{}{end}", backup.name)));
        let elsewhere = format!("vzdumptmp{}_{}", backup.worker.pid, backup.name.vmid);
        let mut there = Vec::new();
        for path in beside.into_iter().chain([self.roots.tmp.join(elsewhere)]) {
            match path.symlink_metadata() {
                Ok(_) => there.push(path),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(problem(ACT, "inspect", &path)(e)),
            }
        }
        Ok(there)
    }

    /// Backups of a guest of which half-written files lie in a storage's dump directory, and that began at this second since
    /// 1970 or later: a log names the archive only once it is being written, and there are files before.
    ///
    /// # Errors
    /// [`HostError::File`] if the directory cannot be read.
    pub fn half_written(&self, dump_dir: &Path, vmid: Vmid, since: u64) -> Result<Vec<DumpName>, HostError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dump_dir).map_err(problem(ACT, "read", dump_dir))? {
            let entry = entry.map_err(problem(ACT, "read", dump_dir))?;
            let file = entry.file_name();
            let text = file.to_str().unwrap_or_default();
            let stem = HALF_WRITTEN.iter().find_map(|end| text.strip_suffix(end));
            let Some(name) = stem.and_then(|stem| stem.parse::<DumpName>().ok()) else { continue };
            let metadata = entry.metadata().map_err(problem(ACT, "inspect", dump_dir))?;
            let written = u64::try_from(metadata.ctime()).unwrap_or_default();
            if name.vmid == vmid && written >= since && !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Removes them and gives what was removed. End the processes first.
    ///
    /// # Errors
    /// [`HostError::Refused`] if the worker lives, if somebody has one of them open, or if one is neither a plain file nor a
    /// plain directory where it should be that; [`HostError::File`] if it cannot be removed. Nothing is removed unless all of
    /// it may be.
    pub async fn remove_dump_files(&self, backup: &DeadBackup) -> Result<Vec<PathBuf>, HostError> {
        let (host, backup) = (self.clone(), backup.clone());
        let path = backup.dump_dir.join(backup.name.to_string());
        let target = path.display().to_string();
        self.seen(ACT, &target, blocking(ACT, path, move || host.remove_now(&backup))).await
    }

    fn remove_now(&self, backup: &DeadBackup) -> Result<Vec<PathBuf>, HostError> {
        let proc = &self.roots.proc;
        if processes::alive(proc, backup.worker) {
            let reason = format!("the worker {} lives; end its task by the API", backup.worker.pid);
            return Err(refused(ACT, &backup.name, reason));
        }
        let there = self.left_dump_files(backup)?;
        for path in &there {
            let kind = path.symlink_metadata().map_err(problem(ACT, "inspect", path))?.file_type();
            let file = path.extension().is_some_and(|end| end == "dat");
            if (file && !kind.is_file()) || (!file && !kind.is_dir()) {
                return Err(refused(ACT, path.display(), "it is not the kind of file that a backup makes"));
            }
            if let Some(user) = processes::users_of(proc, path)?.first() {
                return Err(refused(ACT, path.display(), format!("process {user} uses it")));
            }
        }
        for path in &there {
            let removed = if path.extension().is_some_and(|end| end == "dat") {
                fs::remove_file(path)
            } else {
                // Follows no symbolic link.
                fs::remove_dir_all(path)
            };
            removed.map_err(problem(ACT, "remove", path))?;
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        let name: DumpName = "vzdump-lxc-100-2026_11_23-16_19_33".parse().unwrap();
        assert_eq!((u32::from(name.vmid()), name.to_string().len()), (100, 34));
        let path = Path::new("/mnt/dirx/dump/vzdump-lxc-100-2026_11_23-16_19_33.tar.zst");
        assert_eq!(DumpName::of_archive(path), Some(name));
        for text in [
            "",
            "vzdump-lxc-100",
            "vzdump-qemu-100-2026_11_23-16_19_33",
            "vzdump-lxc-0100-2026_11_23-16_19_33",
            "vzdump-lxc-100-2026_11_23-16_19_3",
            "vzdump-lxc-100-2026_11_23-16_19_33x",
            "vzdump-lxc-100-../../../../../etc/x",
            "vzdump-lxc-*-2026_11_23-16_19_33",
        ] {
            assert!(text.parse::<DumpName>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_is_being_written_is_half_written() {
        let half = |name: &str| is_half_written(OsStr::new(name), "100".parse().unwrap());
        for end in HALF_WRITTEN {
            assert!(half(&format!("vzdump-lxc-100-2026_11_23-16_19_33{end}")), "{end}");
        }
        for name in [
            "vzdump-lxc-100-2026_11_23-16_19_33.tar.zst",
            "vzdump-lxc-100-2026_11_23-16_19_33.log",
            "vzdump-lxc-101-2026_11_23-16_19_33.tmp",
            "x.tmp",
        ] {
            assert!(!half(name), "{name}");
        }
    }
}
