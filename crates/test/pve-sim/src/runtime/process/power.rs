//! Ending and freezing a guest: signals to all of its processes until none is left that matters.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::proc::{Process, pause};
use super::record::{self, Started};
use super::{Guest, RuntimeError, links};

/// How long processes may take to end, stop or go on after a signal that they cannot refuse.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at the processes.
const STEP: Duration = Duration::from_millis(5);

impl Guest {
    /// Ends all processes at once (SIGKILL, frozen ones too) and takes the mount points out of the rootfs. No error if
    /// nothing runs.
    ///
    /// # Errors
    /// [`RuntimeError::Timeout`], [`RuntimeError::Io`].
    pub fn stop(&self) -> Result<(), RuntimeError> {
        let _lock = record::lock_existing(&self.dir)?;
        self.end_processes()?;
        self.forget()
    }

    /// Asks init to end (SIGTERM, after a thaw) and waits up to `timeout`. If it did end, or with `force`, the rest is done
    /// as by [`Guest::stop`]. Returns whether it ended by itself; `false` without `force` leaves it running.
    ///
    /// # Errors
    /// [`RuntimeError::Timeout`], [`RuntimeError::Io`].
    pub fn shutdown(&self, timeout: Duration, force: bool) -> Result<bool, RuntimeError> {
        let Some(started) = self.running()? else {
            self.stop()?;
            return Ok(true);
        };
        self.thaw()?;
        self.signal(&started.init(), Signal::TERM)?;
        let deadline = Instant::now() + timeout;
        while started.alive() && Instant::now() < deadline {
            pause(STEP);
        }
        let ended = !started.alive();
        if ended || force {
            self.stop()?;
        }
        Ok(ended)
    }

    /// Freezes all processes (SIGSTOP), also those that are forked meanwhile; returns when all are stopped. Processes that
    /// the guest itself had stopped are remembered and stay so after a thaw, as with a real freezer.
    ///
    /// # Errors
    /// [`RuntimeError::NotRunning`], [`RuntimeError::Timeout`] after 10 s (then all are thawed again), [`RuntimeError::Io`].
    pub fn freeze(&self) -> Result<(), RuntimeError> {
        if self.running()?.is_none() {
            return Err(RuntimeError::NotRunning(self.vmid));
        }
        if self.frozen()? {
            return Ok(());
        }
        let already: Vec<Process> =
            self.members()?.into_iter().filter(|p| p.stat().is_some_and(|stat| stat.stopped())).collect();
        record::write(&record::frozen_path(&self.dir), &already)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A stopped process forks no more, so two rounds are enough unless they fork like mad.
            let moving: Vec<Process> = self
                .members()?
                .into_iter()
                .filter(|p| p.stat().is_some_and(|stat| !stat.stopped()))
                .collect();
            if moving.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.thaw()?;
                return Err(RuntimeError::Timeout { vmid: self.vmid, count: moving.len(), what: "stop" });
            }
            for process in &moving {
                self.signal(process, Signal::STOP)?;
            }
            pause(Duration::from_millis(1));
        }
    }

    /// Thaws what [`Guest::freeze`] stopped (SIGCONT). No error if nothing is frozen.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn thaw(&self) -> Result<(), RuntimeError> {
        let path = record::frozen_path(&self.dir);
        let Some(already) = record::read::<Vec<Process>>(&path)? else { return Ok(()) };
        for process in self.members()?.iter().filter(|process| !already.contains(process)) {
            self.signal(process, Signal::CONT)?;
        }
        record::remove(&path)
    }

    /// Whether the guest is frozen.
    ///
    /// # Errors
    /// [`RuntimeError::Io`].
    pub fn frozen(&self) -> Result<bool, RuntimeError> {
        let recorded = record::read::<Vec<Process>>(&record::frozen_path(&self.dir))?.is_some();
        let Some(started) = self.running()? else { return Ok(false) };
        Ok(recorded && started.init().stat().is_some_and(|stat| stat.stopped()))
    }

    /// SIGKILL until no process is left; a stopped one dies of it, too.
    pub(super) fn end_processes(&self) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.members()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(RuntimeError::Timeout { vmid: self.vmid, count: left.len(), what: "end" });
            }
            for process in &left {
                self.signal(process, Signal::KILL)?;
            }
            pause(Duration::from_millis(1));
        }
    }

    /// Takes the mount points out and removes the records of a run that is over.
    pub(super) fn forget(&self) -> Result<(), RuntimeError> {
        for path in [record::guest_path(&self.dir), record::request_path(&self.dir)] {
            if let Some(old) = record::read::<Started>(&path)? {
                links::detach(&old.rootfs, &old.mounts)?;
                record::remove(&path)?;
            }
        }
        record::remove(&record::frozen_path(&self.dir))
    }

    fn signal(&self, process: &Process, signal: Signal) -> Result<(), RuntimeError> {
        process.signal(signal).map_err(RuntimeError::io("signal a process of", &self.rootfs))
    }
}
