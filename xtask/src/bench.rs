//! `cargo xtask bench`: two figures, each beside what it has to be compared with, from one run of the demo's programs.
//!
//! Steps: the demo's first three steps with 100 MB of data → how long `provision_guest` took, against unpacking the same
//! archive with `zstd -d | tar -x` on the same disk → a backup, and the downtime that was measured → print, and with
//! `--write` put a dated line into `docs/benchmarks.md`.

use std::{
    fs,
    io::Write,
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
const HEAD: &str = "# Benchmarks

Made by `cargo xtask bench --write`; newest last. Ratios are within one run on one machine. No figure here is a measurement
of Proxmox: the host is simulated. The load is the machine's own at the end of the run: about 1 is the run itself.

* *provision*: `provision_guest` from the request to its end (restored, started, bootstrapped, first heartbeat), against
  `zstd -d | tar -x` of the same archive (384 MiB of files beside the programs) to the same disk. Aim: at most 1.4.
* *downtime*: first pause to last resume of an app with 100 MB during a backup. Aim: at most 300 ms where the state folder
  can reflink; where it cannot, the snapshot is a copy and the figure is *not representative*.

| date | machine | build | provision | unpack | ratio | downtime | reflink |
|---|---|---|---|---|---|---|---|
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
    /// Append the result to docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// The command.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    for tool in ["zstd", "tar"] {
        ensure!(run::find_program(tool).is_some(), "`{tool}` is missing: there is nothing to compare with");
    }
    let programs = match &args.programs {
        Some(folder) => folder.clone(),
        None => golden::build_programs(root, golden::Profile::Release)?,
    };
    let measured = demo::measure(&programs, args.dir.as_deref(), |world, archive| {
        Ok((unpack_ms(world, archive)?, can_reflink(world, archive)))
    })?;
    // Cargo's folders are called after their profiles.
    let build = programs.file_name().map_or_else(|| "?".into(), |name| name.to_string_lossy());
    let line = line(&measured, &build)?;
    println!("{}", HEAD.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n"));
    println!("{line}");
    if args.write {
        append(&root.join(RESULTS), &line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `zstd -d | tar -x` into a new folder beside the state.
fn unpack_ms(folder: &Path, archive: &Path) -> Result<u64> {
    let target = folder.join("unpacked");
    fs::create_dir(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let begun = Instant::now();
    let mut zstd =
        Command::new("zstd").args(["-q", "-d", "-c"]).arg(archive).stdout(Stdio::piped()).spawn()?;
    let stream = zstd.stdout.take().context("no output of zstd")?;
    let tar = Command::new("tar").args(["-x", "-f", "-", "-C"]).arg(&target).stdin(stream).status()?;
    ensure!(zstd.wait()?.success() && tar.success(), "{} cannot be unpacked", archive.display());
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

fn line(measured: &Measured, build: &str) -> Result<String> {
    let date = run::output(Command::new("date").args(["-u", "+%F"]))?;
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or("?");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let Measured { provision_ms, unpack_ms, downtime_ms, reflink, .. } = *measured;
    let ratio = provision_ms as f64 / unpack_ms.max(1) as f64;
    let note = if reflink { "yes" } else { "no: *not representative*" };
    Ok(format!(
        "| {} | {cpus} cores, load {load}, Linux {} | {build} | {provision_ms} ms | {unpack_ms} ms | {ratio:.2} | {downtime_ms} ms | {note} |",
        String::from_utf8_lossy(&date).trim(),
        kernel
    ))
}

fn append(path: &Path, line: &str) -> Result<()> {
    if !path.exists() {
        fs::write(path, HEAD).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut file = fs::OpenOptions::new().append(true).open(path)?;
    writeln!(file, "{line}").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_says_when_it_is_not_representative() {
        let measured = Measured { provision_ms: 700, unpack_ms: 500, downtime_ms: 90, reflink: false };
        let text = line(&measured, "release").unwrap();
        assert!(text.contains("| 1.40 | 90 ms | no: *not representative* |"), "{text}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.md");
        append(&path, &text).unwrap();
        append(&path, &text).unwrap();
        let all = fs::read_to_string(path).unwrap();
        assert!(all.starts_with("# Benchmarks") && all.matches("1.40").count() == 2);
    }
}
