//! What the runs of a soak count, read from what they print or leave.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

/// The part of a counted line that says which seed repeats it.
const SEED: &str = "FELHOM_SEED=";

/// What an operation's test of the crash matrix counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) operation: String,
    /// Points, cases, deaths, second and third deaths, rolled back, stood.
    pub(super) numbers: [u64; 7],
}

impl Case {
    /// All lines of this form, by operation.
    pub(super) fn all(output: &str) -> Vec<Self> {
        let mut all: Vec<Self> = output.lines().filter_map(Self::of).collect();
        all.sort_by(|a, b| a.operation.cmp(&b.operation));
        all.dedup();
        all
    }

    /// Reads `KIND: N points, N cases, N deaths, N second deaths, …, FELHOM_SEED=N`.
    fn of(line: &str) -> Option<Self> {
        let (operation, rest) = line.trim().split_once(": ")?;
        line.contains(SEED).then_some(())?;
        let mut words = rest.split(", ").map(|part| part.split(' ').next()?.parse::<u64>().ok());
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = words.next().flatten()?;
        }
        Some(Self { operation: operation.to_owned(), numbers })
    }
}

/// How often a row of the gate said what to a hostile agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) operation: String,
    pub(super) said: BTreeMap<String, u64>,
}

impl Row {
    /// Reads lines `hostile KIND: WORD N, WORD N`.
    pub(super) fn all(output: &str) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for line in output.lines() {
            let Some((operation, rest)) =
                line.trim().strip_prefix("hostile ").and_then(|l| l.split_once(": "))
            else {
                continue;
            };
            if line.contains(SEED) || all.iter().any(|row| row.operation == operation) {
                continue;
            }
            let count = |part: &str| {
                let (word, n) = part.rsplit_once(' ')?;
                Some((word.to_owned(), n.parse().ok()?))
            };
            // `allowed, but busy` has a comma itself.
            let rest = rest.replace("allowed, but busy", "busy");
            let said = rest.split(", ").filter_map(count).collect();
            all.push(Self { operation: operation.to_owned(), said });
        }
        all
    }
}

/// What became of a crate's mutants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mutants {
    pub(super) package: String,
    pub(super) caught: usize,
    pub(super) timed_out: usize,
    pub(super) unviable: usize,
    pub(super) missed: Vec<String>,
}

impl Mutants {
    /// Reads the lists of a run.
    pub(super) fn read(package: &str, folder: &Path) -> Result<Self> {
        let list = |name: &str| -> Result<Vec<String>> {
            let path = folder.join(name);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        Ok(Self {
            package: package.to_owned(),
            caught: list("caught.txt")?.len(),
            timed_out: list("timeout.txt")?.len(),
            unviable: list("unviable.txt")?.len(),
            missed: list("missed.txt")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_read_and_other_lines_are_not() {
        let line = "    backup_guest: 17 points, 10 cases, 7 deaths, 3 second deaths, 1 third deaths, 2 rolled back, \
                    0 stood, FELHOM_SEED=7";
        let read = Case::all(&format!("{line}\n{line}\nnote: 17 points, 10 cases, 7 deaths\nFELHOM_SEED=7"));
        let operation = "backup_guest".to_owned();
        assert_eq!(read, [Case { operation, numbers: [17, 10, 7, 3, 1, 2, 0] }]);
    }

    #[test]
    fn rows_are_read_and_the_summary_is_none() {
        let text = "  hostile stop_guest: allowed 2, allowed, but busy 1, refused 7\nhostile agent: 9 scenarios, FELHOM_SEED=1";
        let [row] = &Row::all(text)[..] else { panic!("one row") };
        assert_eq!(row.operation, "stop_guest");
        assert_eq!(
            row.said,
            [("allowed", 2), ("busy", 1), ("refused", 7)].map(|(w, n)| (w.to_owned(), n)).into()
        );
    }
}
