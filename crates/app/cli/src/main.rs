//! `felhom`, the operator's command line: enrols boxes, sets desired state, shows operations, asks for jobs, and verifies
//! what a box signed against the key that *this machine* pinned. The hub is only asked; it is never believed about keys.
//!
//! A command translates: parse, call, print. What it prints with `--json` is one line, the last on standard output.

mod args;
mod challenge;
mod commands;
mod config;
mod escape;
mod exit;
mod files;
mod known_boxes;
mod output;
mod receipts;
mod signer;
mod time;
mod waiting;

use args::Cli;
use clap::Parser as _;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("felhom: a TLS provider was already installed");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    let json = cli.global.json;
    match commands::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure, json);
            ExitCode::from(failure.code())
        }
    }
}
