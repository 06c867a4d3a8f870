//! Suspend mode: copies while the guest runs, then once more what changed while it is frozen.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::archive::Source;
use super::guest::Task;
use super::undo::Undo;
use super::{hook, sync};
use crate::archive::Excludes;
use crate::error::ApiError;
use crate::state::Host;
use crate::state::storage::Storage;
use crate::task::worker::Worker;
use crate::volume::copy::copy_tree_without;
use crate::work::machine;

const FULL: &str = "No space left on device";

/// Both passes; answers the copy.
pub(super) fn copy(
    worker: &mut Worker,
    task: &mut Task<'_>,
    undo: &mut Undo,
    mut source: Source,
) -> Result<Source, ApiError> {
    let (host, vmid) = (worker.host.clone(), task.vmid);
    let pid = machine::running(&host, vmid).map_or(0, |r| r.pid);
    let pass = Pass { pid, excludes: Excludes::new(&task.settings.exclude_path, task.settings.stdexcludes) };
    for (_, tree) in &mut source.trees {
        *tree = still_mounted(&host, tree);
    }
    let since = SystemTime::now();
    pass.run(worker, task, &source, None)?;
    task.say(worker, "suspending guest");
    task.offline = Some(Instant::now());
    hook::inner(worker, task, "pre-stop")?;
    undo.freeze(worker, task)?;
    pass.run(worker, task, &source, Some(since))?;
    task.say(worker, "resuming guest");
    hook::inner(worker, task, "pre-restart")?;
    undo.thaw(worker, task)?;
    hook::inner(worker, task, "post-restart")?;
    task.online_again(worker);
    for (index, tree) in source.trees.iter_mut().enumerate() {
        tree.1 = task.tmp.join(index.to_string());
    }
    source.copied = true;
    Ok(source)
}

/// A running guest has its volumes, whatever became of the disk's mount on the node (rec 2/1055–1059).
fn still_mounted(host: &Host, tree: &Path) -> PathBuf {
    match tree.strip_prefix(host.dir.root().join("unmounted")) {
        Ok(inside) if !tree.exists() => host.dir.root().join(inside),
        _ => tree.to_owned(),
    }
}

/// What both passes need.
struct Pass {
    pid: u32,
    excludes: Excludes,
}

impl Pass {
    fn run(
        &self,
        worker: &mut Worker,
        task: &mut Task<'_>,
        source: &Source,
        since: Option<SystemTime>,
    ) -> Result<(), ApiError> {
        let name = if since.is_some() { "final" } else { "first" };
        let tmp = task.settings.shown(&worker.host, &task.tmp);
        let route = format!("/proc/{}/root/ to {tmp}", self.pid);
        task.say(worker, &format!("starting {name} sync {route}"));
        let started = Instant::now();
        let room = task.settings.storage.as_ref().and_then(Storage::room);
        let mut bytes = 0;
        for (index, (mount, from)) in source.trees.iter().enumerate() {
            let left_out = |inside: &Path| self.left_out(source, &Path::new(mount).join(inside));
            let to = task.tmp.join(index.to_string());
            let copied = match since {
                None => copy_tree_without(from, &to, &left_out).map(|report| report.bytes),
                Some(since) => sync::bring_up_to_date(from, &to, since, &left_out),
            };
            // The copy itself does not know the simulated size of the file system.
            let full = task.settings.storage.as_ref().and_then(Storage::room) == Some(0);
            let copied =
                copied.map_err(|e| e.to_string()).and_then(|n| if full { Err(FULL.into()) } else { Ok(n) });
            bytes += copied.map_err(|error| self.failed(worker, task, source, (&error, room)))?;
            if worker.take_stop() {
                return Err(self.error(worker, task, source, "interrupted by signal"));
            }
        }
        let seconds = started.elapsed().as_secs();
        let text = format!("{name} sync finished - transferred {} in {seconds}s", human(bytes));
        task.say(worker, &text);
        Ok(())
    }

    fn error(&self, worker: &Worker, task: &Task<'_>, source: &Source, why: &str) -> ApiError {
        let mounts: Vec<&str> = source.trees.iter().map(|(m, _)| m.as_str()).collect();
        let command = source.parts(&worker.host, task).rsync(self.pid, &mounts, &source.not_backed_up);
        ApiError::die(format!("command '{command}' failed: {why}"))
    }

    fn left_out(&self, source: &Source, path: &Path) -> bool {
        let text = path.to_string_lossy();
        self.excludes.matches(&text) || source.not_backed_up.iter().any(|m| *m == text)
    }

    /// The file at which `room` bytes are used up, rsync taking files in the order of their paths.
    fn first_too_large(&self, source: &Source, room: u64) -> String {
        let mut found = BTreeMap::new();
        for (mount, from) in &source.trees {
            files(from, Path::new(mount), &|path| self.left_out(source, path), &mut found);
        }
        let mut sum = 0;
        let too_large = found.into_iter().find(|(_, size)| {
            sum += size;
            sum > room
        });
        too_large.map_or_else(String::new, |(path, _)| path.to_string_lossy().into_owned())
    }

    /// 2/881: rsync's words on a full disk.
    fn failed(
        &self,
        worker: &mut Worker,
        task: &mut Task<'_>,
        source: &Source,
        (text, room): (&str, Option<u64>),
    ) -> ApiError {
        if !(text.contains(FULL) || text.contains("no storage space")) {
            task.journal.error(worker, &format!("rsync: {text}"));
            return self.error(worker, task, source, "exit code 23");
        }
        let tmp = task.settings.shown(&worker.host, &task.tmp);
        let file = self.first_too_large(source, room.unwrap_or_default());
        let lines = [
            format!("rsync: [receiver] write failed on \"{tmp}{file}\": No space left on device (28)"),
            "rsync error: error in file IO (code 11) at receiver.c(657) [receiver=3.5.0]".to_owned(),
            "rsync: [sender] write error: Broken pipe (32)".to_owned(),
        ];
        task.journal.error(worker, &lines.join("\n"));
        self.error(worker, task, source, "exit code 11")
    }
}

/// Files of a tree with the bytes that they take, by their paths in the guest.
fn files(dir: &Path, inside: &Path, left_out: &dyn Fn(&Path) -> bool, found: &mut BTreeMap<PathBuf, u64>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = inside.join(entry.file_name());
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && !left_out(&path) => {
                files(&entry.path(), &path, left_out, found);
            }
            Ok(metadata) if metadata.is_file() && !left_out(&path) => {
                found.insert(path, metadata.blocks() * 512);
            }
            _ => {}
        }
    }
}

/// As `rsync -h` prints sizes.
fn human(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss)]
    let value = bytes as f64;
    match bytes {
        0..1000 => format!("{bytes} bytes"),
        1000..1_000_000 => format!("{:.2}K bytes", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2}M bytes", value / 1e6),
        _ => format!("{:.2}G bytes", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rec 280, 461.
    #[test]
    fn sizes_look_like_rsyncs() {
        assert_eq!(human(0), "0 bytes");
        assert_eq!(human(4_130_000), "4.13M bytes");
        assert_eq!(human(266_270_000), "266.27M bytes");
    }
}
