//! `cargo xtask sim-conformance`: the simulator against the recordings of a genuine node.
//!
//! Steps: read recordings, stage files and rules → a fresh simulator a recording and mode (`plain`, `renamed`) → replay line by
//! line and compare → tables, differences, goals. See `docs/conformance.md`.

mod acts;
mod compare;
mod ids;
mod node;
mod plan;
mod readback;
mod recording;
mod rename;
mod replay;
mod report;
mod request;
mod rules;
mod schema;
mod shell;
mod stage;
mod template;
mod wire;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use compare::Rules;
use recording::Line;
use rename::Rename;
use replay::{Job, Verdict};
use report::Score;

use crate::{run, suite::Count};

const EXAMPLES: &str = "\
Examples:
  cargo xtask sim-conformance                              both recordings, plain and renamed; status 0 only if every goal is met
  cargo xtask sim-conformance --file 1 --plain --until 300 --verbose
  cargo xtask sim-conformance --file 2 --plain --only move-volume,destroy --verbose
  cargo xtask sim-conformance --list-out-of-scope          what is not compared, and why
  PVE_SIM_RECORDINGS=../shared/pve cargo xtask test conformance";

/// Environment variable that names the folder.
const FOLDER: &str = "PVE_SIM_RECORDINGS";

/// The recordings: file, stage folder, lines that have to be in scope, in a hundred.
const FILES: [(&str, &str, f64); 2] =
    [("recordings.jsonl", "recordings", 60.0), ("recordings-2.jsonl", "recordings-2", 50.0)];

/// Options of `sim-conformance`.
#[derive(clap::Args, Default)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder with recordings.jsonl, recordings-2.jsonl and pve-api-schema.json; default: PVE_SIM_RECORDINGS.
    #[arg(long)]
    recordings: Option<PathBuf>,
    /// Report only these steps; the ones before are replayed silently.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Replay up to this line.
    #[arg(long)]
    until: Option<usize>,
    /// Only recordings.jsonl (1) or recordings-2.jsonl (2).
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    file: Option<u8>,
    /// Only with the recorded names.
    #[arg(long, conflicts_with = "renamed")]
    plain: bool,
    /// Only with all VMIDs, names and passwords changed.
    #[arg(long)]
    renamed: bool,
    /// Print every difference.
    #[arg(long, short)]
    verbose: bool,
    /// Print differences in full length.
    #[arg(long)]
    whole: bool,
    /// A line of JSON a recorded line, instead of tables.
    #[arg(long)]
    json: bool,
    /// Print what is out of scope, with the reasons.
    #[arg(long)]
    list_out_of_scope: bool,
}

/// A recording with all that belongs to it.
struct Recording {
    file: &'static str,
    goal: f64,
    lines: Vec<Line>,
    plan: plan::Plan,
    stage: stage::Stage,
    node: node::NodeFile,
}

/// One replay.
struct Outcome {
    verdicts: Vec<Verdict>,
    score: Score,
}

/// The command.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let Some(folder) = args.recordings.clone().or_else(folder) else {
        bail!("no recordings: give --recordings DIR or set {FOLDER}");
    };
    let started = Instant::now();
    let outcomes = replay_all(root, &folder, args)?;
    let mut good = true;
    for (recording, modes) in &outcomes {
        for outcome in modes {
            print_outcome(recording, outcome, args);
            if args.only.is_empty() && args.until.is_none() {
                for miss in outcome.score.misses() {
                    println!("  MISSED: {miss}");
                    good = false;
                }
            }
        }
        good &= same_scores(recording, modes);
    }
    if args.only.is_empty() && args.until.is_none() && !args.json {
        good &= schema_differences(root, &folder) == Some(0);
    }
    if !args.json {
        println!("\n{:.0} s", started.elapsed().as_secs_f64());
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder that the environment names.
pub(crate) fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from).filter(|folder| folder.join(FILES[0].0).is_file())
}

/// As a group of tests: the goals for each recording and mode, the same score in both modes, no unexplained difference from the schema.
///
/// On a machine that is busy with something else a held task can be late, and a line with it; a recording whose goal was missed so is
/// replayed once more, and what the second replay says counts.
pub(crate) fn group(root: &Path) -> Result<Count> {
    let folder = folder().context("no recordings")?;
    let mut count = Count::default();
    for number in 1..=FILES.len() {
        let file = u8::try_from(number).ok();
        let args = Args { file, ..Args::default() };
        let mut outcomes = replay_all(root, &folder, &args)?;
        if !outcomes.iter().all(|(recording, modes)| reached(recording, modes)) {
            print_all(&outcomes, &Args { verbose: true, ..Args::default() });
            println!("\n{}: once more", FILES[number - 1].0);
            outcomes = replay_all(root, &folder, &args)?;
        }
        print_all(&outcomes, &args);
        for (recording, modes) in &outcomes {
            for outcome in modes {
                outcome.score.misses().iter().for_each(|miss| println!("  MISSED: {miss}"));
                count = count + one(outcome.score.misses().is_empty());
            }
            count = count + one(same_scores(recording, modes));
        }
    }
    Ok(count + one(schema_differences(root, &folder) == Some(0)))
}

fn reached(recording: &Recording, modes: &[Outcome]) -> bool {
    modes.iter().all(|outcome| outcome.score.misses().is_empty()) && same_scores(recording, modes)
}

fn print_all(outcomes: &[(Recording, Vec<Outcome>)], args: &Args) {
    for (recording, modes) in outcomes {
        modes.iter().for_each(|outcome| print_outcome(recording, outcome, args));
    }
}

/// Prints where routes differ from the schema.
/// How many differences there are, if it could be compared.
fn schema_differences(root: &Path, folder: &Path) -> Option<usize> {
    let report = match schema::check(&program(root), folder, &root.join("xtask/conformance")) {
        Ok(report) => report,
        Err(error) => {
            println!("\nschema: cannot be compared: {error:#}");
            return None;
        }
    };
    report.differences.iter().for_each(|difference| println!("  schema: {difference}"));
    println!(
        "\nschema: {} routes, {} differences, {} explained",
        report.routes,
        report.differences.len(),
        report.explained
    );
    Some(report.differences.len())
}

fn one(passed: bool) -> Count {
    Count { passed: usize::from(passed), failed: usize::from(!passed), skipped: 0 }
}

fn same_scores(recording: &Recording, modes: &[Outcome]) -> bool {
    let [plain, renamed] = modes else { return true };
    let same = plain.score.total == renamed.score.total;
    if !same {
        println!("\n{}: the renamed replay has another score than the plain one:", recording.file);
    }
    for ((line, a), b) in recording.lines.iter().zip(&plain.verdicts).zip(&renamed.verdicts) {
        if std::mem::discriminant(a) != std::mem::discriminant(b) {
            let bad = if matches!(a, Verdict::Differs(_)) { ("plain", a) } else { ("renamed", b) };
            let Verdict::Differs(differences) = bad.1 else { continue };
            print!("  differs {} only: {}", bad.0, report::describe(line, differences, false));
        }
    }
    same
}

fn replay_all(root: &Path, folder: &Path, args: &Args) -> Result<Vec<(Recording, Vec<Outcome>)>> {
    run::check(&mut run::cargo_command(root, &["build", "--quiet", "-p", "pve-sim"]))?;
    let program = program(root);
    let home = root.join("xtask/conformance");
    let rules = Rules::parse(&fs::read_to_string(home.join("volatile.toml"))?)?;
    let mut recordings = Vec::new();
    for (at, (file, stage, goal)) in FILES.into_iter().enumerate() {
        if args.file.is_none_or(|wanted| usize::from(wanted) == at + 1) {
            recordings.push(read(folder, &home, (file, stage, goal))?);
        }
    }
    let mut all = Vec::new();
    // Two at a time: as many as the smallest machine has processors.
    for recording in recordings {
        let mut modes: Vec<(&'static str, Rename)> = Vec::new();
        if !args.renamed {
            modes.push(("plain", Rename::plain()));
        }
        if !args.plain {
            let names = recording.node.names.iter().cloned().collect();
            modes.push(("renamed", Rename::new(&names, &recording.plan.vmids)));
        }
        let until = args.until.unwrap_or(usize::MAX);
        let verdicts: Vec<Result<(&'static str, Vec<Verdict>)>> = thread::scope(|scope| {
            let (recording, rules, program) = (&recording, &rules, &program);
            let threads: Vec<_> = modes
                .into_iter()
                .map(|(mode, rename)| {
                    scope.spawn(move || {
                        let job = Job {
                            program,
                            lines: &recording.lines,
                            plan: &recording.plan,
                            stage: &recording.stage,
                            node: &recording.node,
                            rules,
                            until,
                            verbose: args.verbose,
                        };
                        replay::replay(&job, rename).map(|verdicts| (mode, verdicts))
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| bail!("a replay panicked"))).collect()
        });
        let mut outcomes = Vec::new();
        for result in verdicts {
            let (mode, mut verdicts) = result.with_context(|| recording.file)?;
            readback::apply(&recording.lines, &recording.plan, &mut verdicts);
            let score = report::score(recording.file, mode, recording.goal, &recording.lines, &verdicts);
            outcomes.push(Outcome { verdicts, score });
        }
        all.push((recording, outcomes));
    }
    Ok(all)
}

fn program(root: &Path) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    target.join("debug/pve-sim")
}

fn read(folder: &Path, home: &Path, (file, stage, goal): (&'static str, &str, f64)) -> Result<Recording> {
    let lines = recording::load(&folder.join(file))?;
    let home = home.join(stage);
    let plan = plan::of(&lines);
    Ok(Recording {
        file,
        goal,
        plan,
        lines,
        stage: stage::load(&home)?,
        node: node::load(&home.join("node.toml"))?,
    })
}

fn print_outcome(recording: &Recording, outcome: &Outcome, args: &Args) {
    let wanted = |line: &Line| {
        args.only.is_empty()
            || args.only.iter().any(|only| *only == line.step || *only == stage::slug(&line.step))
    };
    let lines = || recording.lines.iter().zip(&outcome.verdicts).filter(|(line, _)| wanted(line));
    if args.json {
        for (line, verdict) in lines() {
            let mut json = report::to_json(line, verdict);
            json["file"] = recording.file.into();
            json["mode"] = outcome.score.mode.into();
            println!("{json}");
        }
        return;
    }
    if args.list_out_of_scope {
        for (line, verdict) in lines() {
            if let Verdict::Out(reason) = verdict {
                print!("{}", report::describe(line, &[], false));
                println!("        out of scope: {reason}");
            }
        }
    }
    if args.verbose {
        for (line, verdict) in lines() {
            if let Verdict::Differs(differences) = verdict {
                print!("{}", report::describe(line, differences, args.whole));
            }
        }
    }
    print!("{}", outcome.score.table());
}
