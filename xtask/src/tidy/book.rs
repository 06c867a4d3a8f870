//! The documents that a newcomer opens first stay true: the code map names every crate, invariants are said, and the
//! glossary has each term once.

use std::collections::BTreeMap;

use super::{Finding, deps::Package};

/// The code map.
pub(crate) const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
/// The words.
pub(crate) const GLOSSARY: &str = "docs/GLOSSARY.md";
const RULE: &str = "book";
const INVARIANT: &str = "**Architecture invariant:**";
const FEWEST_INVARIANTS: usize = 20;

/// What the documents miss.
pub(crate) fn check(packages: &[Package], architecture: &str, glossary: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add =
        |place: &str, text: String| findings.push(Finding { place: place.to_owned(), rule: RULE, text });
    for package in packages {
        if !architecture.contains(&format!("`{}`", package.name)) {
            add(ARCHITECTURE, format!("the code map does not name `{}`", package.name));
        }
    }
    let invariants = architecture.matches(INVARIANT).count();
    if invariants < FEWEST_INVARIANTS {
        add(ARCHITECTURE, format!("{invariants} lines of `{INVARIANT}`, at least {FEWEST_INVARIANTS}"));
    }
    let mut terms: BTreeMap<String, usize> = BTreeMap::new();
    for term in glossary.lines().filter_map(|line| line.strip_prefix("**")?.split("**").next()) {
        *terms.entry(term.to_lowercase()).or_default() += 1;
    }
    if terms.is_empty() {
        add(GLOSSARY, "holds no term (a line that starts with `**term**`)".to_owned());
    }
    for (term, times) in terms.iter().filter(|(_, times)| **times > 1) {
        add(GLOSSARY, format!("`{term}` is explained {times} times"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::deps::Layer;

    #[test]
    fn each_gap_is_found() {
        let packages = [Package { name: "felhom-gate".into(), layer: Layer::Pure, dependencies: Vec::new() }];
        let good = format!("`felhom-gate`\n{}", format!("{INVARIANT} x\n").repeat(FEWEST_INVARIANTS));
        assert!(check(&packages, &good, "**Gate** — a\n**Guest** — b\n").is_empty());
        assert_eq!(check(&packages, &good.replace("felhom-gate", "x"), "**Gate** — a\n").len(), 1);
        assert_eq!(check(&packages, &good.replacen(INVARIANT, "", 1), "**Gate** — a\n").len(), 1);
        assert_eq!(check(&packages, &good, "**Gate** — a\n**gate** — b\n").len(), 1);
        assert_eq!(check(&packages, &good, "").len(), 1);
    }
}
