//! `cargo xtask bench`: figures, each beside what it has to be compared with.
//!
//! 1. the simulated host alone: [`host`];
//! 2. what safety costs, and a box that rests: [`safety`];
//! 3. the whole system, from one run of the demo's programs.
//!
//! Steps of the third: the demo's first three steps with 100 MB of data → how long `provision_guest` took, against unpacking the same
//! archive with `zstd -d | tar -x` on the same disk → a backup, and the downtime that was measured → print, and with
//! `--write` put a dated line into `docs/benchmarks.md`.

mod host;
mod safety;

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    demo::{self, Measured},
    golden, run,
};

const RESULTS: &str = "docs/benchmarks.md";
/// Stands in a table until its first result.
const UNMEASURED: &str = "| not measured yet |\n";
const HEAD: &str = "# Benchmarks

Made by `cargo xtask bench --write`; newest last. Ratios are within one run on one machine. No figure here is a measurement
of Proxmox: the host is simulated. The load is the machine's own at the end of the run: about 1 is the run itself.

* *provision*: `provision_guest` from the request to its end (restored, started, bootstrapped, first heartbeat), against
  `zstd -d | tar -x` of the same archive to the same disk. Runtime `process`: 384 MiB of files beside the programs; `lxc`: the real
  golden image, and a container that boots. Aim: at most 1.4.
* *downtime*: first pause to last resume of an app with 100 MB during a backup. Aim: at most 300 ms where the state folder
  can reflink; where it cannot, the snapshot is a copy and the figure is *not representative*.

| date | machine | build | runtime | provision | unpack | ratio | downtime | reflink |
|---|---|---|---|---|---|---|---|---|
<!-- end of system -->

## The simulated host

* *vzdump*, *restore*: from the POST to the end of the task, against `tar | zstd -3 -T1` and `zstd -d | tar -x` of the same
  tree (200 MiB in 800 files) to the same disk; the ratio is their time over the simulator's. Aim: at least 0.8.
* *calls*: the median of 101 with 50 guests, without making a connection. Aim: no slower than a genuine node with two cores,
  whose time stands behind it.

| date | machine | build | vzdump | tar, zstd | ratio | restore | zstd, tar | ratio | calls |
|---|---|---|---|---|---|---|---|---|---|
<!-- end of host -->

## Safety

* *gate*: the median of 20,001 decisions on a box with 50 guests and three backups of each, of the costliest row of seven that
  all pass their every check. Aim: at most 10 µs.
* *authorization*: the median of 2,001 checks, from the document that came in to the gate's verdict with it, in memory: one of ten
  open challenges, SSHSIG (Ed25519), namespace, key, box, boot, age, the gate's row and the consents. The costliest of: an
  operator's answer, a customer's confirmation, three earlier ones once more. Aim: at most 1 ms.
* *flushes*: `fsync`, `fdatasync` and `sync_file_range` of the executor's process during one backup, as `strace` sees them, for
  each step of that operation, with what the process does of its own accord meanwhile.
* *resumed*: from the executor's start, after it was killed with SIGKILL in the middle of a `provision_guest`, to the first new
  event of that operation on its socket; the median of five. Aim: at most 1 s.

| date | machine | build | gate | authorization | flushes a step | resumed |
|---|---|---|---|---|---|---|
<!-- end of safety -->

## A box at rest

Everything stays as it is wished for a minute; the configuration is the shipped one: an observation each 15 s, a heartbeat each
10 s, a sync each minute, without waiting.

* *calls*: to Proxmox by one observation, of which the agent makes one a pass: the median of 11. Aim: at most 3 lists and none
  for each guest. What the lists do not show, the executor reads apart from that, each guest once in 40 s or a little more.
* *pass*: the agent's, with the observation. Aim: at most 50 ms.
* *sync*: HTTP both ways with its headers, without TLS: the largest of those in that time. Aim: at most 1,000 bytes, on one
  connection.
* *agent*, *executor*: resident memory, and the share of one processor. Aim: at most 30 MB and 0.2 % each.

| date | machine | build | guests | calls | pass | sync | agent | executor |
|---|---|---|---|---|---|---|---|---|
<!-- end of rest -->
";

/// Options of `bench`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --dir /mnt/btrfs/felhom --write    where snapshots are cheap"
)]
pub(crate) struct Args {
    /// An empty folder for the state, e.g. on btrfs; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    /// Use the programs in this folder instead of building them with optimisations.
    #[arg(long, value_name = "DIR")]
    programs: Option<std::path::PathBuf>,
    /// Measure only the simulated host.
    #[arg(long)]
    host: bool,
    /// Measure only what safety costs, and a box at rest.
    #[arg(long, conflicts_with = "host")]
    safety: bool,
    /// How many guests the box at rest has; at least 16.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(16..=120))]
    guests: u8,
    /// How guests run in the measurement of the whole system: `lxc` needs root, LXC and mmdebstrap, and takes the real golden
    /// image.
    #[arg(long, value_enum, default_value_t = golden::Runtime::Process, conflicts_with_all = ["host", "safety"])]
    runtime: golden::Runtime,
    /// Measure only the whole system.
    #[arg(long, conflicts_with_all = ["host", "safety"])]
    system: bool,
    /// Append the result to docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// The command.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    for tool in ["zstd", "tar", "curl"] {
        ensure!(run::find_program(tool).is_some(), "`{tool}` is missing: there is nothing to compare with");
    }
    let programs = match &args.programs {
        Some(folder) => folder.clone(),
        None => golden::build_programs(root, golden::Profile::Release)?,
    };
    // Cargo's folders are called after their profiles.
    let build = programs.file_name().map_or_else(|| "?".into(), |name| name.to_string_lossy());
    let all = !(args.host || args.safety || args.system);
    if all || args.host {
        show(root, args, "host", host_line(&host::measure(&programs, args.dir.as_deref())?, &build)?)?;
    }
    if all || args.safety {
        let costs = safety::gate(root)?;
        let figures = demo::figures(&programs, args.dir.as_deref(), args.guests.into())?;
        show(root, args, "safety", safety::line(&costs, &figures, &build)?)?;
        for rest in &figures.rests {
            show(root, args, "rest", safety::rest_line(rest, &build)?)?;
        }
    }
    if all || args.system {
        let measured = demo::measure(args.runtime, &programs, args.dir.as_deref(), |world, archive| {
            Ok((unpack_ms(world, archive)?, can_reflink(world, archive)))
        })?;
        show(root, args, "system", line(&measured, args.runtime, &build)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a result under the head of its table, and keeps it if that was asked for.
fn show(root: &Path, args: &Args, table: &str, line: String) -> Result<()> {
    let end = HEAD.find(&end_of(table)).context("no such table")?;
    let head: Vec<&str> = HEAD[..end].lines().filter(|line| line.starts_with('|')).collect();
    println!("{}\n{line}", head[head.len().saturating_sub(2)..].join("\n"));
    if args.write { append(&root.join(RESULTS), table, &line) } else { Ok(()) }
}

fn end_of(table: &str) -> String {
    format!("<!-- end of {table} -->")
}

/// `zstd -d | tar -x` into a new folder beside the state.
fn unpack_ms(folder: &Path, archive: &Path) -> Result<u64> {
    let target = folder.join("unpacked");
    let begun = Instant::now();
    host::unpack(archive, &target)?;
    let took = begun.elapsed();
    fs::remove_dir_all(&target)?;
    Ok(u64::try_from(took.as_millis())?)
}

fn can_reflink(folder: &Path, archive: &Path) -> bool {
    let copy = folder.join("reflink-test");
    let mut command = Command::new("cp");
    command.arg("--reflink=always").arg(archive).arg(&copy).stderr(Stdio::null());
    let can = command.status().is_ok_and(|status| status.success());
    // The copy was made for this question only.
    let _ = fs::remove_file(&copy);
    can
}

/// Date, cores, load and kernel.
pub(crate) fn machine() -> Result<String> {
    let date = run::output(Command::new("date").args(["-u", "+%F"]))?;
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or("?");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let date = String::from_utf8_lossy(&date).trim().to_owned();
    Ok(format!("{date} | {cpus} cores, load {load}, Linux {kernel}"))
}

fn host_line(measured: &host::Measured, build: &str) -> Result<String> {
    let host::Measured { pack, vzdump, unpack, restore, lists } = measured;
    let call = |(path, ms, genuine): &(&str, f64, f64)| format!("`{path}` {ms:.1} ms ({genuine} ms)");
    let calls = lists.iter().map(call).collect::<Vec<_>>().join("<br>");
    Ok(format!(
        "| {} | {build} | {vzdump:.0} ms | {pack:.0} ms | {:.2} | {restore:.0} ms | {unpack:.0} ms | {:.2} | {calls} |",
        machine()?,
        pack / vzdump.max(1.0),
        unpack / restore.max(1.0),
    ))
}

fn line(measured: &Measured, runtime: golden::Runtime, build: &str) -> Result<String> {
    let Measured { provision_ms, unpack_ms, downtime_ms, reflink, .. } = *measured;
    let ratio = provision_ms as f64 / unpack_ms.max(1) as f64;
    let note = if reflink { "yes" } else { "no: *not representative*" };
    Ok(format!(
        "| {} | {build} | {runtime} | {provision_ms} ms | {unpack_ms} ms | {ratio:.2} | {downtime_ms} ms | {note} |",
        machine()?
    ))
}

fn append(path: &Path, table: &str, line: &str) -> Result<()> {
    let text = if path.exists() { fs::read_to_string(path)? } else { HEAD.to_owned() };
    let (before, after) = text.split_once(&end_of(table)).context("no end of the table")?;
    let before = before.strip_suffix(UNMEASURED).unwrap_or(before);
    let text = format!("{before}{line}\n{}{after}", end_of(table));
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_says_when_it_is_not_representative() {
        let measured = Measured { provision_ms: 700, unpack_ms: 500, downtime_ms: 90, reflink: false };
        let text = line(&measured, golden::Runtime::Lxc, "release").unwrap();
        assert!(
            text.contains("| lxc | 700 ms | 500 ms | 1.40 | 90 ms | no: *not representative* |"),
            "{text}"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.md");
        append(&path, "system", &text).unwrap();
        append(&path, "system", &text).unwrap();
        let all = fs::read_to_string(path).unwrap();
        assert!(all.starts_with("# Benchmarks") && all.matches("1.40").count() == 2);
    }

    #[test]
    fn a_result_takes_the_place_of_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.md");
        let empty = |table: &str| format!("|---|\n{UNMEASURED}{}\n", end_of(table));
        fs::write(&path, empty("safety") + &empty("rest")).unwrap();
        append(&path, "rest", "| 1 |").unwrap();
        append(&path, "rest", "| 2 |").unwrap();
        let rest = format!("|---|\n| 1 |\n| 2 |\n{}\n", end_of("rest"));
        assert_eq!(fs::read_to_string(path).unwrap(), empty("safety") + &rest);
    }
}
