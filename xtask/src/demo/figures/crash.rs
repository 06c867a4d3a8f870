//! From the executor's start to the first new event of the operation that it was killed in.
//!
//! Steps: follow the events → at each third restore of an archive kill the executor and start it again → the time from then to
//! the first event of that operation that is new.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    demo::{chaos::follow, driver::Demo, judge::text, service::Services},
    run,
};

/// So often it is killed.
const KILLS: usize = 5;
const EACH: usize = 3;

/// The one who kills.
pub(super) struct Killer {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<f64>>>,
}

impl Killer {
    /// Begins with the events that come from now on.
    pub(super) fn start(demo: &Demo) -> Result<Self> {
        let (services, socket) = (demo.services.clone(), demo.world.socket());
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::Builder::new()
            .name("killer".to_owned())
            .spawn(move || kill_some(&services, &socket, &ended))?;
        Ok(Self { end, thread })
    }

    /// Milliseconds, sorted.
    pub(super) fn end(self) -> Result<Vec<f64>> {
        self.end.store(true, Ordering::Relaxed);
        let mut all = self.thread.join().map_err(|_| anyhow::anyhow!("the killer has died"))??;
        ensure!(all.len() == KILLS, "only {} kills in all operations", all.len());
        all.sort_by(f64::total_cmp);
        Ok(all)
    }
}

fn kill_some(services: &Services, socket: &Path, end: &AtomicBool) -> Result<Vec<f64>> {
    let (mut cursor, mut restores, mut all) = (0, 0, Vec::new());
    while all.len() < KILLS && !end.load(Ordering::Relaxed) {
        let mut killed = None;
        // The stream ends with the executor; the next one begins behind the last event.
        let _ = follow(socket, &mut cursor, end, |event| {
            let restores_now =
                text(event, "step") == "restore_archive" && text(event, "what") == "step_started";
            restores += usize::from(restores_now);
            if restores_now && restores % EACH == 0 {
                killed = Some(text(event, "operation").to_owned());
            }
            killed.is_some()
        });
        match killed {
            Some(operation) => all.push(resumed_ms(services, socket, (&operation, &mut cursor), end)?),
            None => run::pause(Duration::from_millis(20)),
        }
    }
    Ok(all)
}

fn resumed_ms(
    services: &Services,
    socket: &Path,
    (operation, cursor): (&str, &mut u64),
    end: &AtomicBool,
) -> Result<f64> {
    let at = |event: &serde_json::Value| text(event, "time").parse::<jiff::Timestamp>().ok();
    services.kill_and_restart("executor")?;
    let (begun, since) = (Instant::now(), jiff::Timestamp::now());
    let mut took = None;
    while took.is_none() && !end.load(Ordering::Relaxed) {
        let _ = follow(socket, cursor, end, |event| {
            // What was journaled before it died is told again, and is not new.
            if text(event, "operation") == operation && at(event).is_some_and(|at| at >= since) {
                took = Some(begun.elapsed());
            }
            took.is_some()
        });
        run::pause(Duration::from_millis(1));
    }
    let took = took.ok_or_else(|| anyhow::anyhow!("{operation} was not gone on with"))?;
    Ok(took.as_secs_f64() * 1000.0)
}
