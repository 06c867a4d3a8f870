//! What a whole system costs: for `cargo xtask bench`. One run of the demo's programs with a box of many guests.
//!
//! Steps: set up, with [`door`] between agent and hub → the first guest, as in the demo → its backup, with the executor's
//! flushes counted → a minute of rest → all other guests, while the executor is killed now and then and the time to the first
//! new event of the operation in hand is taken → another minute of rest.
//!
//! At rest nothing is asked for; what is measured then is memory, processor, syncs, passes, and the calls of an observation.

mod calls;
mod crash;
mod door;
mod flushes;
mod process;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    PROGRAMS, call,
    driver::{Demo, Look, Pace, text, tolerant},
    judge,
    screen::Screen,
    steps,
    world::{BOX, GUEST, World},
};
use crate::run;
pub(crate) use calls::Calls;
pub(crate) use door::Exchange;
pub(crate) use flushes::Flushes;
pub(crate) use process::Resident;

/// So long nothing is asked for.
const REST: Duration = Duration::from_secs(60);
/// What is begun by the end of the work before may go on for so long.
const SETTLE: Duration = Duration::from_secs(20);
/// A sync comes in each minute, give or take a fifth of it.
const SYNC: Duration = Duration::from_secs(80);
/// While something is waited for, the hub asks for a sync so often.
const QUICK_HUB: &str = "next_sync_s = 2\n";
const SYNC_PATH: &str = "/api/v1/sync";

/// What was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Of a backup; `None` without `strace`.
    pub(crate) flushes: Option<Flushes>,
    /// Milliseconds from the start of the executor to the first new event of the operation in hand, sorted.
    pub(crate) resumed_ms: Vec<f64>,
    /// With one guest, and with all.
    pub(crate) rests: Vec<Rest>,
}

/// A minute of rest.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Guests of the box.
    pub(crate) guests: usize,
    /// Calls of one observation.
    pub(crate) calls: Calls,
    /// Milliseconds of the agent's passes at rest, sorted.
    pub(crate) passes_ms: Vec<f64>,
    /// Syncs at rest, in their order.
    pub(crate) syncs: Vec<Exchange>,
    /// The agent at rest.
    pub(crate) agent: Resident,
    /// The executor at rest.
    pub(crate) executor: Resident,
}

/// Measures on a box with so many guests.
pub(crate) fn figures(programs: &Path, dir: Option<&Path>, guests: usize) -> Result<Figures> {
    let mut demo = Demo::new(World::new(programs, &PROGRAMS, dir)?, Screen::new(true))?;
    let measured = measure(&mut demo, guests);
    demo.stop();
    measured
}

fn measure(demo: &mut Demo, guests: usize) -> Result<Figures> {
    let door = door::Door::open(&demo.world)?;
    demo.pace = Pace {
        hub: QUICK_HUB.to_owned(),
        // All else as it is shipped.
        agent: "log = \"info,felhom_agent::pass=debug\"\n".to_owned(),
        executor: format!("backup_min_interval_s = 60\nmax_guests = {guests}\n"),
        hub_door: Some(door.address),
    };
    steps::run_all(demo, 2, None, false).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let flushes = flushes::of_backup(demo)?;
    demo.screen.say(&format!("  {flushes:?}"));
    let first = rest(demo, &door, 1)?;
    demo.screen.say(&format!("  {first:?}"));
    let resumed_ms = all_others(demo, guests)?;
    demo.screen.say(&format!("  resumed after {resumed_ms:?} ms"));
    let all = rest(demo, &door, guests)?;
    demo.screen.say(&format!("  {all:?}"));
    Ok(Figures { flushes, resumed_ms, rests: vec![first, all] })
}

/// Provisions the other guests, and kills the executor meanwhile.
fn all_others(demo: &mut Demo, guests: usize) -> Result<Vec<f64>> {
    restart_hub(demo, QUICK_HUB)?;
    let names: Vec<String> =
        std::iter::once(GUEST.to_owned()).chain((2..=guests).map(|n| format!("guest-{n}"))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = demo.world.write("operator/all.toml", &steps::desired(&names))?;
    let killer = crash::Killer::start(demo)?;
    call::json(&mut demo.felhom(&["desired", "set", BOX, text(&file), "--message", "all guests"]))?;
    demo.wait("all guests", Duration::from_secs(900), || {
        tolerant(demo.shown(), |shown| {
            let all = shown["box"]["report"]["guests"].as_array().map(Vec::as_slice).unwrap_or_default();
            let serving = all.iter().filter(|guest| judge::serves(guest)).count();
            Ok(Look::of((serving == guests).then_some(()), format!("{serving} of {guests} guests serve")))
        })
    })?;
    killer.end()
}

/// A hub with these lines of configuration.
fn restart_hub(demo: &mut Demo, lines: &str) -> Result<()> {
    lines.clone_into(&mut demo.pace.hub);
    steps::write_hub_config(demo)?;
    demo.services.kill_and_restart("hub")?;
    demo.wait("the hub's answer", Duration::from_secs(20), || {
        tolerant(demo.shown(), |shown| {
            let alive = judge::text(&shown["box"], "liveness") == "alive";
            Ok(Look::of(alive.then_some(()), "the box is not alive"))
        })
    })
}

/// As it is shipped, with nothing to do.
fn settle(demo: &mut Demo) -> Result<()> {
    restart_hub(demo, "")?;
    run::pause(SETTLE);
    let open = |operation: &serde_json::Value| !judge::done(operation).unwrap_or(true);
    demo.wait("the end of all operations", Duration::from_secs(60), || {
        tolerant(demo.operations(), |all| {
            let open = all.as_array().map_or(0, |all| all.iter().filter(|one| open(one)).count());
            Ok(Look::of((open == 0).then_some(()), format!("{open} operations are not over")))
        })
    })
}

fn rest(demo: &mut Demo, door: &door::Door, guests: usize) -> Result<Rest> {
    settle(demo)?;
    let pid = |name: &str| demo.services.pid(name).with_context(|| format!("{name} does not run"));
    let (agent, executor) = (pid("agent")?, pid("executor")?);
    let log = demo.world.path("log/agent.log");
    let said = fs::metadata(&log)?.len();
    let passed = door.exchanges().len();
    let before = (process::cpu_s(agent)?, process::cpu_s(executor)?);
    run::pause(REST);
    let after = (process::cpu_s(agent)?, process::cpu_s(executor)?);
    let share = |before: f64, after: f64| (after - before) / REST.as_secs_f64() * 100.0;
    let resident = |pid, share| {
        Ok::<_, anyhow::Error>(Resident { kib: process::resident_kib(pid)?, cpu_percent: share })
    };
    let (agent, executor) =
        (resident(agent, share(before.0, after.0))?, resident(executor, share(before.1, after.1))?);
    let syncs = demo.wait("a sync", SYNC, || {
        let new = door.exchanges().split_off(passed);
        let syncs: Vec<_> = new.into_iter().filter(|exchange| exchange.path == SYNC_PATH).collect();
        Ok(Look::of((!syncs.is_empty()).then_some(syncs), ""))
    })?;
    let mut passes_ms = calls::passes_ms(&log, said)?;
    ensure!(!passes_ms.is_empty(), "the agent made no pass in {} s", REST.as_secs());
    passes_ms.sort_by(f64::total_cmp);
    let calls = calls::of_observation(demo)?;
    Ok(Rest { guests, calls, passes_ms, syncs, agent, executor })
}
