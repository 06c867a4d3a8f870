//! `cargo xtask soak`: what takes too long for each commit, complete, and its last result in `docs/soak.md`.
//!
//! | part | what |
//! |---|---|
//! | `matrix` | the crash matrix with every point and fault, a tenth of second and third deaths |
//! | `agent` | a hostile agent on the executor's socket, 10,000 scenarios |
//! | `hub` | a hostile hub: histories of desired state, 10,000, and 10,000 lies to a whole box |
//! | `simulation` | agent, executor and hub under a scheduler with a seed, 100 seeds |
//! | `mutants` | each mutant of `gate` and `signing` against their tests (needs cargo-mutants) |
//!
//! Each part runs, counts, and with `--write` replaces its own section, with date, machine, commit and seed. A part that failed is
//! written too.

mod counted;
mod document;

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};

use self::counted::{Case, Mutants, Row};
use crate::run;

/// Options of `soak`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask soak\n  cargo xtask soak --seed 7 --write\n  cargo xtask soak --part agent --write\n  cargo xtask soak --part matrix --only of_backup"
)]
pub(crate) struct Args {
    /// Run only this part; may be given several times.
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// The seed of which second faults are chosen and where, and of hostile messages.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of the matrix only operations whose test has this in its name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Put the result into docs/soak.md.
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The crash matrix.
    Matrix,
    /// The hostile agent.
    Agent,
    /// The hostile hub.
    Hub,
    /// Agent, executor and hub under a scheduler.
    Simulation,
    /// Mutants of gate and signing.
    Mutants,
}

impl Part {
    const ALL: [Self; 5] = [Self::Matrix, Self::Agent, Self::Hub, Self::Simulation, Self::Mutants];
}

/// Runs it.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let parts = if args.part.is_empty() { Part::ALL.to_vec() } else { args.part.clone() };
    let mut all_good = true;
    for part in parts {
        let (good, text) = match part {
            Part::Matrix => matrix(root, args)?,
            Part::Agent => agent(root, args)?,
            Part::Hub => hub(root, args)?,
            Part::Simulation => simulation(root, args)?,
            Part::Mutants => mutants(root)?,
        };
        println!("{text}");
        if args.write {
            document::replace(root, part, &document::section(root, good, args.seed, &text)?)?;
        }
        all_good &= good;
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs tests in full; whether they held, and what they printed.
fn tests(root: &Path, package: &str, filter: &str, seed: u64) -> Result<(bool, String)> {
    let mut tests = run::cargo_command(
        root,
        &["nextest", "run", "-p", package, "--profile", "soak", "--success-output", "final", "-E", filter],
    );
    tests.env("FELHOM_SOAK", "1").env("FELHOM_SEED", seed.to_string()).env("PROPTEST_CASES", "10000");
    let (status, output) = run::tee(&mut tests)?;
    Ok((status.success(), output))
}

fn matrix(root: &Path, args: &Args) -> Result<(bool, String)> {
    run::check(&mut run::cargo_command(root, &["build", "-p", "pve-sim"]))?;
    let filter = format!("test(matrix::{})", args.only.as_deref().unwrap_or_default());
    let (good, output) = tests(root, "felhom-executor", &filter, args.seed)?;
    let cases = Case::all(&output);
    ensure!(!(good && cases.is_empty()), "no operation of the crash matrix counted anything");
    Ok((good, document::matrix(&cases)))
}

fn agent(root: &Path, args: &Args) -> Result<(bool, String)> {
    run::check(&mut run::cargo_command(root, &["build", "-p", "pve-sim"]))?;
    let (good, output) = tests(root, "felhom-executor", "test(hostile_agent)", args.seed)?;
    let rows = Row::all(&output);
    ensure!(!(good && rows.is_empty()), "no row of the gate was counted");
    let lines = output.lines().map(str::trim);
    let said: Vec<&str> =
        lines.filter(|line| line.starts_with("hostile agent: ") || line.starts_with("answers: ")).collect();
    Ok((good, document::agent(&rows, &said)))
}

fn hub(root: &Path, args: &Args) -> Result<(bool, String)> {
    let (histories, _) = tests(root, "felhom-agent", "test(hostile_hub)", args.seed)?;
    build_parts(root)?;
    let (lies, output) = tests(root, "felhom-simulation", "test(a_hub_in_other_hands)", args.seed)?;
    let said = output.lines().map(str::trim).find(|line| line.starts_with("hostile hub: "));
    Ok((histories && lies, document::hub(said)))
}

fn simulation(root: &Path, args: &Args) -> Result<(bool, String)> {
    build_parts(root)?;
    let (good, output) = tests(root, "felhom-simulation", "test(a_seed)", args.seed)?;
    let said = output.lines().map(str::trim).find(|line| line.starts_with("simulation: "));
    Ok((good, document::simulation(said)))
}

/// Builds what the simulation leads.
fn build_parts(root: &Path) -> Result<()> {
    let programs = ["pve-sim", "felhom-executor", "felhom-agent", "felhom-hub"];
    let build: Vec<&str> =
        ["build"].into_iter().chain(programs.iter().flat_map(|name| ["-p", name])).collect();
    run::check(&mut run::cargo_command(root, &build))
}

/// Mutants that nothing caught are explained in docs/assurance.md; there are some always, so they are no failure.
fn mutants(root: &Path) -> Result<(bool, String)> {
    ensure!(
        run::has_cargo_tool("mutants"),
        "cargo-mutants is missing; `cargo install --locked cargo-mutants` brings it"
    );
    let mut all = Vec::new();
    for package in ["felhom-gate", "felhom-signing"] {
        let out = root.join("target/soak-mutants").join(package);
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(root).args(["mutants", "-p", package, "--timeout", "180", "-o"]).arg(&out);
        if run::has_cargo_tool("nextest") {
            // The first test that notices is enough, and nobody reads a smaller example of what it noticed.
            command.args(["--test-tool", "nextest", "--cargo-test-arg=--fail-fast"]);
        }
        // Else what one mutant failed on is tried first of all others.
        command.env("PROPTEST_MAX_SHRINK_ITERS", "0").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        // Its status tells of survivors only; the counts tell of them as well.
        let _ = run::tee(&mut command)?;
        let found = Mutants::read(package, &out.join("mutants.out"))
            .with_context(|| format!("the result of {package}"))?;
        all.push(found);
    }
    Ok((true, document::mutants(&all)))
}
