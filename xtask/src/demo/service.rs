//! The programs that stay up while the demo runs: started with a log of their own, watched, killed and started again.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, OpenOptions},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::call::last_lines;
use crate::run;

/// How to start one.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// The program's file.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

struct Service {
    recipe: Recipe,
    child: Option<Child>,
}

/// All of them, by name; shared with whoever kills some.
#[derive(Clone, Default)]
pub(crate) struct Services(Arc<Mutex<BTreeMap<String, Service>>>);

impl Services {
    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Service>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Start one under this name.
    pub(crate) fn start(&self, name: &str, recipe: Recipe) -> Result<()> {
        let child = spawn(&recipe)?;
        self.locked().insert(name.to_owned(), Service { recipe, child: Some(child) });
        Ok(())
    }

    /// SIGKILL, and start it again.
    pub(crate) fn kill_and_restart(&self, name: &str) -> Result<()> {
        let mut all = self.locked();
        let service = all.get_mut(name).with_context(|| format!("`{name}` was never started"))?;
        if let Some(mut child) = service.child.take() {
            child.kill().with_context(|| format!("cannot kill {name}"))?;
            child.wait()?;
        }
        service.child = Some(spawn(&service.recipe)?);
        Ok(())
    }

    /// The process id of one that runs.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        Some(self.locked().get(name)?.child.as_ref()?.id())
    }

    /// Whether the ones that were started still run; the error has the end of the log of one that does not.
    pub(crate) fn check(&self) -> Result<()> {
        for (name, service) in self.locked().iter_mut() {
            let Some(child) = &mut service.child else { continue };
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(&service.recipe.log).unwrap_or_default();
                bail!(
                    "{name} has ended by itself with {status}; the end of its log:\n{}",
                    last_lines(&log, 15)
                );
            }
        }
        Ok(())
    }

    /// Ask all to end, in reverse order of need, and kill what does not.
    pub(crate) fn stop_all(&self, order: &[&str]) {
        let mut all = self.locked();
        for name in order {
            if let Some(service) = all.get_mut(*name)
                && let Some(mut child) = service.child.take()
            {
                end(&mut child);
            }
        }
        for service in all.values_mut() {
            if let Some(mut child) = service.child.take() {
                end(&mut child);
            }
        }
    }
}

fn spawn(recipe: &Recipe) -> Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&recipe.log)
        .with_context(|| format!("cannot open {}", recipe.log.display()))?;
    Command::new(&recipe.program)
        .args(&recipe.args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal is ours to pass on, in the right order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", recipe.program.display()))
}

fn end(child: &mut Child) {
    signal(child.id(), rustix::process::Signal::TERM);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => run::pause(Duration::from_millis(20)),
            _ => return,
        }
    }
    // It had its time; a child that is already gone is what we want.
    let _ = child.kill();
    let _ = child.wait();
}

/// Send a signal to a process of ours; one that is gone is no error.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Processes whose environment says that they belong to a folder of the demo: the guests' ones.
pub(crate) fn processes_below(folder: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| belongs_to(*pid, folder)).collect()
}

fn belongs_to(pid: u32, folder: &Path) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let rootfs =
        environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"PVE_SIM_ROOTFS="));
    let by_environment =
        rootfs.is_some_and(|path| Path::new(&*String::from_utf8_lossy(path)).starts_with(folder));
    by_environment
        || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.starts_with(folder))
}

/// Whether a process stands still (SIGSTOP).
pub(crate) fn is_stopped(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| state(&stat) == Some('T'))
}

/// The state in `/proc/PID/stat`: behind the program's name, which may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn recipe(dir: &Path, script: &str) -> Recipe {
        Recipe { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()], log: dir.join("log") }
    }

    #[test]
    fn one_that_ends_by_itself_is_noticed_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let services = Services::default();
        services.start("a", recipe(dir.path(), "echo sorry; exit 3")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let error = loop {
            match services.check() {
                Err(error) => break error.to_string(),
                Ok(()) => assert!(Instant::now() < deadline),
            }
            run::pause(Duration::from_millis(5));
        };
        assert!(error.contains("sorry"), "{error}");
    }

    #[test]
    fn a_killed_one_is_started_again_and_stopped_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let services = Services::default();
        services.start("a", recipe(dir.path(), "exec sleep 60")).unwrap();
        services.kill_and_restart("a").unwrap();
        services.check().unwrap();
        services.stop_all(&["a"]);
        assert!(services.locked()["a"].child.is_none());
    }

    #[test]
    fn the_state_stands_behind_the_name() {
        assert_eq!(state("12 (a) T b) S 1 2"), Some('S'));
        assert_eq!(state("12 (app) T 1 2"), Some('T'));
        assert_eq!(state(""), None);
    }

    #[test]
    fn processes_are_found_by_their_environment() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "echo ready; read answer"])
            .env("PVE_SIM_ROOTFS", dir.path().join("images/2000"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // A new process's environment is readable only some time after `exec` let its parent go on.
        let mut ready = [0; 5];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let found = processes_below(dir.path());
        let other = processes_below(&dir.path().join("images/2001"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((found, other), (vec![child.id()], Vec::new()));
    }
}
