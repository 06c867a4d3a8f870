//! What can be known of a recording before it is replayed: which line starts which task, how long the recording shows it
//! running, which archives it names.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ids::{self, Kind},
    recording::{Line, What},
};

/// A recorded task that a call started.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// `vzdump`.
    pub(crate) kind: String,
    /// The UPID's id.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) start: f64,
    /// The last line that shows it running.
    pub(crate) last_running: Option<usize>,
}

/// The plan.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Recorded UPID → task.
    pub(crate) tasks: BTreeMap<String, Task>,
    /// Starting line → recorded UPID.
    pub(crate) started_by: BTreeMap<usize, String>,
    /// Archive names: (VMID, name, seconds since 1970).
    pub(crate) archives: Vec<(u32, String, f64)>,
    /// VMIDs that calls name.
    pub(crate) vmids: BTreeSet<u32>,
    /// Line → time, filled where it is not recorded.
    pub(crate) times: Vec<f64>,
}

/// Reads a recording's plan.
pub(crate) fn of(lines: &[Line]) -> Plan {
    let mut plan = Plan::default();
    let mut time = 0.0;
    for line in lines {
        time = line.time.unwrap_or(time);
        plan.times.push(time);
        match &line.what {
            What::Http(exchange) => {
                plan.collect(&exchange.answer);
                plan.collect(exchange.body.as_deref().unwrap_or_default());
                plan.collect(&exchange.path);
                plan.vmids_of(&exchange.path, exchange.body.as_deref().unwrap_or_default());
                if let Some(upid) = exchange.upid() {
                    plan.start(line.number, upid);
                }
                let data = exchange.json.as_ref().map(|json| &json["data"]);
                if let Some(data) = data.filter(|data| data["status"] == "running") {
                    let task = data["upid"].as_str().and_then(|upid| plan.tasks.get_mut(upid));
                    if let Some(task) = task {
                        task.last_running = Some(line.number);
                    }
                }
            }
            What::Shell { line, output } => {
                plan.collect(line);
                plan.collect(output);
            }
            What::Raw { response, .. } => {
                plan.collect(response);
                if let Some(found) = ids::find(response).into_iter().find(|found| found.kind == Kind::Upid) {
                    plan.start(line.number, &response[found.start..found.end]);
                }
            }
        }
    }
    plan.archives.sort_by(|a, b| a.1.cmp(&b.1));
    plan.archives.dedup_by(|a, b| a.1 == b.1);
    plan
}

impl Plan {
    /// When the last backup that a line before `line` started, and that takes in this guest, began: its archives are not older.
    pub(crate) fn last_dump(&self, vmid: u32, line: usize) -> Option<f64> {
        let vmid = vmid.to_string();
        let tasks = self.started_by.range(..line).rev().filter_map(|(_, upid)| self.tasks.get(upid));
        let mut dumps = tasks.filter(|task| task.kind == "vzdump");
        dumps.find(|task| task.id.is_empty() || task.id == vmid).map(|task| task.start)
    }

    /// When the next backup begins that this line or a later one starts and that takes in this guest; its archives are not older.
    pub(crate) fn next_dump(&self, vmid: u32, line: usize) -> Option<f64> {
        let vmid = vmid.to_string();
        let tasks = self.started_by.range(line..).filter_map(|(_, upid)| self.tasks.get(upid));
        let mut dumps = tasks.filter(|task| task.kind == "vzdump");
        dumps.find(|task| task.id.is_empty() || task.id == vmid).map(|task| task.start)
    }

    fn start(&mut self, line: usize, upid: &str) {
        let parts: Vec<&str> = upid.split(':').collect();
        let (Some(kind), Some(id)) = (parts.get(5), parts.get(6)) else { return };
        let seconds = parts.get(4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let task = Task {
            kind: (*kind).to_owned(),
            id: (*id).to_owned(),
            start: f64::from(seconds.unwrap_or_default()),
            last_running: None,
        };
        self.tasks.insert(upid.to_owned(), task);
        self.started_by.insert(line, upid.to_owned());
    }

    fn collect(&mut self, text: &str) {
        for found in ids::find(text).into_iter().filter(|found| found.kind == Kind::Archive) {
            let name = &text[found.start..found.end];
            if let (Some(vmid), Some(time)) = (archive_vmid(name), archive_time(name)) {
                self.archives.push((vmid, name.to_owned(), time));
                self.archives.push((vmid, ids::split_archive(name).0.to_owned(), time));
            }
        }
    }

    fn vmids_of(&mut self, path: &str, body: &str) {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let values =
            [body, query].into_iter().flat_map(|form| form.split('&')).filter_map(|p| p.split_once('='));
        let named = values.filter(|(key, _)| ["vmid", "newid", "target-vmid", "vms"].contains(key));
        let lists = named.flat_map(|(_, value)| value.split("%2C")).map(str::to_owned).collect::<Vec<_>>();
        let bare = path.split('?').next().unwrap_or_default().split('/').collect::<Vec<_>>();
        let segments = bare.windows(2).filter(|two| two[0] == "lxc").map(|two| two[1].to_owned());
        let all = lists.into_iter().chain(segments).filter_map(|text| text.parse::<u32>().ok());
        self.vmids.extend(all.filter(|id| (100..1_000_000).contains(id)));
    }
}

/// `vzdump-lxc-101-…` → 101.
pub(crate) fn archive_vmid(name: &str) -> Option<u32> {
    name.split('-').nth(2)?.parse().ok()
}

/// Its time, read as UTC.
pub(crate) fn archive_time(name: &str) -> Option<f64> {
    let (name, _) = ids::split_archive(name);
    let stamp = name.get(name.len().checked_sub(19)?..)?;
    let text = format!("{}T{}Z", stamp.get(..10)?.replace('_', "-"), stamp.get(11..)?.replace('_', ":"));
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_tells_its_guest_and_its_time() {
        let name = "vzdump-lxc-110-2026_11_23-11_28_42";
        assert_eq!((archive_vmid(name), archive_time(name)), (Some(110), Some(1_795_433_322.0)));
    }
}
