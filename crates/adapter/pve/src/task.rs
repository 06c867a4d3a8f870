//! Tasks: the real result of nearly every mutating call.
//!
//! A 200 with a UPID means almost nothing; what counts is the task's `exitstatus`. A task is found by the list and judged
//! by its **status**: the list may show dead workers as running for ten seconds.
//!
//! 1. [`Task::follow`] polls status and log together, with backoff, and yields lines as they come;
//! 2. when the status says stopped, the rest of the log is read and the [`ExitStatus`] ends the stream.

use std::time::Duration;

use serde::Deserialize;

use crate::client::Pve;
use crate::decode::{opt_text, opt_u64, text, u64_or_zero};
use crate::error::{Error, lock_name};
use crate::form::{Form, encode};
use crate::ids::Vmid;
use crate::node::Node;
use crate::upid::Upid;

/// How many log lines one call asks for; PVE's own default of 50 cuts the deciding last line off.
const LOG_CHUNK: u64 = 500;

/// How a stopped task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStatus {
    /// `OK`.
    Ok,
    /// `WARNINGS: n`: done, with warnings in the log.
    Warnings(u64),
    /// The error's text, one line.
    Failed(String),
    /// `unexpected status`, or stopped without any: the worker was killed and cleaned nothing up.
    Aborted,
}

impl ExitStatus {
    /// Reads PVE's text; absent on a stopped task means that its worker was killed.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else {
            return Self::Aborted;
        };
        if text == "OK" {
            return Self::Ok;
        }
        if text == "unexpected status" {
            return Self::Aborted;
        }
        match text.strip_prefix("WARNINGS: ").and_then(|n| n.trim().parse().ok()) {
            Some(count) => Self::Warnings(count),
            None => Self::Failed(text.to_owned()),
        }
    }

    /// Whether the task did what it should.
    #[must_use]
    pub fn is_success(&self) -> bool {
        match self {
            Self::Ok | Self::Warnings(_) => true,
            Self::Failed(_) | Self::Aborted => false,
        }
    }

    /// The lock's name if it failed because the guest was locked.
    #[must_use]
    pub fn lock(&self) -> Option<String> {
        match self {
            Self::Failed(text) => lock_name(text),
            Self::Ok | Self::Warnings(_) | Self::Aborted => None,
        }
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok => f.write_str("OK"),
            Self::Warnings(count) => write!(f, "OK with {count} warnings"),
            Self::Failed(text) => f.write_str(text),
            Self::Aborted => f.write_str("aborted: its worker was killed"),
        }
    }
}

/// What the status call says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// The worker lives.
    Running,
    /// It is over.
    Stopped(ExitStatus),
}

#[derive(Deserialize)]
struct StatusBody {
    #[serde(default, deserialize_with = "text")]
    status: String,
    #[serde(default, deserialize_with = "opt_text")]
    exitstatus: Option<String>,
}

/// One line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogLine {
    /// Counted from 1.
    #[serde(deserialize_with = "u64_or_zero")]
    pub n: u64,
    /// The text.
    #[serde(default, deserialize_with = "text")]
    pub t: String,
}

/// One entry of the task list.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedTask {
    /// The task.
    pub upid: Upid,
    /// Start in seconds since 1970.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub starttime: u64,
    /// End in seconds since 1970, absent while it runs.
    #[serde(default, deserialize_with = "opt_u64")]
    pub endtime: Option<u64>,
    /// `RUNNING` (not to be believed), else the exit text. Judge by [`Task::state`].
    #[serde(default, deserialize_with = "opt_text")]
    pub status: Option<String>,
}

/// Which tasks to list; always from all sources, for the default hides running ones.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only those whose id is this VMID (a `move_volume` is not among them).
    pub vmid: Option<Vmid>,
    /// Only this type, e.g. `vzrestore`.
    pub kind: Option<String>,
    /// Only those started at or after, seconds since 1970.
    pub since: Option<u64>,
    /// At most so many, newest first; 500 if not given.
    pub limit: Option<u32>,
}

/// How often to ask and how long.
#[derive(Debug, Clone, Copy)]
pub struct Polling {
    /// The first pause.
    pub first: Duration,
    /// The longest pause; pauses grow by half until there, and start again at `first` when the log moved.
    pub longest: Duration,
    /// Give up after; `None` waits as long as the task runs.
    pub deadline: Option<Duration>,
    /// So many failed polls in a row are tolerated (a restarting proxy), the next one ends the wait.
    pub tolerated: u32,
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(40),
            longest: Duration::from_millis(1000),
            deadline: None,
            tolerated: 20,
        }
    }
}

/// What following a task yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEvent {
    /// New lines of its log.
    Lines(Vec<LogLine>),
    /// It is over; nothing follows.
    Stopped(ExitStatus),
}

/// A task at its node.
#[derive(Debug, Clone)]
pub struct Task {
    pve: Pve,
    upid: Upid,
}

impl Pve {
    /// A handle on a task; the node is in its id.
    #[must_use]
    pub fn task(&self, upid: &Upid) -> Task {
        Task { pve: self.clone(), upid: upid.clone() }
    }
}

impl Node {
    /// The node's tasks, also running ones, newest first. A token sees its own only, unless it has Sys.Audit on the node.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<ListedTask>, Error> {
        let query = Form::new()
            .with("source", "all")
            .with("limit", filter.limit.unwrap_or(500))
            .with_opt("vmid", filter.vmid)
            .with_opt("typefilter", filter.kind.as_deref())
            .with_opt("since", filter.since);
        self.pve.get(&self.path("/tasks"), &query).await
    }
}

impl Task {
    /// The task's id.
    #[must_use]
    pub fn upid(&self) -> &Upid {
        &self.upid
    }

    fn path(&self, rest: &str) -> String {
        format!("/nodes/{}/tasks/{}{rest}", encode(self.upid.node().as_str()), encode(self.upid.as_str()))
    }

    /// Whether it runs or how it ended; this is right at once, also for killed workers.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown task, else any [`Error`] of the call.
    pub async fn state(&self) -> Result<TaskState, Error> {
        let body: StatusBody = self.pve.get(&self.path("/status"), &Form::new()).await?;
        Ok(match body.status.as_str() {
            "running" => TaskState::Running,
            _ => TaskState::Stopped(ExitStatus::parse(body.exitstatus.as_deref())),
        })
    }

    /// Log lines after the first `offset` ones, at most 500; empty when there are no more yet.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn log_from(&self, offset: u64) -> Result<Vec<LogLine>, Error> {
        let query = Form::new().with("start", offset).with("limit", LOG_CHUNK);
        let lines: Vec<LogLine> = self.pve.get(&self.path("/log"), &query).await?;
        Ok(without_placeholder(lines, offset))
    }

    /// The whole log.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn log(&self) -> Result<Vec<LogLine>, Error> {
        let mut all: Vec<LogLine> = Vec::new();
        loop {
            let lines = self.log_from(all.len() as u64).await?;
            if lines.is_empty() {
                return Ok(all);
            }
            all.extend(lines);
        }
    }

    /// Asks the worker to stop. A live one cleans up by itself; success says only that it was asked, so wait for the end.
    ///
    /// # Errors
    /// Any [`Error`] of the call. A task that is over already is no error.
    pub async fn stop(&self) -> Result<(), Error> {
        self.pve.delete_done(&self.path(""), &Form::new()).await
    }

    /// Waits for the end without reading the log.
    ///
    /// # Errors
    /// [`Error::StillRunning`] after the deadline; the last poll's error if more in a row failed than are tolerated.
    pub async fn wait(&self, polling: Polling) -> Result<ExitStatus, Error> {
        let mut follower = self.follow(polling, 0);
        follower.with_log = false;
        loop {
            if let TaskEvent::Stopped(exit) = follower.next().await? {
                return Ok(exit);
            }
        }
    }

    /// Follows log and status; lines before `offset` are skipped (after a restart of the caller).
    pub fn follow(&self, polling: Polling, offset: u64) -> Follower {
        Follower {
            task: self.clone(),
            polling,
            offset,
            pause: Duration::ZERO,
            started: tokio::time::Instant::now(),
            failures: 0,
            with_log: true,
            ending: None,
        }
    }
}

/// PVE puts one made-up line into the log of a task that has none yet.
fn without_placeholder(mut lines: Vec<LogLine>, offset: u64) -> Vec<LogLine> {
    let made_up = |line: &LogLine| line.t == "no content" || line.t.starts_with("unable to open file - ");
    if offset == 0 && lines.len() == 1 && lines.iter().all(made_up) {
        lines.clear();
    }
    lines
}

/// A running poll of one task. Dropping it stops nothing at the server.
#[derive(Debug)]
#[must_use]
pub struct Follower {
    task: Task,
    polling: Polling,
    offset: u64,
    pause: Duration,
    started: tokio::time::Instant,
    failures: u32,
    with_log: bool,
    ending: Option<ExitStatus>,
}

impl Follower {
    /// How many lines were yielded or skipped; keep it to go on after a restart.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next lines, or the end. Call again until [`TaskEvent::Stopped`].
    ///
    /// # Errors
    /// [`Error::StillRunning`] after the deadline; the last poll's error if more in a row failed than are tolerated.
    pub async fn next(&mut self) -> Result<TaskEvent, Error> {
        loop {
            tokio::time::sleep(self.pause).await;
            match self.poll().await {
                Ok(Some(event)) => {
                    self.failures = 0;
                    return Ok(event);
                }
                Ok(None) => self.failures = 0,
                Err(error) if error.is_transient() && self.failures < self.polling.tolerated => {
                    self.failures += 1;
                    tracing::debug!(task = %self.task.upid, %error, "polling again");
                }
                Err(error) => return Err(error),
            }
            self.slow_down();
            self.check_deadline()?;
        }
    }

    async fn poll(&mut self) -> Result<Option<TaskEvent>, Error> {
        if self.ending.is_none()
            && let TaskState::Stopped(exit) = self.task.state().await?
        {
            self.ending = Some(exit);
        }
        if self.with_log {
            // Read after the status: a stopped task's log is complete.
            let lines = self.task.log_from(self.offset).await?;
            if !lines.is_empty() {
                self.offset += lines.len() as u64;
                self.pause = if self.ending.is_some() { Duration::ZERO } else { self.polling.first };
                return Ok(Some(TaskEvent::Lines(lines)));
            }
        }
        Ok(self.ending.clone().map(TaskEvent::Stopped))
    }

    fn slow_down(&mut self) {
        let grown = self.pause + self.pause / 2;
        self.pause = grown.clamp(self.polling.first, self.polling.longest.max(self.polling.first));
    }

    fn check_deadline(&self) -> Result<(), Error> {
        match self.polling.deadline {
            Some(deadline) if self.started.elapsed() > deadline => {
                Err(Error::StillRunning { upid: self.task.upid.to_string(), seconds: deadline.as_secs() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_texts() {
        assert_eq!(ExitStatus::parse(Some("OK")), ExitStatus::Ok);
        assert_eq!(ExitStatus::parse(Some("WARNINGS: 1")), ExitStatus::Warnings(1));
        assert!(ExitStatus::parse(Some("WARNINGS: 12")).is_success());
        assert_eq!(ExitStatus::parse(Some("unexpected status")), ExitStatus::Aborted);
        assert_eq!(ExitStatus::parse(None), ExitStatus::Aborted);
        assert_eq!(ExitStatus::parse(Some("job errors")), ExitStatus::Failed("job errors".into()));
        assert_eq!(ExitStatus::parse(Some("CT is locked (backup)")).lock().as_deref(), Some("backup"));
        assert!(!ExitStatus::Aborted.is_success());
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_no_line() {
        let line = |t: &str| vec![LogLine { n: 1, t: t.into() }];
        assert!(without_placeholder(line("no content"), 0).is_empty());
        assert!(without_placeholder(line("unable to open file - No such file or directory"), 0).is_empty());
        assert_eq!(without_placeholder(line("INFO: starting"), 0).len(), 1);
    }

    #[test]
    fn recorded_list_entries() {
        let running = r#"{"type":"vzdump","upid":"UPID:pve:000007E8:0007D641:6B04238C:vzdump:102:ctl@pve!full:","saved":"0","pstart":513601,"pid":2024,"status":"RUNNING","starttime":1795433356,"user":"ctl@pve!full","node":"pve","id":"102"}"#;
        let task: ListedTask = serde_json::from_str(running).unwrap();
        assert_eq!((task.upid.id(), task.endtime, task.starttime), ("102", None, 1_795_433_356));
        let killed = r#"{"tokenid":"executor","pstart":155458,"status":"unexpected status","starttime":1795450567,"endtime":1795450571,"node":"pve","upid":"UPID:pve:00000C72:00025F42:6B0466C7:vzrestore:211:felhom@pve!executor:","pid":3186,"id":"211","user":"felhom@pve","type":"vzrestore"}"#;
        let task: ListedTask = serde_json::from_str(killed).unwrap();
        assert_eq!(ExitStatus::parse(task.status.as_deref()), ExitStatus::Aborted);
    }
}
