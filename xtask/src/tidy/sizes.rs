//! Files hold at most 500 production lines, functions at most 70. What is longer stands in a list, and its number may only
//! go down. A production line holds code and is not under `#[cfg(test)]`; comments and blank lines are free. The gate as a
//! whole holds at most 2,000 lines, so that one person can read it in one sitting.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};

use super::{Finding, source::Source};

/// The list of what is too long today, relative to the workspace.
pub(crate) const RATCHET: &str = "xtask/tidy-ratchet.txt";
const RULE: &str = "size";
const FILE_LIMIT: usize = 500;
const FUNCTION_LIMIT: usize = 70;
/// All that decides whether something may be destroyed.
const GATE: &str = "crates/pure/gate/src/";
const GATE_LIMIT: usize = 2000;

/// Names of files and functions that are too long, with their lines.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ratchet(BTreeMap<String, usize>);

impl Ratchet {
    /// Read the list: one `NUMBER NAME` a line, `#` starts a comment.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (number, name) =
                line.split_once(' ').with_context(|| format!("{RATCHET}: `{line}` is not NUMBER NAME"))?;
            let number = number.parse().with_context(|| format!("{RATCHET}: `{number}` is no number"))?;
            entries.insert(name.trim().to_owned(), number);
        }
        Ok(Self(entries))
    }

    /// The list with each number at what is there now, where that is smaller; what is no longer too long goes out.
    pub(crate) fn lowered_to(&self, now: &Ratchet) -> Self {
        let lower = |(name, allowed): (&String, &usize)| Some((name.clone(), *now.0.get(name)?.min(allowed)));
        Self(self.0.iter().filter_map(lower).collect())
    }
}

impl fmt::Display for Ratchet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Production lines of files (over {FILE_LIMIT}) and functions (over {FUNCTION_LIMIT}) that are too long today."
        )?;
        writeln!(f, "# Numbers only go down: `cargo xtask tidy --shrink` after each cut. Nothing is added.")?;
        self.0.iter().try_for_each(|(name, lines)| writeln!(f, "{lines} {name}"))
    }
}

/// Everything over its limit.
pub(crate) fn excesses(sources: &[Source]) -> Ratchet {
    let mut found = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test_file()) {
        let lines = source.production_lines();
        if lines > FILE_LIMIT {
            found.insert(source.path.clone(), lines);
        }
        for function in source.functions() {
            let lines = (function.first..=function.last).filter(|line| source.is_production(*line)).count();
            if lines > FUNCTION_LIMIT {
                found.insert(format!("{}::{}", source.path, function.name), lines);
            }
        }
    }
    Ratchet(found)
}

/// What is longer than the list allows, and what the list allows without need.
pub(crate) fn check(sources: &[Source], allowed: &Ratchet) -> Vec<Finding> {
    let now = excesses(sources);
    let mut findings = Vec::new();
    let mut add =
        |name: &str, text: String| findings.push(Finding { place: name.to_owned(), rule: RULE, text });
    for (name, lines) in &now.0 {
        let limit = if name.contains("::") { FUNCTION_LIMIT } else { FILE_LIMIT };
        match allowed.0.get(name) {
            None => add(name, format!("{lines} production lines, at most {limit}; cut it")),
            Some(most) if lines > most => {
                add(name, format!("grew from {most} to {lines} production lines (limit {limit}); cut it"))
            }
            Some(most) if lines < most => {
                add(name, format!("is down from {most} to {lines}; `cargo xtask tidy --shrink`"))
            }
            Some(_) => {}
        }
    }
    for name in allowed.0.keys().filter(|name| !now.0.contains_key(*name)) {
        add(name, "is no longer too long; `cargo xtask tidy --shrink`".to_owned());
    }
    let gate: usize = sources.iter().filter(|source| source.path.starts_with(GATE)).map(written_lines).sum();
    if gate > GATE_LIMIT {
        add(GATE, format!("{gate} lines without blank and comment lines, at most {GATE_LIMIT}; cut it"));
    }
    findings
}

/// Lines that are neither blank nor only a comment, also those of unit tests.
fn written_lines(source: &Source) -> usize {
    let written = |line: &&String| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    source.raw.iter().filter(written).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> Source {
        Source::parse(
            "crates/app/x/src/a.rs".into(),
            &format!("fn long() {{\n{}}}\n", "    a();\n    // why\n".repeat(lines - 2)),
        )
    }

    fn file(lines: usize) -> Source {
        Source::parse("crates/app/x/src/b.rs".into(), &"use a;\n".repeat(lines))
    }

    #[test]
    fn limits_are_exact() {
        assert!(check(&[function(70), file(500)], &Ratchet::default()).is_empty());
        let found = check(&[function(71), file(501)], &Ratchet::default());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|finding| finding.place == "crates/app/x/src/a.rs::long"));
    }

    #[test]
    fn tests_are_not_counted() {
        let text = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "use a;\n".repeat(600));
        assert!(
            check(&[Source::parse("crates/app/x/src/c.rs".into(), &text)], &Ratchet::default()).is_empty()
        );
        let text = "use a;\n".repeat(600);
        assert!(
            check(&[Source::parse("crates/app/x/tests/it/main.rs".into(), &text)], &Ratchet::default())
                .is_empty()
        );
    }

    #[test]
    fn the_gate_as_a_whole_has_its_own_limit() {
        let gate = |name: &str, lines| {
            let text = format!("//! Doc.\n\n{}    // why\n", "use a;\n".repeat(lines));
            Source::parse(format!("crates/pure/gate/{name}"), &text)
        };
        let mut sources: Vec<_> = (0..4).map(|n| gate(&format!("src/rows/{n}.rs"), 500)).collect();
        sources.push(gate("tests/it/rows.rs", 500));
        assert!(check(&sources, &Ratchet::default()).is_empty());
        sources.push(gate("src/lib.rs", 1));
        let found = check(&sources, &Ratchet::default());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].place == GATE && found[0].text.contains("2001"));
    }

    #[test]
    fn the_ratchet_only_goes_down() {
        let allowed = Ratchet::parse("# comment\n600 crates/app/x/src/b.rs\n").unwrap();
        assert!(check(&[file(600)], &allowed).is_empty());
        assert!(check(&[file(601)], &allowed)[0].text.contains("grew"));
        assert!(check(&[file(599)], &allowed)[0].text.contains("down"));
        assert!(check(&[file(10)], &allowed)[0].text.contains("no longer"));
        assert_eq!(allowed.lowered_to(&excesses(&[file(700)])), allowed);
        assert_eq!(
            allowed.lowered_to(&excesses(&[file(550)])),
            Ratchet::parse("550 crates/app/x/src/b.rs").unwrap()
        );
        assert_eq!(allowed.lowered_to(&excesses(&[file(5)])), Ratchet::default());
        assert!(Ratchet::parse("many a.rs").is_err());
    }
}
