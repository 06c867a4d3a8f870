//! What a stage file does before or after a line: scripts, faults, kills, calls that were not recorded.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    replay::{Replay, encode_form, next_second, now},
    shell,
    stage::{Call, Do},
};

impl Replay<'_> {
    /// Does one act.
    pub(super) fn act(&mut self, act: &Do) -> Result<()> {
        let task = |line: usize| {
            self.ours.get(&line).cloned().with_context(|| format!("line {line} started no task"))
        };
        if act.next_second {
            next_second(now());
        }
        if let Some(fault) = &act.fault {
            self.node.fault(fault, &self.rename)?;
        }
        if let Some(at) = &act.unfault {
            self.node.unfault(at, None)?;
        }
        if let (Some(line), Some(text)) = (act.log_of, &act.log_has) {
            self.node.wait_log(&task(line)?, text)?;
        }
        if let Some(line) = act.kill_task {
            kill_worker(&task(line)?)?;
        }
        if let Some(line) = act.wait_task {
            self.node.wait(&task(line)?, Duration::from_secs(20))?;
        }
        if act.wait_all {
            self.wait_all()?;
        }
        if let Some(call) = &act.call {
            self.unrecorded(call)?;
        }
        if act.round {
            self.node.round()?;
        }
        if let Some(how) = &act.restart {
            self.node.restart(how == "kill")?;
        }
        if let Some(command) = &act.command {
            let script = self.rename.template(&self.rename.shell(&self.ids.outgoing(command)));
            shell::run(&self.node, &script)?;
        }
        Ok(())
    }

    /// A call that the recording does not show. Its task may fail; the call may not.
    fn unrecorded(&self, call: &Call) -> Result<()> {
        let (path, form) = (self.rename.path(&call.path), self.rename.form(&encode_form(&call.form)));
        let (status, json) = match &call.token {
            Some(token) => {
                let secret = self.secrets.get(token).with_context(|| format!("no token {token}"))?;
                let header = format!("PVEAPIToken={}={secret}", self.rename.header(token));
                self.node.with_token(&header, &call.method, &path, &form)?
            }
            None => self.node.root(&call.method, &path, &form)?,
        };
        if !status.starts_with("200") {
            anyhow::bail!("{} {path} {form}: {status} {json}", call.method);
        }
        if let Some(upid) = json["data"].as_str().filter(|data| data.starts_with("UPID:")) {
            self.node.wait(upid, Duration::from_secs(20))?;
        }
        Ok(())
    }

    fn wait_all(&self) -> Result<()> {
        let path = format!("/nodes/{}/tasks?source=active", self.node.name);
        let (_, tasks) = self.node.root("GET", &path, "")?;
        for task in tasks["data"].as_array().into_iter().flatten() {
            if let Some(upid) = task["upid"].as_str() {
                self.node.wait(upid, Duration::from_secs(20))?;
            }
        }
        Ok(())
    }
}

/// The process of a task.
fn worker(upid: &str) -> Option<rustix::process::Pid> {
    let pid = upid.split(':').nth(2).and_then(|hex| i32::from_str_radix(hex, 16).ok());
    pid.and_then(rustix::process::Pid::from_raw)
}

/// Whether it lives.
pub(super) fn runs(upid: &str) -> bool {
    worker(upid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn kill_worker(upid: &str) -> Result<()> {
    let pid = worker(upid).with_context(|| format!("no process in {upid}"))?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).with_context(|| format!("kill {upid}"))
}
