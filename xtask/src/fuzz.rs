//! The group `fuzz`: parsers of the simulator, of signed documents and of what a hub sends under libFuzzer, some seconds each
//! (docs/decisions/0010).
//!
//! Steps: build the targets with coverage counters → run each on its seeds, for a limited time → count. An input that makes one
//! fail is kept in `fuzz/artifacts/TARGET/` of its crate and is run first the next time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run;
use crate::suite::Count;

/// Folders with fuzz targets, each a workspace of its own.
const FOLDERS: [(&str, &[&str]); 3] = [
    ("crates/test/pve-sim/fuzz", &["http", "body", "property", "config"]),
    ("crates/pure/signing/fuzz", &["challenge", "sshsig", "operators"]),
    ("crates/pure/protocol/fuzz", &["request", "desired"]),
];
/// The same inputs in the same order at each run, so that a finding can be met again; another seed looks elsewhere.
const SEED: u32 = 1;
/// Seconds a target.
const SECONDS: u32 = 8;
/// What cargo-fuzz passes for a build without sanitizer, which stable Rust can do. The code under test has no `unsafe`.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Ccodegen-units=1";

/// Runs it.
pub(crate) fn group(root: &Path) -> Result<Count> {
    let mut count = Count::default();
    for (folder, targets) in FOLDERS {
        let folder = root.join(folder);
        let programs = build(root, &folder)?;
        for name in targets {
            if run_target(&folder, &programs.join(name), name)? {
                count.passed += 1;
            } else {
                count.failed += 1;
            }
        }
    }
    Ok(count)
}

/// Builds a folder's targets with coverage counters; where the programs are.
fn build(root: &Path, folder: &Path) -> Result<PathBuf> {
    let target = root.join("target/fuzz");
    let mut build =
        run::cargo_command(folder, &["build", "--release", "--locked", "--target", TRIPLE, "--target-dir"]);
    // Less optimisation: most of this group's time is building.
    build.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_DEBUG", "none");
    run::check(build.arg(&target).env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(target.join(TRIPLE).join("release"))
}

/// Runs one target on its seeds; whether nothing was found.
fn run_target(folder: &Path, program: &Path, name: &str) -> Result<bool> {
    let (corpus, artifacts) = (folder.join("corpus").join(name), folder.join("artifacts").join(name));
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    fs::create_dir_all(&artifacts).with_context(|| format!("cannot make {}", artifacts.display()))?;
    let mut fuzz = std::process::Command::new(program);
    fuzz.args([format!("-max_total_time={SECONDS}"), format!("-seed={SEED}")])
        .args(["-max_len=4096", "-timeout=10", "-print_final_stats=1", "-verbosity=0"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([&corpus, &folder.join("seeds").join(name), &artifacts]);
    println!("   {name}: {SECONDS} s");
    let good = run::status(&mut fuzz)?.success();
    if !good {
        eprintln!("error: fuzz target {name} failed; the input is in {}", artifacts.display());
    }
    Ok(good)
}

/// This machine, as far as the group runs at all.
const TRIPLE: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };
