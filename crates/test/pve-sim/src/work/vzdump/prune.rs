//! Which older archives of a guest go (F67). Pure.
//!
//! Every rule looks at archives from the newest on and keeps the first one of each period until it has kept as many as it says;
//! an archive that a rule kept before counts for the next rule's periods too. Protected ones are neither counted nor removed.

use std::collections::BTreeSet;

/// A retention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keep(Vec<(String, u64)>);

impl Keep {
    /// `keep-last=2,keep-daily=1`.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split(',').filter_map(|p| p.split_once('='));
        let mut all: Vec<(String, u64)> =
            pairs.filter_map(|(k, v)| Some((k.trim().to_owned(), v.trim().parse().ok()?))).collect();
        all.sort();
        Self(all)
    }

    /// Nothing is ever removed.
    pub(super) fn all(&self) -> bool {
        self.get("keep-all") > 0 || self.0.iter().all(|(_, n)| *n == 0)
    }

    /// As the log has it: by name, separated by a comma and a blank.
    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(|(k, n)| format!("{k}={n}")).collect::<Vec<_>>().join(", ")
    }

    /// How many archives there may be, with `remove=0`: the sum of all rules; `None` for no limit.
    pub(super) fn limit(&self) -> Option<u64> {
        (!self.all()).then(|| self.0.iter().map(|(_, n)| n).sum())
    }

    fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(k, _)| k == name).map_or(0, |(_, n)| *n)
    }

    /// Indexes that go, of archives given by local time, the newest first.
    pub(super) fn remove(&self, times: &[jiff::civil::DateTime]) -> BTreeSet<usize> {
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
        assert_eq!(Keep::parse("keep-all=1").limit(), None);
        assert_eq!(Keep::parse("keep-last=2,keep-daily=1").to_text(), "keep-daily=1, keep-last=2");
    }
}
