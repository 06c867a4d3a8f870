//! `flock` on files under `run/lock`, as Proxmox VE serialises its own processes. The kernel drops a lock with its holder, so a
//! killed worker leaves none behind; what it does leave is the `lock:` key in a guest's configuration.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long Proxmox VE waits for a guest's lock.
pub(crate) const GUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A held lock; dropped, it is free again.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock, waiting at most `timeout`. `Ok(None)` is a timeout. `on_wait` is called once if it was not free at once.
pub(crate) fn acquire(path: &Path, timeout: Duration, on_wait: &mut dyn FnMut()) -> io::Result<Option<Lock>> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let deadline = Instant::now() + timeout;
    let mut waited = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !waited {
            waited = true;
            on_wait();
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        pause(Duration::from_millis(15));
    }
}

/// Lets this thread rest. Blocking code only: handlers and workers run on threads of their own, never on a runtime's.
pub(crate) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}
