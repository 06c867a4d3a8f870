//! Which older archives of a guest go (F67), and the `prunebackups` task.
//!
//! Every rule looks at archives from the newest on and keeps the first one of each period until it has kept as many as it says;
//! an archive that a rule kept before counts for the next rule's periods too. Protected ones are neither counted nor removed.

use std::collections::{BTreeMap, BTreeSet};

use super::disks;
use crate::api::volumes::{self, Backup};
use crate::error::ApiError;
use crate::state::storage::{Storage, Storages};
use crate::task::worker::Worker;

/// A retention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep(Vec<(String, u64)>);

impl Keep {
    /// `keep-last=2,keep-daily=1`.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split(',').filter_map(|p| p.split_once('='));
        let mut all: Vec<(String, u64)> =
            pairs.filter_map(|(k, v)| Some((k.trim().to_owned(), v.trim().parse().ok()?))).collect();
        all.sort();
        // Unrecorded: src/PVE/Storage/Plugin.pm:130 of pve-storage: what keeps nothing keeps all.
        if all.iter().all(|(_, n)| *n == 0) {
            all = vec![("keep-all".to_owned(), 1)];
        }
        Self(all)
    }

    /// Nothing is ever removed.
    pub(crate) fn all(&self) -> bool {
        self.everything() || self.0.iter().all(|(_, n)| *n == 0)
    }

    /// `keep-all=1`: a backup does not even begin to prune.
    pub(crate) fn everything(&self) -> bool {
        self.get("keep-all") > 0
    }

    /// As the log has it: by name, separated by a comma and a blank.
    pub(crate) fn to_text(&self) -> String {
        self.0.iter().map(|(k, n)| format!("{k}={n}")).collect::<Vec<_>>().join(", ")
    }

    /// How many archives there may be, with `remove=0`: the sum of all rules; `None` for no limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        (!self.everything()).then(|| self.0.iter().map(|(_, n)| n).sum())
    }

    fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(k, _)| k == name).map_or(0, |(_, n)| *n)
    }

    /// Indexes that go, of archives given by local time, the newest first.
    pub(crate) fn remove(&self, times: &[jiff::civil::DateTime]) -> BTreeSet<usize> {
        if self.all() {
            return BTreeSet::new();
        }
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        let last = usize::try_from(self.get("keep-last")).unwrap_or(usize::MAX);
        kept.extend((0..times.len()).take(last));
        for (rule, period) in [
            ("keep-hourly", "%Y/%m/%d/%H"),
            ("keep-daily", "%Y/%m/%d"),
            ("keep-weekly", "%G/%V"),
            ("keep-monthly", "%Y/%m"),
            ("keep-yearly", "%Y"),
        ] {
            let of = |index: usize| times[index].strftime(period).to_string();
            let covered: BTreeSet<String> = kept.iter().map(|i| of(*i)).collect();
            let mut new: BTreeSet<String> = BTreeSet::new();
            for index in 0..times.len() {
                let id = of(index);
                if kept.contains(&index) || covered.contains(&id) || new.contains(&id) {
                    continue;
                }
                if new.len() as u64 >= self.get(rule) {
                    break;
                }
                new.insert(id);
                kept.insert(index);
            }
        }
        (0..times.len()).filter(|i| !kept.contains(i)).collect()
    }
}

/// Every archive of a storage, or of one guest on it, with what a prune makes of it: `keep`, `remove`, `protected` or `renamed`
/// (for a name that is none of vzdump's own), in the order of a content list.
pub(crate) fn marks(
    storage: &Storage,
    keep: &Keep,
    vmid: Option<u32>,
) -> Result<Vec<(Backup, &'static str)>, ApiError> {
    let mut all: Vec<Backup> =
        volumes::backups(storage)?.into_iter().filter(|b| vmid.is_none() || b.vmid == vmid).collect();
    all.sort_by(|a, b| (b.ctime, &b.file).cmp(&(a.ctime, &a.file)));
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, backup) in all.iter().enumerate() {
        if let (Some(vmid), false) = (backup.vmid, backup.protected) {
            groups.entry(vmid).or_default().push(index);
        }
    }
    let mut gone = BTreeSet::new();
    for group in groups.values() {
        let times: Vec<_> = group.iter().map(|index| local(all[*index].ctime)).collect();
        gone.extend(keep.remove(&times).into_iter().map(|at| group[at]));
    }
    let mut marked: Vec<(Backup, &'static str)> = all
        .into_iter()
        .enumerate()
        .map(|(index, backup)| {
            let mark = match &backup {
                b if b.protected => "protected",
                b if b.vmid.is_none() => "renamed",
                _ if gone.contains(&index) => "remove",
                _ => "keep",
            };
            (backup, mark)
        })
        .collect();
    marked.sort_by(|(a, _), (b, _)| a.file.cmp(&b.file));
    Ok(marked)
}

/// Local time, by which periods are counted.
pub(crate) fn local(seconds: u64) -> jiff::civil::DateTime {
    let stamp = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()).unwrap_or_default();
    stamp.to_zoned(jiff::tz::TimeZone::system()).datetime()
}

/// The `prunebackups` task (rec 743–750). With nothing to remove its log has no line but the result.
pub(crate) fn run(
    worker: &mut Worker,
    (id, vmid): (&str, Option<u32>),
    keep: Option<&str>,
) -> Result<(), ApiError> {
    let storages = Storages::load(&worker.host)?;
    let storage = storages.enabled(id)?;
    storage.activate(&worker.host)?;
    let own = storage.options.get("prune-backups").map(String::as_str);
    let keep = Keep::parse(keep.or(own).unwrap_or("keep-all=1"));
    for (backup, mark) in marks(storage, &keep, vmid)? {
        if mark == "remove" {
            worker.say(format!("removing backup '{}'", backup.volid(id)));
            let path = storage.dump_dir().join(&backup.file);
            disks::remove_archive(&worker.host, &path)?;
            worker.phase("removed")?;
            disks::remove_side_files(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(days: &[i8]) -> Vec<jiff::civil::DateTime> {
        days.iter().map(|d| jiff::civil::date(2026, 11, *d).at(12, 0, 0, 0)).collect()
    }

    #[test]
    fn keep_last_keeps_the_newest() {
        assert_eq!(Keep::parse("keep-last=2").remove(&times(&[9, 8, 7, 6])), BTreeSet::from([2, 3]));
        assert!(Keep::parse("keep-all=1").remove(&times(&[9, 8])).is_empty());
    }

    #[test]
    fn periods_that_are_covered_do_not_use_up_a_rule() {
        assert_eq!(
            Keep::parse("keep-daily=1,keep-last=2").remove(&times(&[9, 8, 7, 6])),
            BTreeSet::from([3])
        );
    }

    #[test]
    fn the_limit_without_removal_is_the_sum_of_the_rules() {
        assert_eq!(Keep::parse("keep-last=2,keep-daily=1").limit(), Some(3));
        for nothing in ["keep-all=1", "keep-last=0", ""] {
            assert_eq!(Keep::parse(nothing).limit(), None, "{nothing:?}");
        }
        assert_eq!(Keep::parse("keep-last=2,keep-daily=1").to_text(), "keep-daily=1, keep-last=2");
    }
}
