//! `cargo xtask ci`: everything that CI does, in the order in which it fails soonest.

use std::{
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Result, bail};

use crate::{run, suite, tidy};

/// Links to private items are meant: the documentation is for whoever changes the code. URLs in help texts are for people.
const DOC_LINTS: &str = "-D warnings -A rustdoc::private-intra-doc-links -A rustdoc::bare-urls";

/// Options of `ci`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask ci\n  cargo xtask ci --no-test     checks only, without the tests at the end"
)]
pub(crate) struct Args {
    /// Leave out the tests at the end.
    #[arg(long)]
    no_test: bool,
}

/// Run all checks; the first that fails ends it.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    step("fmt", || run::check(&mut run::cargo_command(root, &["fmt", "--all", "--check"])))?;
    step("tidy", || tidy::check(root))?;
    step("clippy", || {
        run::check(&mut run::cargo_command(
            root,
            &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        ))
    })?;
    step("doc", || {
        let mut command = run::cargo_command(
            root,
            &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"],
        );
        run::check(command.env("RUSTDOCFLAGS", DOC_LINTS))
    })?;
    step("deny", || deny(root))?;
    if args.no_test {
        println!("ci: checks passed; tests left out");
        return Ok(ExitCode::SUCCESS);
    }
    suite::run(root, &suite::Args::complete())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("── {name}");
    let started = Instant::now();
    if let Err(error) = work() {
        bail!("{name}: {error:#}");
    }
    println!("   {name} ok, {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

/// Licences, sources and bans need no network; advisories do, and are left to whoever has one.
fn deny(root: &Path) -> Result<()> {
    if !run::has_cargo_tool("deny") {
        println!("   skipped: cargo-deny is missing; `cargo install --locked cargo-deny` enables it");
        return Ok(());
    }
    let mut command: Command =
        run::cargo_command(root, &["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]);
    run::check(&mut command)
}
