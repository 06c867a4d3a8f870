//! The lease: whatever becomes of this program, what it froze runs again after a bounded time.
//!
//! 1. The marker says what is frozen: `/run/felhom/lease.json`, on disk before anything stands still.
//! 2. A holder, `felhom-controller lease MARKER`, is started. It starts its own successor in a session of its own and
//!    ends, so the holder is nobody's child and no signal for the controller reaches it. It says `armed`.
//! 3. Only then may anything be frozen.
//! 4. Removing the marker ends the lease. If it is still there when the time is over, the holder thaws, writes
//!    `/run/felhom/lease-expired.json` and removes the marker.
//! 5. A controller that starts and finds a marker thaws at once.

use crate::{engine::ThawPlan, files, paths::Paths};
use rustix::process::setsid;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

/// How often the holder looks whether it is still needed.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long the holder may take to be ready.
const ARMED_WITHIN: Duration = Duration::from_secs(5);

/// The marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Random; the holder of one lease leaves another's marker alone.
    pub id: String,
    /// How long the freeze may last, in milliseconds from the holder's start.
    pub within_ms: u64,
    /// What is thawed.
    pub plan: ThawPlan,
}

/// A lease that is running. Ended by [`Lease::end`]; one that is dropped runs out by itself.
#[derive(Debug)]
#[must_use]
pub struct Lease {
    paths: Paths,
    id: String,
    until: Instant,
}

impl Lease {
    /// Starts a lease. When it returns, the holder is bound to thaw `plan` after `within`.
    ///
    /// # Errors
    /// When marker or holder cannot be made; then nothing may be frozen, and no marker is left.
    pub async fn arm(paths: &Paths, program: &Path, plan: ThawPlan, within: Duration) -> io::Result<Self> {
        let id = crate::random_hex()?;
        let until = Instant::now() + within;
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        files::remove(&paths.lease_expired())?;
        files::write_json(&paths.lease(), &Marker { id: id.clone(), within_ms, plan })?;
        match tokio::time::timeout(ARMED_WITHIN, start_holder(paths, program)).await {
            Ok(Ok(())) => Ok(Self { paths: paths.clone(), id, until }),
            Ok(Err(e)) => {
                files::remove(&paths.lease())?;
                Err(io::Error::new(e.kind(), format!("the holder of the lease could not be started: {e}")))
            }
            Err(_) => {
                files::remove(&paths.lease())?;
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the holder of the lease did not say `armed` in time",
                ))
            }
        }
    }

    /// How much of it is left.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Ends it, after what it covers was thawed. Says whether it had run out before.
    ///
    /// # Errors
    /// When the marker cannot be removed; the holder then thaws once more, which does no harm.
    pub fn end(self) -> io::Result<bool> {
        let expired =
            files::read_json::<String>(&self.paths.lease_expired())?.is_some_and(|id| id == self.id);
        files::remove(&self.paths.lease())?;
        Ok(expired)
    }
}

async fn start_holder(paths: &Paths, program: &Path) -> io::Result<()> {
    let mut child = Command::new(program)
        .arg("lease")
        .arg(paths.lease())
        .arg(paths.lease_expired())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).await?;
    child.wait().await?;
    if line == "armed\n" { Ok(()) } else { Err(io::Error::other(format!("it said `{}`", line.trim()))) }
}

/// What the holder's first process does: starts the second, and ends.
///
/// # Errors
/// When it cannot be started.
pub fn detach(program: &Path, marker: &Path, expired: &Path) -> io::Result<()> {
    let child = std::process::Command::new(program)
        .args(["lease", "--hold"])
        .args([marker, expired])
        .stdin(Stdio::null())
        .spawn()?;
    drop(child);
    Ok(())
}

/// What the holder's second process does: waits, and thaws if it must.
///
/// # Errors
/// When the marker cannot be read, or the outcome not be written; it has thawed by then.
pub async fn hold(marker_file: PathBuf, expired: PathBuf) -> io::Result<()> {
    let begun = Instant::now();
    setsid()?;
    let Some(marker) = files::read_json::<Marker>(&marker_file)? else {
        return Ok(());
    };
    let until = begun + Duration::from_millis(marker.within_ms);
    let mut output = io::stdout();
    // The controller may be gone already; that is what the lease is for.
    let _ = output.write_all(b"armed\n").and_then(|()| output.flush());
    let still_mine = || match files::read_json::<Marker>(&marker_file) {
        Ok(now) => now.is_some_and(|now| now.id == marker.id),
        // What cannot be read may be ours.
        Err(_) => true,
    };
    while Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY.min(until - Instant::now())).await;
        if !still_mine() {
            return Ok(());
        }
    }
    marker.plan.resume();
    files::write_json(&expired, &marker.id)?;
    if still_mine() {
        files::remove(&marker_file)?;
    }
    Ok(())
}

/// Thaws what a controller that is gone may have left frozen. Says whether there was anything.
///
/// # Errors
/// When the marker cannot be read or removed.
pub fn recover(paths: &Paths) -> io::Result<bool> {
    let Some(marker) = files::read_json::<Marker>(&paths.lease())? else {
        return Ok(false);
    };
    marker.plan.resume();
    files::write_json(&paths.lease_expired(), &marker.id)?;
    files::remove(&paths.lease())?;
    Ok(true)
}
