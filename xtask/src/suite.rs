//! `cargo xtask test`: every group of tests that this machine can run, and one honest table at the end.
//!
//! Steps: choose the groups → for each: can it run here, or be made to? run it, read its own count → print the table and the
//! closing line → non-zero if anything failed. A group that cannot run says why and what would enable it; it never counts as
//! passed, and with `--require` it counts as failed.

mod count;
mod needs;
mod proxmoxer;
mod table;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{conformance, demo, first_box, fuzz, golden, run};

pub(crate) use count::Count;
use needs::Needs;

/// Options of `test`.
#[derive(clap::Args, Default)]
#[command(
    after_help = "Examples:\n  cargo xtask test                 everything this machine can run\n  cargo xtask test unit doc        only these groups\n  cargo xtask test --list          the groups and whether they can run here\n  cargo xtask test --require all   a group that cannot run is a failure\n\nAs root on Debian, a group's missing packages are named and installed; --no-install leaves the group out instead."
)]
pub(crate) struct Args {
    /// Groups to run; all of them if none is named.
    groups: Vec<String>,
    /// Print the groups and whether they can run here, and leave.
    #[arg(long)]
    list: bool,
    /// Install nothing, also as root: a group that lacks something is left out.
    #[arg(long)]
    no_install: bool,
    /// Groups that have to run; `all` is all but those whose recordings are not there.
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    require: Vec<String>,
}

impl Args {
    /// All groups, and each must run.
    pub(crate) fn complete() -> Self {
        Self { require: vec![ALL.to_owned()], ..Self::default() }
    }

    fn requires(&self, group: &Group) -> bool {
        self.require.iter().any(|name| name == group.name || (name == ALL && group.in_all))
    }
}

/// Every group, as a name.
const ALL: &str = "all";

/// A group of tests.
struct Group {
    name: &'static str,
    about: &'static str,
    needs: Needs,
    /// Whether `--require all` means it, too.
    in_all: bool,
    work: fn(&Path) -> Result<Count>,
}

/// How a group ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran.
    Ran(Count, Duration),
    /// It did not, for this reason.
    Skipped(String),
    /// It had to, and did not for this reason.
    Lacking(String),
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The group's name.
    pub(crate) group: String,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

/// What tests with containers call.
const LXC: Needs = Needs {
    root: true,
    programs: &[
        ("lxc-start", "lxc"),
        ("newuidmap", "uidmap"),
        ("dnsmasq", "dnsmasq-base"),
        ("ip", "iproute2"),
        ("busybox", "busybox-static"),
        ("systemd-sysusers", "systemd"),
    ],
    works: &[],
    lines: &[("/etc/subuid", "root:100000:65536"), ("/etc/subgid", "root:100000:65536")],
    more: None,
};

/// The same, and what builds Debian.
const GOLDEN: Needs = Needs {
    programs: &[
        ("lxc-start", "lxc"),
        ("newuidmap", "uidmap"),
        ("dnsmasq", "dnsmasq-base"),
        ("ip", "iproute2"),
        ("mmdebstrap", "mmdebstrap"),
        ("strip", "binutils"),
        ("ssh-keygen", "openssh-client"),
    ],
    ..LXC
};

/// A container with Debian in it.
const FIRST_BOX: Needs = Needs {
    programs: &[
        ("lxc-start", "lxc"),
        ("mmdebstrap", "mmdebstrap"),
        ("strip", "binutils"),
        ("ssh-keygen", "openssh-client"),
    ],
    lines: &[],
    ..LXC
};

fn groups() -> Vec<Group> {
    let group = |name, about, needs, work| Group { name, about, needs, in_all: true, work };
    let none = Needs::default();
    vec![
        group("unit", "unit and integration tests of every crate", none, unit as fn(&Path) -> Result<Count>),
        group("doc", "examples in the documentation", none, doc),
        group("demo", "the whole system once, judged from outside", none, demo_plain),
        group("breaks", "the demo meddled with, each must be noticed", none, demo_breaks),
        group("chaos", "the demo with kill -9 at named points", none, demo_chaos),
        Group {
            in_all: false,
            ..group(
                "conformance",
                "the simulator against recordings of a genuine node",
                Needs { more: Some(no_recordings), ..none },
                conformance::group,
            )
        },
        group("proxmoxer", "a real client against the simulator", proxmoxer::NEEDS, proxmoxer::work),
        group(
            "fuzz",
            "parsers of the simulator and of signed documents under libFuzzer",
            Needs { programs: &[("c++", "g++")], ..none },
            fuzz::group,
        ),
        group("lxc", "guests as real containers, and what else only root can do", LXC, lxc),
        group(
            "golden",
            "the image of customers' guests: built twice, booted, tried out",
            GOLDEN,
            golden::group,
        ),
        group(
            "first-box",
            "docs/operator/first-box.md, its commands and units under a real systemd",
            FIRST_BOX,
            first_box::group,
        ),
    ]
}

fn no_recordings() -> Option<String> {
    conformance::folder().is_none().then(|| "no recordings; set PVE_SIM_RECORDINGS".to_owned())
}

/// The command.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let all = groups();
    let known = |name: &String| name == ALL || all.iter().any(|group| group.name == name.as_str());
    if let Some(unknown) = args.groups.iter().chain(&args.require).find(|name| !known(name)) {
        let names: Vec<_> = all.iter().map(|group| group.name).collect();
        bail!("no group `{unknown}`; there are: {}", names.join(", "));
    }
    if args.list {
        for group in &all {
            let missing = group.needs.missing().map(|missing| missing.reason(group.name));
            println!("{:11} {:64} {}", group.name, group.about, missing.as_deref().unwrap_or("can run here"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = |group: &&Group| {
        args.groups.is_empty() || args.groups.iter().any(|name| name == group.name || name == ALL)
    };
    let mut rows = Vec::new();
    for group in all.iter().filter(chosen) {
        let outcome = match lacking(group, args) {
            Some(reason) if args.requires(group) => Outcome::Lacking(reason),
            Some(reason) => Outcome::Skipped(reason),
            None => run_group(root, group),
        };
        rows.push(Row { group: group.name.to_owned(), outcome });
    }
    print!("\n{}", table::render(&rows));
    Ok(if table::total(&rows).failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why a group cannot run here, after what it lacks was brought if that may be.
fn lacking(group: &Group, args: &Args) -> Option<String> {
    let missing = group.needs.missing()?;
    if args.no_install || !missing.can_be_brought() {
        return Some(missing.reason(group.name));
    }
    println!("── test {}: brings what it lacks (--no-install leaves it out instead)", group.name);
    if let Err(error) = missing.bring() {
        return Some(format!("{} (tried: {error:#})", missing.reason(group.name)));
    }
    group.needs.missing().map(|missing| missing.reason(group.name))
}

fn run_group(root: &Path, group: &Group) -> Outcome {
    println!("── test {}: {}", group.name, group.about);
    let started = Instant::now();
    let count = (group.work)(root).unwrap_or_else(|error| {
        eprintln!("error: {}: {error:#}", group.name);
        Count { failed: 1, ..Count::default() }
    });
    Outcome::Ran(count, started.elapsed())
}

fn unit(root: &Path) -> Result<Count> {
    if run::has_cargo_tool("nextest") {
        let args = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--no-tests", "pass"];
        let mut tests = run::cargo_command(root, &args);
        // Tests wait for processes as often as they compute: one more at once than there are processors.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        tests.args(["--test-threads", &(cores + 1).to_string()]);
        let (status, text) = run::tee(&mut tests)?;
        return count::nextest(&text).or_failed(status.success());
    }
    println!("   cargo-nextest is missing (`cargo install --locked cargo-nextest`); `cargo test` instead");
    let args = ["test", "--workspace", "--lib", "--bins", "--tests", "--locked", "--no-fail-fast"];
    let (status, text) = run::tee(&mut run::cargo_command(root, &args))?;
    count::libtest(&text).or_failed(status.success())
}

fn doc(root: &Path) -> Result<Count> {
    let args = ["test", "--workspace", "--doc", "--locked", "--no-fail-fast"];
    let (status, text) = run::tee(&mut run::cargo_command(root, &args))?;
    count::libtest(&text).or_failed(status.success())
}

/// Tests that plain runs leave out: they are ignored there, and chosen here by name.
fn lxc(root: &Path) -> Result<Count> {
    let args = [
        "nextest",
        "run",
        "-p",
        "pve-sim",
        "-p",
        "felhom-executor",
        "--locked",
        "--no-fail-fast",
        "--run-ignored",
        "only",
    ];
    let mut tests = run::cargo_command(root, &args);
    let (status, text) = run::tee(tests.args(["-E", "test(/^lxc::/)"]))?;
    count::nextest(&text).or_failed(status.success())
}

fn demo_plain(root: &Path) -> Result<Count> {
    Ok(one(demo_process(root, &programs(root)?, &[])?))
}

fn demo_chaos(root: &Path) -> Result<Count> {
    Ok(one(demo_process(root, &programs(root)?, &["--chaos"])?))
}

fn demo_breaks(root: &Path) -> Result<Count> {
    let mut count = Count::default();
    let programs = programs(root)?;
    for broken in demo::BREAKS {
        // The demo itself knows at which step it has to end, and says so by this one status.
        let code = demo_process(root, &programs, &["--break", broken.name])?;
        let passed = code == Some(i32::from(demo::NOTICED));
        println!("   break {}: {}", broken.name, if passed { "noticed" } else { "NOT noticed at its step" });
        count = count + one(Some(i32::from(!passed)));
    }
    Ok(count)
}

/// Where the programs are that the tests were run with.
fn programs(root: &Path) -> Result<PathBuf> {
    golden::build_programs(root, golden::Profile::Tests)
}

fn demo_process(root: &Path, programs: &Path, args: &[&str]) -> Result<Option<i32>> {
    // This very program, also when the tests' build has replaced its file meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.current_dir(root).args(["demo", "--exit", "--programs"]).arg(programs).args(args);
    Ok(run::status(&mut command)?.code())
}

fn one(code: Option<i32>) -> Count {
    let passed = code == Some(0);
    Count { passed: usize::from(passed), failed: usize::from(!passed), skipped: 0 }
}
