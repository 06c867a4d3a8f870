//! The executor of the tests of crashes: it aborts right before or right after its N-th mutating call to Proxmox, as
//! `CRASH_AT=N:before` or `N:after` says. `after` means that the server answered and nobody has heard it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use felhom_executor::config::Config;
use felhom_executor::{server, wiring};
use felhom_pve::{Call, Hook};

struct Abort {
    at: u32,
    before: bool,
    calls: AtomicU32,
}

impl Hook for Abort {
    fn before_mutation(&self, _: &Call) {
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.at && self.before {
            std::process::abort();
        }
    }

    fn after_mutation(&self, _: &Call) {
        if self.calls.load(Ordering::SeqCst) == self.at && !self.before {
            std::process::abort();
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config: PathBuf = std::env::args_os().nth(1).map(PathBuf::from).unwrap_or_default();
    let config = Config::load(&config, std::iter::empty())?;
    let plan = std::env::var("CRASH_AT").unwrap_or_default();
    let (at, when) = plan.split_once(':').unwrap_or(("0", "before"));
    let hook = Abort { at: at.parse()?, before: when == "before", calls: AtomicU32::new(0) };
    let socket = config.socket.clone();
    let executor = Arc::new(wiring::executor_with(config, |pve| pve.with_hook(Arc::new(hook)))?);
    let listener = server::bind(&socket, None)?;
    executor.runner.recover();
    Ok(server::serve(listener, executor).await?)
}
