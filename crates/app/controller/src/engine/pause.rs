//! Pause and resume: every process of several sessions stands still at one instant, and nothing passes as still that ran.
//!
//! 1. SIGSTOP to all process groups that are known, one system call each, before anything is waited for.
//! 2. `/proc` is read until every thread of every process of the sessions is stopped; groups that came meanwhile are
//!    stopped too.
//! 3. The context switches of each thread are kept: a stopped thread has none, so whoever ran in between is found out,
//!    even if it was stopped again.

use super::proc::{self, ProcessId, Thread};
use felhom_model::AppName;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How long processes may take to stand still; one that waits for a disk takes a while.
const STILL_WITHIN: Duration = Duration::from_secs(3);

/// What must be resumed, whoever does it: kept on disk while anything is frozen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThawPlan {
    /// One for each running service.
    pub sessions: Vec<Session>,
}

/// The session of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its app.
    pub app: AppName,
    /// The session's leader, which is the service's own process.
    pub leader: ProcessId,
}

/// Why apps could not be made to stand still. They run again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// Processes went on.
    #[error("{count} processes of {apps} did not stand still within {}s, for example {example}", STILL_WITHIN.as_secs())]
    NotStill {
        /// How many.
        count: usize,
        /// Of which apps.
        apps: String,
        /// The number of one of them.
        example: i32,
    },
    /// A signal was not permitted.
    #[error("process group {group} of {app} could not be stopped: {why}")]
    Signal {
        /// The group.
        group: i32,
        /// Its app.
        app: AppName,
        /// The operating system's reason.
        why: String,
    },
    /// The main process of a service ended just then.
    #[error("{app} ended while it was being stopped (process {pid}); try again when it runs")]
    Gone {
        /// Its app.
        app: AppName,
        /// The process.
        pid: i32,
    },
}

/// Apps that stand still.
#[derive(Debug, Clone)]
pub struct Paused {
    /// When the first signal for each app was sent.
    pub since: BTreeMap<AppName, Instant>,
    witness: Witness,
}

/// Threads by session, with their context switches.
type Witness = BTreeMap<(i32, i32), u64>;

impl ThawPlan {
    /// The apps in it.
    pub fn apps(&self) -> BTreeSet<AppName> {
        self.sessions.iter().map(|session| session.app.clone()).collect()
    }

    /// Stops everything. Blocks.
    ///
    /// # Errors
    /// [`PauseError`]; everything was resumed before it returns.
    pub fn pause(&self) -> Result<Paused, PauseError> {
        self.try_pause().inspect_err(|_| self.resume())
    }

    fn try_pause(&self) -> Result<Paused, PauseError> {
        let known: Vec<(AppName, BTreeSet<i32>)> =
            self.sessions.iter().map(|session| (session.app.clone(), groups(session.leader.pid))).collect();
        let mut since = BTreeMap::new();
        for (app, groups) in known {
            since.entry(app.clone()).or_insert_with(Instant::now);
            stop(&app, groups)?;
        }
        let deadline = Instant::now() + STILL_WITHIN;
        let mut before: Option<Witness> = None;
        loop {
            let moving = self.moving();
            if moving.is_empty() {
                self.check_leaders()?;
                // A thread counts as stopped an instant before it leaves its CPU; equal twice, it has left.
                let now = self.witness();
                if before.as_ref() == Some(&now) {
                    return Ok(Paused { since, witness: now });
                }
                before = Some(now);
            } else {
                before = None;
                self.stop_again()?;
            }
            if Instant::now() > deadline {
                let apps: Vec<String> = self.apps().iter().map(ToString::to_string).collect();
                let example = moving.first().copied().unwrap_or_default();
                return Err(PauseError::NotStill { count: moving.len(), apps: apps.join(", "), example });
            }
            std::thread::yield_now();
        }
    }

    /// Resumes every process of every session. What is gone or was not stopped is no error.
    pub fn resume(&self) {
        for session in &self.sessions {
            for group in groups(session.leader.pid) {
                let _ = proc::signal_group(group, Signal::CONT);
            }
        }
        for session in &self.sessions {
            for stat in proc::of_session(session.leader.pid).iter().filter(|stat| stat.state == 'T') {
                let _ = proc::signal(stat.id.pid, Signal::CONT);
            }
        }
    }

    /// Whether nothing of it ran since it was paused.
    pub fn held(&self, paused: &Paused) -> bool {
        self.moving().is_empty() && self.witness() == paused.witness
    }

    fn moving(&self) -> Vec<i32> {
        let sessions = self.numbers();
        proc::all()
            .into_iter()
            .filter(|stat| sessions.contains(&stat.session))
            .filter(|stat| proc::threads(stat.id.pid).iter().any(|thread: &Thread| !thread.still))
            .map(|stat| stat.id.pid)
            .collect()
    }

    fn witness(&self) -> Witness {
        let sessions = self.numbers();
        let processes = proc::all().into_iter().filter(|stat| sessions.contains(&stat.session));
        processes
            .flat_map(|stat| {
                let pid = stat.id.pid;
                proc::threads(pid).into_iter().map(move |thread| ((pid, thread.tid), thread.switches))
            })
            .collect()
    }

    fn numbers(&self) -> BTreeSet<i32> {
        self.sessions.iter().map(|session| session.leader.pid).collect()
    }

    fn stop_again(&self) -> Result<(), PauseError> {
        self.sessions.iter().try_for_each(|session| stop(&session.app, groups(session.leader.pid)))
    }

    fn check_leaders(&self) -> Result<(), PauseError> {
        match self.sessions.iter().find(|session| !session.leader.is_alive()) {
            None => Ok(()),
            Some(session) => Err(PauseError::Gone { app: session.app.clone(), pid: session.leader.pid }),
        }
    }
}

fn groups(session: i32) -> BTreeSet<i32> {
    proc::of_session(session).iter().map(|stat| stat.group).collect()
}

fn stop(app: &AppName, groups: BTreeSet<i32>) -> Result<(), PauseError> {
    groups.into_iter().try_for_each(|group| {
        proc::signal_group(group, Signal::STOP).map_err(|e| PauseError::Signal {
            group,
            app: app.clone(),
            why: e.to_string(),
        })
    })
}
