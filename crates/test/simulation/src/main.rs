//! Hub, agent and executor as they are, each in a process of its own and in the hands of a scheduler: their clocks are set, the
//! agent does one round when it is told to, and the executor waits before each thing that it changes.
//!
//! ```text
//!   felhom-part hub|agent|executor CONFIG MS
//!     stdin   clock MS          its clock shows this instant (milliseconds since 1970) and goes on from it
//!             pass, sync        agent: one round
//!             introduce         agent: tells the executor which box this is
//!             go|refuse|lose|die N   executor: what becomes of point N
//!     stdout  ok | error WHY    after each order that is no answer to a point
//!             point N WHAT      executor: stands before changing something at Proxmox
//! ```
//! | answer to a point | what happens |
//! |---|---|
//! | `go` | it is done |
//! | `refuse` | it is not done and answered with an error |
//! | `lose` | it is done and its answer is lost |
//! | `die` | it is done and the process is dead before it hears of it |

mod points;
mod reins;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use felhom_executor::wiring::Hooks;
use felhom_model::Digest;
use felhom_protocol::executor::LocalApi;

use crate::points::Points;
use crate::reins::Reins;

fn main() -> ExitCode {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("felhom-part: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [part, config, ms] = arguments.as_slice() else { bail!("usage: felhom-part PART CONFIG MS") };
    if part != "executor" {
        // The executor does so itself.
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    }
    let reins = Arc::new(Reins::new(ms.parse().context("MS")?));
    let runtime = tokio::runtime::Runtime::new()?;
    match part.as_str() {
        "hub" => runtime.block_on(hub(Path::new(config), &reins)),
        "agent" => agent(&runtime, Path::new(config), &reins),
        "executor" => runtime.block_on(executor(Path::new(config), &reins)),
        other => bail!("there is no part `{other}`"),
    }
}

async fn hub(config: &Path, reins: &Arc<Reins>) -> anyhow::Result<ExitCode> {
    let config = felhom_hub::Config::load(Some(config), std::iter::empty())?;
    let clock = reins.clock();
    reins::obey(reins.clone(), |_| None);
    felhom_hub::serve(config, &felhom_hub::Output { json: true }, clock).await?;
    Ok(ExitCode::SUCCESS)
}

fn agent(runtime: &tokio::runtime::Runtime, config: &Path, reins: &Arc<Reins>) -> anyhow::Result<ExitCode> {
    let config = felhom_agent::Config::load(Some(config), std::iter::empty())?;
    let mut agent = runtime.block_on(async { felhom_agent::Agent::open(config, reins.clock()) })?;
    let api = LocalApi { url: "https://127.0.0.1:1".to_owned(), fingerprint: Digest::of(b"certificate") };
    reins::obey_here(reins, |order| {
        let done = match order {
            "pass" => runtime.block_on(agent.pass()),
            "sync" => runtime.block_on(agent.sync()).map(|_| ()),
            "introduce" => runtime.block_on(agent.introduce(&api)),
            _ => return None,
        };
        Some(done)
    });
    Ok(ExitCode::SUCCESS)
}

async fn executor(config: &Path, reins: &Arc<Reins>) -> anyhow::Result<ExitCode> {
    let config = felhom_executor::config::Config::load(config, std::iter::empty())?;
    let points = Arc::new(Points::default());
    let answers = points.clone();
    reins::obey(reins.clone(), move |order| answers.answer(order).then_some(Ok(())));
    let clock = reins.clock();
    let hooks = Hooks { pve: Some(points), clock: Some(clock), ..Hooks::default() };
    Ok(felhom_executor::serve::serve(config, hooks).await)
}
