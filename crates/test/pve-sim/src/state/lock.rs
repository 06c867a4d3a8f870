//! `flock` on files under `run/lock`, as Proxmox VE serialises its own processes. The kernel drops a lock with its holder, so a
//! killed worker leaves none behind; what it does leave is the `lock:` key in a guest's configuration.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long Proxmox VE waits for a guest's lock.
pub(crate) const GUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A held lock; dropped, it is free again.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lock {
    _file: File,
}

/// From here on a waiter stands in the kernel's queue, so that who came first gets the lock first (F59).
const QUEUE: Duration = Duration::from_secs(2);

/// Takes the lock, waiting at most `timeout`. `Ok(None)` is a timeout. `on_wait` is called once if it was not free at once.
pub(crate) fn acquire(path: &Path, timeout: Duration, on_wait: &mut dyn FnMut()) -> io::Result<Option<Lock>> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => return Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => on_wait(),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if timeout < QUEUE { poll(file, timeout) } else { queue(file, timeout) }
}

fn poll(file: File, timeout: Duration) -> io::Result<Option<Lock>> {
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        pause(Duration::from_millis(15));
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// A thread waits; if that takes too long, it lets go of the lock as soon as it gets it.
fn queue(file: File, timeout: Duration) -> io::Result<Option<Lock>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(file.lock().map(|()| Lock { _file: file })));
    match receiver.recv_timeout(timeout) {
        Ok(result) => result.map(Some),
        Err(_) => Ok(None),
    }
}

/// Lets this thread rest. Blocking code only: handlers and workers run on threads of their own, never on a runtime's.
pub(crate) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}
