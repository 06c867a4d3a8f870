//! `--chaos`: SIGKILL for executor and agent at twelve named points, for the hub at one more, and a new start at once.
//!
//! Steps: follow the executor's event stream on its socket, as anybody with the right uid can → when an event is one of the
//! points, kill its victim → start it again → go on behind the last event seen. At the end every point must have come.

use std::{
    fmt,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{driver::Demo, judge::text, service::Services};
use crate::run;

/// A point at which somebody is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    kind: &'static str,
    step: &'static str,
    what: &'static str,
    victim: &'static str,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, step, what, victim } = self;
        write!(f, "{victim} when {kind}/{step} says {what}")
    }
}

const fn point(kind: &'static str, step: &'static str, what: &'static str, victim: &'static str) -> Point {
    Point { kind, step, what, victim }
}

/// All points: twelve for executor and agent, three of each operation, and one for the hub.
pub(crate) const POINTS: [Point; 13] = [
    point("provision_guest", "restore_archive", "step_started", "executor"),
    point("provision_guest", "start", "step_started", "agent"),
    point("provision_guest", "bootstrap", "step_done", "executor"),
    point("backup_guest", "await_freeze", "step_started", "agent"),
    point("backup_guest", "vzdump", "step_started", "executor"),
    point("backup_guest", "verify", "step_started", "executor"),
    point("restore_test", "restore_archive", "step_started", "executor"),
    point("restore_test", "start", "step_done", "agent"),
    point("restore_test", "probe", "step_started", "hub"),
    point("restore_test", "destroy_scratch", "step_started", "executor"),
    point("restore_guest", "restore_archive", "step_started", "executor"),
    point("restore_guest", "start", "step_started", "agent"),
    point("restore_guest", "start", "step_done", "executor"),
];

/// The one who kills.
pub(crate) struct Chaos {
    services: Services,
    socket: PathBuf,
    end: Arc<AtomicBool>,
    happened: Arc<Mutex<Vec<(Point, String)>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Chaos {
    /// One who has not begun.
    pub(crate) fn new(demo: &Demo) -> Self {
        Self {
            services: demo.services.clone(),
            socket: demo.world.socket(),
            end: Arc::default(),
            happened: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// Begin to follow events.
    pub(crate) fn begin(&self) -> Result<()> {
        let (services, socket) = (self.services.clone(), self.socket.clone());
        let (end, happened) = (Arc::clone(&self.end), Arc::clone(&self.happened));
        let thread = thread::Builder::new().name("chaos".to_owned()).spawn(move || {
            let mut cursor = 0;
            while !end.load(Ordering::Relaxed) {
                // The stream ends whenever the executor was killed; a new one begins behind the last event.
                let _ = follow(&socket, &mut cursor, &end, |event| {
                    let mut happened = happened.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(point) = next(event, &happened) else { return false };
                    let outcome = match services.kill_and_restart(point.victim) {
                        Ok(()) => "killed and started again".to_owned(),
                        Err(error) => format!("{error:#}"),
                    };
                    happened.push((point, outcome));
                    true
                });
                run::pause(Duration::from_millis(20));
            }
        })?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// End, and say what happened; an error if a point never came.
    pub(crate) fn end(&self) -> Result<Vec<String>> {
        self.end.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // What it did is in `happened`.
            let _ = thread.join();
        }
        let happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        let missed: Vec<_> = POINTS
            .iter()
            .filter(|point| !happened.iter().any(|(done, _)| done == *point))
            .map(ToString::to_string)
            .collect();
        if !missed.is_empty() {
            bail!("{} points never came: {}", missed.len(), missed.join("; "));
        }
        Ok(happened.iter().map(|(point, outcome)| format!("{point}: {outcome}")).collect())
    }
}

/// The first point that this event is, if it has not happened yet.
fn next(event: &Value, happened: &[(Point, String)]) -> Option<Point> {
    let is = |point: &&Point| {
        text(event, "kind") == point.kind
            && text(event, "step") == point.step
            && text(event, "what") == point.what
    };
    let new = |point: &&Point| !happened.iter().any(|(done, _)| done == *point);
    POINTS.iter().filter(is).find(new).copied()
}

/// Read events behind the cursor until the stream ends or `each` says that it killed somebody.
pub(super) fn follow(
    socket: &Path,
    cursor: &mut u64,
    end: &AtomicBool,
    mut each: impl FnMut(&Value) -> bool,
) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let request = format!(
        "GET /v1/events?after={cursor} HTTP/1.1\r\nHost: executor\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while !end.load(Ordering::Relaxed) {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Nothing for a while; what was read of the line stays in it.
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(event) = event_of(&line) {
            *cursor = event["seq"].as_u64().unwrap_or(*cursor).max(*cursor);
            if each(&event) {
                return Ok(());
            }
        }
        line.clear();
    }
    Ok(())
}

/// The event in a line of the stream; chunk sizes and comments are none.
fn event_of(line: &[u8]) -> Option<Value> {
    let line = std::str::from_utf8(line).ok()?.trim();
    serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_are_twelve_points_for_both_victims_in_four_operations() {
        let mut kinds: Vec<_> = POINTS.iter().map(|point| point.kind).collect();
        kinds.dedup();
        assert_eq!(kinds.len(), 4);
        for victim in ["executor", "agent"] {
            assert!(POINTS.iter().filter(|point| point.victim == victim).count() >= 3, "{victim}");
        }
        let on_the_box = POINTS.iter().filter(|point| point.victim != "hub").map(ToString::to_string);
        assert_eq!(on_the_box.collect::<std::collections::BTreeSet<_>>().len(), 12);
    }

    #[test]
    fn each_point_happens_once() {
        let first = POINTS[0];
        let event = json!({ "kind": first.kind, "step": first.step, "what": first.what });
        assert_eq!(next(&event, &[]), Some(first));
        assert_eq!(next(&event, &[(first, String::new())]), None);
        assert_eq!(next(&json!({ "kind": first.kind, "step": "other", "what": first.what }), &[]), None);
    }

    #[test]
    fn events_are_found_among_chunk_sizes() {
        assert_eq!(event_of(b"data: {\"seq\":4}\r\n").unwrap()["seq"], 4);
        assert_eq!(event_of(b"data:{\"seq\":5}\n").unwrap()["seq"], 5);
        assert_eq!(event_of(b"1f\r\n"), None);
        assert_eq!(event_of(b": keep-alive\n"), None);
    }
}
