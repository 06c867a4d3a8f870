//! Control groups of a container: how much memory it uses, and what is left of it when its monitor was killed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::runtime::RuntimeError;
use crate::runtime::process::proc::{Process, pause};

/// How long processes may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which version of control groups limits memory on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// `memory.limit_in_bytes`.
    First,
    /// `memory.max`.
    Second,
    /// None does.
    Nobody,
}

/// The control groups of one container, named as a real node names them but for the mark.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    /// `pve-sim-MARK/ID`: the guest's processes.
    pub(super) payload: String,
    /// `pve-sim-MARK.monitor/ID`: `lxc-start`.
    pub(super) monitor: String,
}

/// A mounted hierarchy.
struct Hierarchy {
    mount: PathBuf,
    second: bool,
    /// Controllers of a hierarchy of the first version.
    options: String,
}

impl Groups {
    pub(super) fn of(mark: &str, vmid: u32) -> Self {
        Self { payload: format!("pve-sim-{mark}/{vmid}"), monitor: format!("pve-sim-{mark}.monitor/{vmid}") }
    }

    /// Bytes in use.
    pub(super) fn memory(&self) -> Option<u64> {
        let all = hierarchies().ok()?;
        let file =
            |h: &Hierarchy, name: &str| fs::read_to_string(h.mount.join(&self.payload).join(name)).ok();
        let text = all.iter().find_map(|h| match h.second {
            true => file(h, "memory.current"),
            false => file(h, "memory.usage_in_bytes"),
        })?;
        text.trim().parse().ok()
    }

    /// Ends all processes that are still in the container's groups, frozen ones too, and removes the groups.
    ///
    /// # Errors
    /// [`RuntimeError::Timeout`] if some do not end, [`RuntimeError::Io`].
    pub(super) fn clear(&self, vmid: u32) -> Result<(), RuntimeError> {
        let all = hierarchies().map_err(RuntimeError::io("read", Path::new("/proc/self/mounts")))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut left = Vec::new();
            for hierarchy in &all {
                members(&hierarchy.mount.join(&self.payload), &mut left);
            }
            left.sort_unstable();
            left.dedup();
            if left.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(RuntimeError::Timeout { vmid, count: left.len(), what: "end" });
            }
            all.iter().for_each(|hierarchy| thaw(&hierarchy.mount.join(&self.payload)));
            for process in left.into_iter().filter_map(Process::of) {
                process.signal(Signal::KILL).map_err(RuntimeError::io("end", Path::new(&self.payload)))?;
            }
            pause(Duration::from_millis(2));
        }
        for hierarchy in &all {
            for group in [&self.payload, &self.monitor] {
                let path = hierarchy.mount.join(group);
                remove(&path, deadline).map_err(RuntimeError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// Removes the groups that hold a host's containers, if they are empty.
pub(super) fn forget(mark: &str) {
    for hierarchy in hierarchies().unwrap_or_default() {
        for group in [format!("pve-sim-{mark}"), format!("pve-sim-{mark}.monitor")] {
            drop(fs::remove_dir(hierarchy.mount.join(group)));
        }
    }
}

/// Which version limits memory here.
pub(super) fn memory() -> Memory {
    let all = hierarchies().unwrap_or_default();
    let second = all.iter().filter(|h| h.second).any(|h| {
        let controllers = fs::read_to_string(h.mount.join("cgroup.controllers")).unwrap_or_default();
        controllers.split_ascii_whitespace().any(|name| name == "memory")
    });
    match second {
        true => Memory::Second,
        false if all.iter().any(|h| h.options.split(',').any(|o| o == "memory")) => Memory::First,
        false => Memory::Nobody,
    }
}

fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read_to_string("/proc/self/mounts")?))
}

fn parse(mounts: &str) -> Vec<Hierarchy> {
    let mut all = Vec::new();
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [_, mount, kind @ ("cgroup" | "cgroup2"), options, ..] = fields[..] {
            let options = options.to_owned();
            all.push(Hierarchy { mount: mount.into(), second: kind == "cgroup2", options });
        }
    }
    all
}

/// Processes of a group and of all below it; what is not there has none.
fn members(group: &Path, found: &mut Vec<i32>) {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process of another namespace, which we cannot see.
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for below in groups_in(group) {
        members(&below, found);
    }
}

/// A frozen process of the first version does not die.
fn thaw(group: &Path) {
    for (file, text) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let path = group.join(file);
        if path.exists() {
            drop(fs::write(path, text));
        }
    }
    groups_in(group).iter().for_each(|below| thaw(below));
}

/// The innermost first. A group is busy for a moment after its last process has ended.
fn remove(group: &Path, deadline: Instant) -> io::Result<()> {
    for below in groups_in(group) {
        remove(&below, deadline)?;
    }
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                pause(Duration::from_millis(2));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}

fn groups_in(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let text = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                    cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\nproc /proc proc rw 0 0\n";
        let all = parse(text);
        let shown: Vec<_> = all.iter().map(|h| (h.mount.to_str().unwrap(), h.second)).collect();
        assert_eq!(shown, [("/sys/fs/cgroup/memory", false), ("/sys/fs/cgroup/unified", true)]);
    }

    #[test]
    fn a_group_that_is_not_there_has_nobody_and_is_removed_already() {
        let mut found = Vec::new();
        members(Path::new("/sys/fs/cgroup/none/of/this"), &mut found);
        assert!(found.is_empty());
        remove(Path::new("/sys/fs/cgroup/none/of/this"), Instant::now()).unwrap();
    }
}
