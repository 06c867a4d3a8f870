//! `cargo xtask demo`: every process of Felhom on this machine, doing the main job, judged from outside.
//!
//! Steps: build the programs → a folder of its own → the numbered steps of [`steps`], each of which starts, asks and
//! checks → summary → stay up until Ctrl-C, or leave. Only what a user has is used: the programs' commands, their files of
//! configuration, their `--json`; and the bytes on the simulated host's disk, which only judge.

mod breaks;
mod call;
mod chaos;
mod disk;
mod driver;
mod figures;
mod http;
mod judge;
mod meter;
mod screen;
mod service;
mod steps;
mod summary;
mod world;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

pub(crate) use breaks::BREAKS;
use driver::Demo;
#[cfg(test)]
pub(crate) use figures::{Calls, Flushes};
pub(crate) use figures::{Exchange, Figures, Resident, Rest, figures};
use screen::Screen;
use world::World;

use crate::golden;

/// The status with which a meddled demo ends when the meddling was noticed at the step where it has to be.
pub(crate) const NOTICED: u8 = 10;
/// The status of a meddled demo in which nobody noticed, or not where they should.
const UNNOTICED: u8 = 11;

/// What is started.
const PROGRAMS: [&str; 7] =
    ["pve-sim", "felhom-hub", "felhom-executor", "felhom-agent", "felhom-controller", "felhom", "sample-app"];

/// Options of `demo`.
#[derive(clap::Args)]
#[command(after_help = help())]
pub(crate) struct Args {
    /// Leave after the summary; status 0 only if every step held.
    #[arg(long)]
    exit: bool,
    /// Stop after this step (1 to 9).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    to: Option<u8>,
    /// Meddle from outside; ends with a status that is not 0, 10 if it was noticed at its step.
    #[arg(long = "break", value_name = "NAME", value_parser = breaks::find)]
    meddle: Option<&'static breaks::Break>,
    /// Kill executor and agent with SIGKILL at twelve named points, and start them again.
    #[arg(long, conflicts_with = "meddle")]
    chaos: bool,
    /// Print the summary as one JSON object on standard output; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// How guests run: `lxc` needs root, LXC and mmdebstrap, and takes the real golden image.
    #[arg(long, value_enum, default_value_t = golden::Runtime::Process, conflicts_with_all = ["meddle", "chaos"])]
    runtime: golden::Runtime,
    /// Use the programs in this folder instead of building them.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Use this empty folder and leave everything in it.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn help() -> String {
    let mut text =
        "Examples:\n  cargo xtask demo\n  cargo xtask demo --exit --json\n  cargo xtask demo --to 4 --keep \
                    /tmp/felhom\n  cargo xtask demo --runtime lxc    guests are containers; as root\n\nNames for --break, with the step that must notice:\n"
            .to_owned();
    for broken in &BREAKS {
        text.push_str(&format!("  {:18} step {}  {}\n", broken.name, broken.step, broken.about));
    }
    text.push_str("\nPoints of --chaos:\n");
    for point in &chaos::POINTS {
        text.push_str(&format!("  {point}\n"));
    }
    text
}

/// The command.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let mut screen = Screen::new(args.json);
    let programs = match &args.programs {
        Some(folder) => folder.clone(),
        None => {
            screen.print("building the programs …");
            golden::build_programs(root, golden::Profile::Dev)?
        }
    };
    let world = World::with(args.runtime, &programs, &PROGRAMS, args.keep.as_deref())?;
    screen.restart_clock();
    screen.print(&format!("everything is in {}", world.dir.display()));
    let mut demo = Demo::new(world, screen)?;
    let outcome = steps::run_all(&mut demo, args.to.unwrap_or(9), args.meddle, args.chaos);
    let code = finish(&demo, args, &outcome);
    if outcome.is_ok() && !args.exit {
        demo.stay_up();
    }
    demo.stop();
    Ok(code)
}

/// What a measurement gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    /// `provision_guest`, from its record to its end.
    pub(crate) provision_ms: u64,
    /// Unpacking the same archive with stock tools.
    pub(crate) unpack_ms: u64,
    /// First pause to last resume.
    pub(crate) downtime_ms: u64,
    /// Whether the state folder can share blocks between files.
    pub(crate) reflink: bool,
}

/// Run the first steps with 100 MB of data. `compare` is given the folder and the golden archive, and says how long stock
/// tools take and whether the folder can reflink.
pub(crate) fn measure(
    runtime: golden::Runtime,
    programs: &Path,
    dir: Option<&Path>,
    compare: impl FnOnce(&Path, &Path) -> Result<(u64, bool)>,
) -> Result<Measured> {
    let mut demo = Demo::new(World::with(runtime, programs, &PROGRAMS, dir)?, Screen::new(true))?;
    demo.load = driver::Load {
        notes: 100,
        files: 25,
        file_bytes: 4 << 20,
        ballast_mib: 384,
        profile: golden::Profile::Release,
    };
    let ran = steps::run_all(&mut demo, 4, None, false).map_err(|failure| anyhow::anyhow!("{failure}"));
    let measured = ran.and_then(|()| {
        let golden = demo.facts.golden.as_ref().context("no golden archive")?;
        let (unpack_ms, reflink) = compare(&demo.world.dir, &golden.archive)?;
        let downtime_ms = demo.facts.archive.downtime_ms;
        Ok(Measured { provision_ms: demo.facts.provision_ms, unpack_ms, downtime_ms, reflink })
    });
    demo.stop();
    measured
}

/// Print how it ended, and the status for it.
fn finish(demo: &Demo, args: &Args, outcome: &Result<(), steps::Failure>) -> ExitCode {
    let summary = summary::of(demo, outcome.as_ref().err());
    if args.json {
        println!("{summary}");
    }
    let Some(broken) = args.meddle else {
        return match outcome {
            Ok(()) => {
                demo.screen.print(&summary::page(demo));
                ExitCode::SUCCESS
            }
            Err(failure) => {
                demo.screen.print(&format!("\nFAILED at {failure}"));
                ExitCode::FAILURE
            }
        };
    };
    match outcome {
        Err(failure) if broken.is_noticed_by(failure) => {
            demo.screen.print(&format!("\nNOTICED, as it must be: {failure}"));
            ExitCode::from(NOTICED)
        }
        Err(failure) => {
            let (name, step) = (broken.name, broken.step);
            demo.screen.print(&format!("\n{name}: should end at step {step}, but ended at {failure}"));
            ExitCode::from(UNNOTICED)
        }
        Ok(()) => {
            demo.screen.print(&format!("\n{}: NOBODY NOTICED", broken.name));
            ExitCode::from(UNNOTICED)
        }
    }
}
