//! How often the executor makes the disk keep something during an operation: `fsync` and `fdatasync`, as `strace` sees them.
//! All of the process count, also what it does beside the operation, e.g. keeping the time that it has run.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::{
    demo::{
        call,
        driver::{Demo, Look, tolerant},
        judge, service,
        world::{BOX, GUEST},
    },
    run,
};

/// Flushes during an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flushes {
    /// Of each file, by the end of its name.
    pub(crate) files: BTreeMap<String, u64>,
    /// Steps of the operation.
    pub(crate) steps: usize,
}

impl Flushes {
    /// All of them for each step.
    pub(crate) fn per_step(&self) -> f64 {
        self.files.values().sum::<u64>() as f64 / self.steps.max(1) as f64
    }
}

/// Makes a backup; `None` where there is no `strace`.
pub(super) fn of_backup(demo: &Demo) -> Result<Option<Flushes>> {
    let pid = demo.services.pid("executor").context("no executor")?;
    let log = demo.world.path("log/flushes");
    let watch =
        run::find_program("strace").map(|strace| Watch::start(strace, pid, log.clone())).transpose()?;
    let backup = call::json(&mut demo.felhom(&["backup", "run", BOX, GUEST]))?;
    let id = judge::text(&backup["operation"], "id").to_owned();
    let steps = demo.wait("the backup", Duration::from_secs(60), || {
        tolerant(demo.operations(), |all| {
            let operation = judge::by_id(&all, &id).context("the journal does not have it")?;
            let steps = operation["steps"].as_array().map_or(0, Vec::len);
            Ok(Look::of(judge::done(operation)?.then_some(steps), judge::progress(operation)))
        })
    })?;
    let Some(watch) = watch else { return Ok(None) };
    watch.end()?;
    let files = files(&fs::read_to_string(&log)?);
    Ok(Some(Flushes { files, steps }))
}

struct Watch(Child);

impl Watch {
    fn start(strace: PathBuf, pid: u32, log: PathBuf) -> Result<Self> {
        let mut command = Command::new(strace);
        command.args([
            "-f",
            "-y",
            "-e",
            "trace=fsync,fdatasync,sync_file_range",
            "-p",
            &pid.to_string(),
            "-o",
        ]);
        let child =
            command.arg(&log).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let watch = Self(child.context("cannot start strace")?);
        for _ in 0..100 {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            if status.lines().any(|line| line == format!("TracerPid:\t{}", watch.0.id())) {
                // It holds the first thread; the others follow at once.
                run::pause(Duration::from_millis(200));
                return Ok(watch);
            }
            run::pause(Duration::from_millis(50));
        }
        anyhow::bail!("strace does not get hold of process {pid}")
    }

    /// What it holds goes on with its end. It may hang on a child that ends at the same moment: then the kernel lets go of all.
    fn end(mut self) -> Result<()> {
        service::signal(self.0.id(), Signal::INT);
        for _ in 0..100 {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            run::pause(Duration::from_millis(20));
        }
        self.0.kill().context("strace does not end")?;
        self.0.wait().map(drop).context("strace does not end")
    }
}

/// Calls by file: `12 fdatasync(9</a/executor.db-wal>) = 0`. The second half of a call that was interrupted in the log names no
/// function with a bracket.
fn files(log: &str) -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    for line in log.lines() {
        if !["fsync(", "fdatasync(", "sync_file_range("].iter().any(|call| line.contains(call)) {
            continue;
        }
        let path =
            line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("?", |(path, _)| path);
        let name = path.rsplit('/').next().unwrap_or(path);
        *files.entry(name.to_owned()).or_default() += 1;
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_counts_once() {
        let log = "1 fdatasync(9</a/b.db-wal>) = 0\n2 fsync(4</a>) = 0\n1 fdatasync(9</a/b.db-wal> <unfinished ...>\n\
                   1 <... fdatasync resumed>) = 0\n1 +++ exited with 0 +++\n";
        let files = files(log);
        assert_eq!(files, [("a".to_owned(), 1), ("b.db-wal".to_owned(), 2)].into());
        assert!((Flushes { files, steps: 2 }.per_step() - 1.5).abs() < f64::EPSILON);
    }
}
