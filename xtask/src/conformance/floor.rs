//! What has been reached already, so that nothing gets worse on the way to the goals: `xtask/conformance/floor.toml`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::report::Score;

/// Matched lines that may not become fewer, differences from the schema that may not become more.
#[derive(Debug, Deserialize)]
pub(crate) struct Floor {
    /// By recording, in each mode.
    matched: BTreeMap<String, usize>,
    /// Differences from the schema.
    schema: usize,
}

impl Floor {
    /// Reads it.
    ///
    /// # Errors
    /// The file is not there or is no such TOML.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Whether a replay matched enough; says so.
    pub(crate) fn holds(&self, score: &Score) -> bool {
        let floor = self.matched.get(&score.file).copied().unwrap_or(usize::MAX);
        let matched = score.total.matched;
        println!("  {} ({}): {matched} matched, at least {floor} have to", score.file, score.mode);
        matched >= floor
    }

    /// Whether there are no more differences from the schema than known; says so.
    pub(crate) fn schema_holds(&self, found: usize) -> bool {
        println!("  schema: {found} differences, at most {} are known", self.schema);
        found <= self.schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::report::Tally;

    fn score(file: &str, matched: usize) -> Score {
        let total = Tally { matched, scope: 10, out: 0 };
        let (tenth, rest) = (Tally::default(), Tally::default());
        Score { file: file.into(), mode: "plain", coverage_goal: 0.0, steps: Vec::new(), total, tenth, rest }
    }

    #[test]
    fn fewer_lines_more_differences_and_unknown_files_fail() {
        let floor: Floor = toml::from_str("schema = 2\n[matched]\n\"a\" = 5\n").unwrap();
        assert!(floor.holds(&score("a", 5)));
        assert!(!floor.holds(&score("a", 4)));
        assert!(!floor.holds(&score("b", 10)));
        assert!(floor.schema_holds(2));
        assert!(!floor.schema_holds(3));
    }
}
