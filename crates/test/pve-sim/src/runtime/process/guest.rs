//! One guest of the process runtime: start, and what can be asked and changed while it runs.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::record::{self, Started};
use super::{Mount, RuntimeError, links, proc, program};
use crate::volume::copy::remove_tree;

/// A guest, running or not: where its files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// VMID.
    pub vmid: u32,
    /// Tree of its root volume.
    pub rootfs: PathBuf,
    /// Where the runtime keeps its records: `STATE/run/guests/VMID`.
    pub dir: PathBuf,
}

/// How a guest is to be started.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its host name.
    pub hostname: String,
    /// Its own loopback address.
    pub lo: Ipv4Addr,
    /// net0's address; `None` while the link is down or the guest has no net0.
    pub net0: Option<Ipv4Addr>,
    /// Its mount points other than the rootfs.
    pub mounts: Vec<Mount>,
    /// The `pve-sim` program (`std::env::current_exe()`), which runs the monitor.
    pub program: PathBuf,
}

/// What the monitor prints once init runs.
pub(super) const READY: &str = "ready";

impl Guest {
    /// The guest with root volume `rootfs`; its records are in `STATE/run/guests/VMID`.
    #[must_use]
    pub fn new(state: &Path, vmid: u32, rootfs: &Path) -> Self {
        let dir = state.join("run/guests").join(vmid.to_string());
        // The environment of the guest's processes names this path, so it must be the same each time.
        Self { vmid, rootfs: rootfs.canonicalize().unwrap_or_else(|_| rootfs.to_path_buf()), dir }
    }

    /// The guest `vmid` that was started last and may have ended without its monitor's knowledge, so that [`Guest::stop`] can
    /// end what is left of it; `None` if nothing is recorded.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn recorded(state: &Path, vmid: u32) -> Result<Option<Self>, RuntimeError> {
        let dir = state.join("run/guests").join(vmid.to_string());
        let record: Option<Started> = record::read(&record::guest_path(&dir))?;
        Ok(record.map(|started| Self { vmid, rootfs: started.rootfs, dir }))
    }

    /// The running guest `vmid`, its rootfs taken from its record; `None` if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn open(state: &Path, vmid: u32) -> Result<Option<(Self, Started)>, RuntimeError> {
        let dir = state.join("run/guests").join(vmid.to_string());
        let record: Option<Started> = record::read(&record::guest_path(&dir))?;
        Ok(record.filter(Started::alive).map(|started| {
            let guest = Self { vmid, rootfs: started.rootfs.clone(), dir };
            (guest, started)
        }))
    }

    /// Starts init and returns when it runs. What an earlier run left is ended first; `/run` is emptied.
    ///
    /// # Errors
    /// [`RuntimeError::AlreadyRunning`], [`RuntimeError::NoProgram`] without `/sbin/init`, [`RuntimeError::BadPath`] for a
    /// mount point that cannot be mounted, [`RuntimeError::StartFailed`], [`RuntimeError::Timeout`], [`RuntimeError::Io`].
    pub fn start(&self, start: &Start) -> Result<Started, RuntimeError> {
        let lock = record::lock(&self.dir)?;
        if self.running()?.is_some() {
            return Err(RuntimeError::AlreadyRunning(self.vmid));
        }
        self.end_processes()?;
        self.forget()?;
        let request = Started {
            vmid: self.vmid,
            rootfs: self.rootfs.clone(),
            pid: 0,
            start_time: 0,
            boot_id: proc::boot_id().map_err(RuntimeError::io("read boot id for", &self.dir))?,
            hostname: start.hostname.clone(),
            lo: start.lo,
            net0: start.net0,
            mounts: start.mounts.clone(),
        };
        record::write(&record::request_path(&self.dir), &request)?;
        let result = self.prepare(&request).and_then(|()| self.launch(&start.program, &lock));
        if result.is_err() {
            links::detach(&self.rootfs, &request.mounts)?;
            record::remove(&record::request_path(&self.dir))?;
        }
        result
    }

    /// The record of the running guest, or `None` if init does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn running(&self) -> Result<Option<Started>, RuntimeError> {
        let record: Option<Started> = record::read(&record::guest_path(&self.dir))?;
        Ok(record.filter(Started::alive))
    }

    /// Removes all records of a stopped guest, for its destruction. No error if there are none.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn purge(&self) -> Result<(), RuntimeError> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(RuntimeError::io("remove", &self.dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Process ids of the guest, in order: init, its descendants and what left them.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn processes(&self) -> Result<Vec<i32>, RuntimeError> {
        Ok(self.members()?.iter().map(|process| process.pid).collect())
    }

    pub(super) fn members(&self) -> Result<Vec<proc::Process>, RuntimeError> {
        proc::of_guest(&self.rootfs).map_err(RuntimeError::io("find processes of", &self.rootfs))
    }

    /// Sets net0's address of the running guest, or takes it away (`link_down`). No error if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn set_link(&self, net0: Option<Ipv4Addr>) -> Result<(), RuntimeError> {
        let _lock = record::lock(&self.dir)?;
        let Some(mut started) = self.running()? else { return Ok(()) };
        started.net0 = net0;
        record::write(&record::guest_path(&self.dir), &started)?;
        write_link(&self.rootfs, net0)
    }

    /// Adds a mount point to the running guest (a hotplug). No error if it does not run.
    ///
    /// # Errors
    /// [`RuntimeError::BadPath`], [`RuntimeError::Io`].
    pub fn plug(&self, mount: &Mount) -> Result<(), RuntimeError> {
        let _lock = record::lock(&self.dir)?;
        let Some(mut started) = self.running()? else { return Ok(()) };
        links::attach_one(&self.rootfs, &started.mounts, mount)?;
        started.mounts.push(mount.clone());
        record::write(&record::guest_path(&self.dir), &started)
    }

    /// Fresh `/run`, mount points, and a look whether there is an init at all.
    fn prepare(&self, request: &Started) -> Result<(), RuntimeError> {
        let run = self.rootfs.join("run");
        match fs::symlink_metadata(&run) {
            Ok(found) if found.is_dir() => remove_tree(&run)
                .map_err(|error| RuntimeError::StartFailed { vmid: self.vmid, reason: error.to_string() })?,
            Ok(_) => fs::remove_file(&run).map_err(RuntimeError::io("remove", &run))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(RuntimeError::io("read", &run)(error)),
        }
        let own = run.join("pve-sim");
        fs::create_dir_all(&own).map_err(RuntimeError::io("create", &own))?;
        write_link(&self.rootfs, request.net0)?;
        links::attach(&self.rootfs, &request.mounts)?;
        program::command(request, &["/sbin/init".into()]).map(drop)
    }

    /// Runs the monitor, which outlives this process, and waits until it has started init. The monitor inherits the lock, so
    /// that nobody else starts the guest if this process is killed meanwhile.
    fn launch(&self, monitor: &Path, lock: &File) -> Result<Started, RuntimeError> {
        let console = record::console_path(&self.dir);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&console)
            .map_err(RuntimeError::io("open", &console))?;
        let mut child = Command::new(monitor)
            .arg("monitor")
            .arg("--dir")
            .arg(&self.dir)
            .env_clear()
            .current_dir("/")
            .stdin(lock.try_clone().map_err(RuntimeError::io("hand on the lock of", &self.dir))?)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(RuntimeError::io("run", monitor))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(RuntimeError::io("read from", monitor))?;
        }
        let failed = |reason: String| RuntimeError::StartFailed { vmid: self.vmid, reason };
        if line.trim() != READY {
            // It has said why and is about to end.
            drop(child.wait());
            let reason = if line.trim().is_empty() { "the monitor ended at once" } else { line.trim() };
            return Err(failed(format!("{reason} (see '{}')", console.display())));
        }
        let record: Option<Started> = record::read(&record::guest_path(&self.dir))?;
        record.ok_or_else(|| failed(format!("init ended at once (see '{}')", console.display())))
    }
}

/// `<rootfs>/run/pve-sim/net0`: the address and a newline, or nothing.
fn write_link(rootfs: &Path, net0: Option<Ipv4Addr>) -> Result<(), RuntimeError> {
    let path = rootfs.join("run/pve-sim/net0");
    let text = net0.map(|address| format!("{address}\n")).unwrap_or_default();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(RuntimeError::io("create", dir))?;
    }
    record::replace(&path, text.as_bytes()).map_err(RuntimeError::io("write", &path))
}
