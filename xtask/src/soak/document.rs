//! `docs/soak.md`: a section a part, each with the run that it is from.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::Part;
use super::counted::{Case, Mutants, Row};
use crate::{bench, run};

const RESULT: &str = "docs/soak.md";
const HEAD: &str = "# Soak\n\nWhat takes too long for each commit, run by `cargo xtask soak --write`; each section is from its last run. A part\nthat is not here was not run to its end yet.\n\n";

/// A part that failed early.
const BROKEN_OFF: &str = "It ended before it had counted anything.\n";

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::Matrix => "## Crash matrix",
            Self::Agent => "## Hostile agent",
            Self::Hub => "## Hostile hub",
            Self::Simulation => "## Simulation",
            Self::Mutants => "## Mutants",
        }
    }
}

/// A part's text under the run that it is from.
pub(super) fn section(root: &Path, good: bool, seed: u64, text: &str) -> Result<String> {
    let commit = run::output(Command::new("git").current_dir(root).args(["rev-parse", "--short", "HEAD"]))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let machine = bench::machine()?.replace(" | ", ", ");
    let end = if good { "all of it ended as it should" } else { "**something did not end as it should**" };
    Ok(format!("{machine}, commit {commit}, seed {seed}; {end}.\n\n{text}"))
}

/// Puts a section in its place; the others stay.
pub(super) fn replace(root: &Path, part: Part, section: &str) -> Result<()> {
    let path = root.join(RESULT);
    let old = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
    fs::write(&path, with_section(&old, part, section)).with_context(|| format!("cannot write {RESULT}"))
}

fn with_section(old: &str, part: Part, section: &str) -> String {
    let mut text = HEAD.to_owned();
    for other in Part::ALL {
        let kept = if other == part { Some(section.trim()) } else { section_of(old, other) };
        if let Some(kept) = kept {
            text.push_str(&format!("{}\n\n{kept}\n\n", other.title()));
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn section_of(text: &str, part: Part) -> Option<&str> {
    let (_, rest) = text.split_once(&format!("{}\n", part.title()))?;
    Some(rest.split("\n## ").next().unwrap_or(rest).trim())
}

pub(super) fn matrix(cases: &[Case]) -> String {
    let cells = |numbers: &[u64; 7]| numbers.map(|n| n.to_string()).join(" | ");
    let rows: String =
        cases.iter().map(|case| format!("| `{}` | {} |\n", case.operation, cells(&case.numbers))).collect();
    if cases.is_empty() {
        return BROKEN_OFF.to_owned();
    }
    let mut sum = [0; 7];
    for case in cases {
        for (total, n) in sum.iter_mut().zip(case.numbers) {
            *total += n;
        }
    }
    format!(
        "A point is a call to Proxmox, a root act or a commit that changes something. Faults at each: a death before and after\n\
         it, and the host losing its power after it; for commits a full and a broken disk; for calls and acts an error for an\n\
         answer, and for calls an answer that is lost. A point is also each phase of each worker of Proxmox, which is killed\n\
         there. A tenth of the cases die again in the recovery, a third of those a third time. A full disk is survived without\n\
         a death. Only where Proxmox did not do what it was told, or said so, an operation may be rolled back, or stand until\n\
         an operator signs a way out. What is not there was not run.\n\n\
         | operation | points | cases | deaths | second | third | rolled back | stood |\n|---|---|---|---|---|---|---|---|\n\
         {rows}| {} operations | {} |\n",
        cases.len(),
        cells(&sum)
    )
}

pub(super) fn agent(rows: &[Row], said: &[&str]) -> String {
    if rows.is_empty() {
        return BROKEN_OFF.to_owned();
    }
    const WORDS: [&str; 7] =
        ["allowed", "busy", "needs people", "refused", "not built", "malformed", "repeated"];
    let row = |row: &Row| {
        let cells = WORDS.map(|word| row.said.get(word).map_or_else(String::new, u64::to_string));
        format!("| `{}` | {} |\n", row.operation, cells.join(" | "))
    };
    let rows: String = rows.iter().map(row).collect();
    let said: String = said.iter().map(|line| format!("* {line}\n")).collect();
    format!(
        "Mutated messages of a real run on the executor's socket; how often each row of the gate was reached with which verdict.\n\
         *busy*: allowed, but another operation held the guest. *not built*: refused before the gate is asked. *malformed*: no\n\
         request. *repeated*: a key that was used before.\n\n\
         | operation | allowed | busy | needs people | refused | not built | malformed | repeated |\n\
         |---|---|---|---|---|---|---|---|\n{rows}\n{said}"
    )
}

pub(super) fn hub(said: Option<&str>) -> String {
    let said = said.map_or_else(|| BROKEN_OFF.to_owned(), |said| format!("* {said}\n"));
    format!(
        "Histories of desired state that a hub in other hands sends: rewritten, older, skipping, of another box, by another key,\n\
         under another context, replayed, with a flipped bit. 10,000 of up to 24 documents each, and the box's history only grows.\n\
         The first one where it does not ends the run.\n\n\
         A hub whose key is in other hands answers agent, executor and simulated host, each the program as it is, after an honest\n\
         history with real signatures: guests that vanish or shrink, jobs of any kind about anything, consents for other\n\
         challenges, floods, other times, noise. After each answer nothing is gone that nobody signed for, by the host's own log, and\n\
         every tenant's bytes are whole. The first lie that destroys something ends the run.\n\n{said}"
    )
}

pub(super) fn simulation(said: Option<&str>) -> String {
    let Some(said) = said else { return BROKEN_OFF.to_owned() };
    format!(
        "Agent, executor and hub, each the program as it is, led by a scheduler: requests lost, late, doubled and answered with an\n\
         older answer, errors and lost answers at Proxmox, kills, clocks off by up to ten years. After each event nothing is gone\n\
         that nobody signed for; in the end, made whole, the box is as it should be and the hub knows. The first seed where that\n\
         is not so ends the run.\n\n* {said}\n"
    )
}

pub(super) fn mutants(all: &[Mutants]) -> String {
    let row = |m: &Mutants| {
        let (noticed, missed) = (m.caught + m.timed_out, m.missed.len());
        let score = 100.0 * noticed as f64 / (noticed + missed).max(1) as f64;
        format!(
            "| `{}` | {} | {} | {} | {missed} | {} | {score:.1} % |\n",
            m.package,
            noticed + missed + m.unviable,
            m.caught,
            m.timed_out,
            m.unviable
        )
    };
    let rows: String = all.iter().map(row).collect();
    let missed: String = all.iter().flat_map(|m| &m.missed).map(|mutant| format!("* `{mutant}`\n")).collect();
    format!(
        "The score is the part of the mutants that build which a test or a timeout noticed. Survivors are explained in\n\
         [assurance.md](assurance.md).\n\n\
         | crate | mutants | caught | timed out | missed | do not build | score |\n|---|---|---|---|---|---|---|\n{rows}\n{missed}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_replaces_its_own_section_only() {
        let first = with_section("", Part::Hub, "hub 1\n");
        let both = with_section(&first, Part::Matrix, "matrix 1\n\n| a |\n");
        let again = with_section(&both, Part::Hub, "hub 2\n");
        assert!(again.starts_with("# Soak\n"));
        assert!(
            again.contains("## Crash matrix\n\nmatrix 1\n\n| a |\n\n## Hostile hub\n\nhub 2\n"),
            "{again}"
        );
        assert!(!again.contains("hub 1"));
    }

    #[test]
    fn a_score_counts_what_builds() {
        let m = Mutants {
            package: "felhom-gate".to_owned(),
            caught: 7,
            timed_out: 1,
            unviable: 5,
            missed: vec!["a.rs:1: x".to_owned(), "b.rs:2: y".to_owned()],
        };
        assert!(mutants(&[m]).contains("| `felhom-gate` | 15 | 7 | 1 | 2 | 5 | 80.0 % |"));
    }
}
