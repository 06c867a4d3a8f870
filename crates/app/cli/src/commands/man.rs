//! `felhom man`.

use crate::args::Cli;
use crate::exit::Failure;
use crate::output::Output;
use clap::CommandFactory as _;
use serde_json::json;
use std::path::Path;

/// Writes a page for each command into the folder.
pub(crate) fn write(out: Output, dir: &Path) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::Failed(format!("manual pages in {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    // `help` says nothing that is not on the pages.
    let pages = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(pages, dir).map_err(failed)?;
    out.say(format!("Manual pages are in {}; `man {}`", dir.display(), dir.join("felhom.1").display()));
    out.result(&json!({ "dir": dir }))
}
