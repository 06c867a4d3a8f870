//! The group `fuzz`: the simulator's parsers under libFuzzer for a quarter of a minute each (docs/decisions/0010).
//!
//! Steps: build the targets with coverage counters → run each on its seeds, for a limited time → count. An input that makes one
//! fail is kept in `crates/test/pve-sim/fuzz/artifacts/TARGET/` and is run first the next time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::run;
use crate::suite::Count;

const TARGETS: [&str; 4] = ["http", "body", "property", "config"];
/// The same inputs in the same order at each run, so that a finding can be met again; another seed looks elsewhere.
const SEED: u32 = 1;
/// Seconds a target.
const SECONDS: u32 = 15;
/// What cargo-fuzz passes for a build without sanitizer, which stable Rust can do. The code under test has no `unsafe`.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Ccodegen-units=1";

/// Why it cannot run here, if so.
pub(crate) fn missing() -> Option<String> {
    let found = ["c++", "g++", "clang++"].iter().any(|name| run::find_program(name).is_some());
    (!found).then(|| "no C++ compiler for libFuzzer; install g++".to_owned())
}

/// Runs it.
pub(crate) fn group(root: &Path) -> Result<Count> {
    let folder = root.join("crates/test/pve-sim/fuzz");
    let target = root.join("target/fuzz");
    let mut build =
        run::cargo_command(&folder, &["build", "--release", "--locked", "--target", TRIPLE, "--target-dir"]);
    run::check(build.arg(&target).env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    let mut count = Count::default();
    for name in TARGETS {
        let (corpus, artifacts) = (folder.join("corpus").join(name), folder.join("artifacts").join(name));
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        fs::create_dir_all(&artifacts).with_context(|| format!("cannot make {}", artifacts.display()))?;
        let mut fuzz = std::process::Command::new(target.join(TRIPLE).join("release").join(name));
        fuzz.args([format!("-max_total_time={SECONDS}"), format!("-seed={SEED}")])
            .args(["-max_len=4096", "-timeout=10", "-print_final_stats=1", "-verbosity=0"])
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args([&corpus, &folder.join("seeds").join(name), &artifacts]);
        println!("   {name}: {SECONDS} s");
        if run::status(&mut fuzz)?.success() {
            count.passed += 1;
        } else {
            eprintln!("error: fuzz target {name} failed; the input is in {}", artifacts.display());
            count.failed += 1;
        }
    }
    Ok(count)
}

/// This machine, as far as the group runs at all.
const TRIPLE: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };
