//! `cargo xtask tidy`: rules that a compiler does not know.
//!
//! Steps: read `cargo metadata` and every source file → apply each rule (pure functions over what was read) → print each
//! finding with what to do. Rules: dependency direction, purity of `crates/pure`, one clock for each program, sizes as a ratchet, leftovers, and that
//! the architecture document names every crate.

mod book;
mod clock;
mod deps;
mod leftovers;
mod purity;
mod sizes;
mod source;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

use source::Source;

/// Options of `tidy`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask tidy\n  cargo xtask tidy --shrink    write the smaller numbers into xtask/tidy-ratchet.txt (never larger ones)"
)]
pub(crate) struct Args {
    /// Lower the numbers in the ratchet file to what is there now.
    #[arg(long)]
    shrink: bool,
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// File (and line) or crate.
    pub(crate) place: String,
    /// The rule's name.
    pub(crate) rule: &'static str,
    /// What is wrong and what to do.
    pub(crate) text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}] {}", self.place, self.rule, self.text)
    }
}

/// The command.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    if args.shrink {
        let path = root.join(sizes::RATCHET);
        let present = sizes::Ratchet::parse(&read_if_there(&path)?)?;
        let lowered = present.lowered_to(&sizes::excesses(&read_sources(root)?));
        fs::write(&path, lowered.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    check(root)?;
    println!("tidy: ok");
    Ok(ExitCode::SUCCESS)
}

/// Apply all rules; findings are printed, and are an error together.
pub(crate) fn check(root: &Path) -> Result<()> {
    let packages = deps::packages(root)?;
    let sources = read_sources(root)?;
    let ratchet = sizes::Ratchet::parse(&read_if_there(&root.join(sizes::RATCHET))?)?;
    let mut findings = deps::check(&packages);
    findings.extend(purity::check_dependencies(&packages));
    findings.extend(sources.iter().flat_map(purity::check_source));
    findings.extend(sources.iter().flat_map(clock::check));
    findings.extend(sizes::check(&sources, &ratchet));
    findings.extend(sources.iter().flat_map(leftovers::check));
    findings.extend(book::check(
        &packages,
        &read_if_there(&root.join(book::ARCHITECTURE))?,
        &read_if_there(&root.join(book::GLOSSARY))?,
    ));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("{n} findings"),
    }
}

fn read_if_there(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// All Rust files of ours, by path relative to the workspace, sorted.
fn read_sources(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(&root.join(folder), &mut paths)?;
    }
    paths.sort();
    let mut sources = Vec::with_capacity(paths.len());
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        sources.push(Source::parse(relative, &text));
    }
    Ok(sources)
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, into)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}
