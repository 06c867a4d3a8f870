//! `cargo xtask soak`: what takes too long for each commit, complete, and its last result in `docs/soak.md`.
//!
//! Steps: run the crash matrix with every point, fault and a tenth of second faults → collect what each operation counted →
//! print, and with `--write` put it into the document, with date, machine, commit and seed. A run that failed is written too.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};

use crate::{bench, run};

const RESULT: &str = "docs/soak.md";
/// The part of a counted line that says which seed repeats it.
const SEED: &str = "FELHOM_SEED=";

/// Options of `soak`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask soak\n  cargo xtask soak --seed 7 --write\n  cargo xtask soak --only of_backup"
)]
pub(crate) struct Args {
    /// The seed of which second faults are chosen and where.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only operations whose test has this in its name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Put the result into docs/soak.md.
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// What an operation's test counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    operation: String,
    points: u64,
    cases: u64,
    deaths: u64,
    again: u64,
}

impl Counted {
    /// Reads `KIND: N points, N cases of N, N deaths, N second deaths, FELHOM_SEED=N`.
    fn of(line: &str) -> Option<Self> {
        let (operation, rest) = line.trim().split_once(": ")?;
        let mut numbers = rest.split(", ").map(|part| part.split(' ').next()?.parse::<u64>().ok());
        let mut number = || numbers.next().flatten();
        line.contains(SEED).then_some(())?;
        let (points, cases, deaths, again) = (number()?, number()?, number()?, number()?);
        Some(Self { operation: operation.to_owned(), points, cases, deaths, again })
    }

    fn row(&self) -> String {
        let Self { operation, points, cases, deaths, again } = self;
        format!("| `{operation}` | {points} | {cases} | {deaths} | {again} |\n")
    }
}

/// Runs it.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    run::check(&mut run::cargo_command(root, &["build", "-p", "pve-sim"]))?;
    let filter = format!("test(matrix::{})", args.only.as_deref().unwrap_or_default());
    let mut tests = run::cargo_command(
        root,
        &["nextest", "run", "-p", "felhom-executor", "--profile", "soak", "--success-output", "final", "-E"],
    );
    tests.arg(&filter).env("FELHOM_SOAK", "1").env("FELHOM_SEED", args.seed.to_string());
    let (status, output) = run::tee(&mut tests)?;
    let mut counted: Vec<Counted> = output.lines().filter_map(Counted::of).collect();
    counted.sort_by(|a, b| a.operation.cmp(&b.operation));
    counted.dedup();
    ensure!(!counted.is_empty(), "no operation of the crash matrix counted anything");
    let failed = output.lines().filter(|line| line.trim_start().starts_with("FAIL ")).count();
    let text = document(root, args.seed, &counted, status.success())?;
    println!("{text}");
    if args.write {
        fs::write(root.join(RESULT), &text).with_context(|| format!("cannot write {RESULT}"))?;
    }
    println!("{} operations, {failed} failed lines, seed {}", counted.len(), args.seed);
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn document(root: &Path, seed: u64, counted: &[Counted], good: bool) -> Result<String> {
    let commit = run::output(Command::new("git").current_dir(root).args(["rev-parse", "--short", "HEAD"]))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let machine = bench::machine()?.replace(" | ", ", ");
    let sum = |of: fn(&Counted) -> u64| counted.iter().map(of).sum::<u64>();
    let (points, cases) = (sum(|c| c.points), sum(|c| c.cases));
    let (deaths, again) = (sum(|c| c.deaths), sum(|c| c.again));
    let end =
        if good { "every case ended as it should" } else { "**at least one case did not end as it should**" };
    let rows: String = counted.iter().map(Counted::row).collect();
    Ok(format!(
        "# Soak\n\nThe last run of `cargo xtask soak --write`: {machine}, commit {commit}, seed {seed}; {end}.\n\n\
         A point is a call to Proxmox, a root act or a commit that changes something. Faults at each: a death before and after\n\
         it, the host dying with it, and for commits a full and a broken disk; a tenth of the cases die a second time in the\n\
         recovery. A full disk is survived without a death. What is not there was not run.\n\n\
         | operation | points | cases | deaths | second deaths |\n|---|---|---|---|---|\n{rows}\
         | {} operations | {points} | {cases} | {deaths} | {again} |\n",
        counted.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_read_and_other_lines_are_not() {
        let line = "    backup_guest: 17 points, 10 cases of 81, 7 deaths, 3 second deaths, FELHOM_SEED=7";
        let operation = "backup_guest".to_owned();
        assert_eq!(
            Counted::of(line),
            Some(Counted { operation, points: 17, cases: 10, deaths: 7, again: 3 })
        );
        assert_eq!(Counted::of("note: 17 points, 10 cases of 81, 7 deaths"), None);
        assert_eq!(Counted::of("FELHOM_SEED=7"), None);
    }
}
