//! The program that serves: from the configuration to its end.

use std::process::ExitCode;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::wiring::{self, Hooks};
use crate::{authorization, notices, rollback, server, tend};

/// Not the fault of a request or configuration: start again, and what was begun is resumed.
const TEMPORARY: u8 = 75;

/// Serves until it is asked to end, or its journal cannot be written. What is wrong is said on standard error.
pub async fn serve(config: Config, hooks: Hooks) -> ExitCode {
    let filter = EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Whatever is made below is this user's own unless it says otherwise.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let (socket, gid) = (config.socket.clone(), config.socket_gid);
    let executor = match wiring::executor(config, hooks) {
        Ok(executor) => Arc::new(executor),
        Err(error) => return failed(&format!("{error:#}"), 1),
    };
    let watermarks = rollback::first_look(&executor).await;
    let listener = match server::bind(&socket, gid) {
        Ok(listener) => listener,
        Err(error) => return failed(&format!("socket {}: {error}", socket.display()), 1),
    };
    let recovered = executor.runner.recover();
    tracing::info!(
        socket = %socket.display(),
        attestation_key = executor.services.key.public().fingerprint(),
        resumed = recovered.resumed.len(),
        standing = recovered.standing.len(),
        "serving"
    );
    let journal = executor.services.journal.clone();
    let tending = tokio::spawn(tend::tend(executor.clone(), watermarks));
    let authorizing = tokio::spawn(authorization::tend(executor.clone()));
    let keeping = tokio::spawn(rollback::keep(executor.services.clone()));
    let telling = tokio::spawn(notices::tend(executor.clone()));
    let ended = tokio::select! {
        served = server::serve(listener, executor.clone()) => match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("socket {}: {error}", socket.display()), 1),
        },
        reason = journal.broken() => failed(&format!("{reason}; nothing more is done, start again"), TEMPORARY),
        () = asked_to_end() => ExitCode::SUCCESS,
    };
    tending.abort();
    authorizing.abort();
    keeping.abort();
    telling.abort();
    ended
}

fn failed(error: &str, code: u8) -> ExitCode {
    eprintln!("felhom-executor: {error}");
    ExitCode::from(code)
}

/// SIGTERM or SIGINT. What runs is resumed by the next process.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
