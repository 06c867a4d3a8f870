//! Where the real adapters are built and handed in.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::Context as _;
use felhom_clock::Clock;
use felhom_journal::{Journal, RetryPolicy, Runner, SqliteStore};
use felhom_protocol::executor::BoxIdentity;
use felhom_pve::{Auth, Endpoint, NodeName, Pve};
use serde_json::json;
use tokio::sync::watch;

use crate::audit::{HourlyLimit, Kind, Record};
use crate::authorization::RunningClock;
use crate::config::Config;
use crate::driver::ExecutorDriver;
use crate::keys::{attestation_key, read_secret};
use crate::ledger::Ledger;
use crate::recent::Recent;
use crate::rights::Rights;
use crate::rollback;
use crate::services::{Services, WISHED_LIMITS};
use crate::submit::Executor;

/// Who watches what changes something: calls to Proxmox, root acts, commits of the database. Together these are all points at
/// which a death is told from another; tests of crashes live in them.
#[derive(Default)]
pub struct Hooks {
    /// Calls to Proxmox.
    pub pve: Option<Arc<dyn felhom_pve::Hook>>,
    /// Root acts.
    pub host: Option<Arc<dyn felhom_host::Hook>>,
    /// Commits of journal and ledger.
    pub database: Option<Arc<dyn felhom_journal::Hook>>,
    /// In the place of the machine's clock.
    pub clock: Option<Clock>,
}

/// Builds everything from the configuration; takes the database's lock.
///
/// # Errors
/// What could not be opened, and what to do.
pub fn executor(config: Config, hooks: Hooks) -> anyhow::Result<Executor> {
    private_dir(&config.state_dir)?;
    let socket_dir = config.socket.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(socket_dir).with_context(|| format!("making {}", socket_dir.display()))?;
    let run_dir = config.socket.parent().unwrap_or(Path::new("/")).join("felhom-executor.private");
    private_dir(&run_dir)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("randomness for the attestation key")?;
    let key = attestation_key(&config.attestation_key_file(), seed)?;
    let Hooks { pve: calls, host: acts, database: commits, clock } = hooks;
    let clock = clock.unwrap_or_else(Clock::of_machine);
    let store = SqliteStore::open(&config.database())?;
    let store = Arc::new(match commits {
        Some(hook) => store.with_hook(hook),
        None => store,
    });
    let journal = Arc::new(Journal::open(store.clone(), move || clock.now())?);
    let ledger = Ledger::open(store, journal.clone())?.with_watermark(config.watermark_file());
    let pve = match (pve(&config)?, calls) {
        (pve, Some(hook)) => pve.with_hook(hook),
        (pve, None) => pve,
    };
    let host = match (config.host(run_dir), acts) {
        (host, Some(hook)) => host.with_hook(hook),
        (host, None) => host,
    };
    let node = pve.node(&NodeName::new(config.pve.node.clone()).context("configuration: `pve.node`")?);
    let rights = Rights::of(&config)?;
    let running = RunningClock::resume(&ledger)?;
    let services = Arc::new(Services {
        pve,
        node,
        rights,
        host,
        journal: journal.clone(),
        ledger,
        key,
        running,
        boot: boot_id(),
        refusals: HourlyLimit::default(),
        enrolments: HourlyLimit::default(),
        refused: HourlyLimit::of(config.refused_an_hour),
        told: watch::Sender::new(0),
        runs: OnceLock::new(),
        chosen: tokio::sync::Mutex::default(),
        recent: Recent::default(),
        last_seen: Mutex::new(None),
        config,
    });
    let driver = Arc::new(ExecutorDriver { services: services.clone() });
    let runner = Runner::new(journal, driver, RetryPolicy::default());
    let _ = services.runs.set(Arc::downgrade(&runner));
    let mut executor =
        Executor { services, runner, weighing: tokio::sync::Mutex::default(), compared: false };
    executor.compared = rollback::check(&executor)?;
    Ok(executor)
}

/// Forgets which box this is, so that the next enrolment may name another; for local root, while no executor serves.
///
/// # Errors
/// If another process holds the database, or it cannot be written.
pub fn forget_box(config: &Config) -> anyhow::Result<bool> {
    let (ledger, journal) = ledger_and_journal(config)?;
    let Some(kept) = ledger.setting::<BoxIdentity>("box")? else { return Ok(false) };
    let epoch = rollback::raise_epoch(&ledger, 0, &rollback::waiting(&journal))?;
    let data = json!({ "box": kept.box_id, "epoch": epoch });
    let record = Record::new(Kind::BoxForgotten, data).by("local root");
    ledger.audit(Clock::of_machine().now(), &record)?;
    ledger.set_setting(rollback::FORGOTTEN, &true)?;
    ledger.forget_setting(WISHED_LIMITS)?;
    Ok(ledger.forget_setting("box")?)
}

/// The ledger alone, for commands of local root while no executor serves.
///
/// # Errors
/// If another process holds the database, or it cannot be opened.
pub fn ledger(config: &Config) -> anyhow::Result<Ledger> {
    Ok(ledger_and_journal(config)?.0)
}

/// The same with the journal.
///
/// # Errors
/// As [`ledger`].
pub(crate) fn ledger_and_journal(config: &Config) -> anyhow::Result<(Ledger, Arc<Journal>)> {
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("making {}", config.state_dir.display()))?;
    let store = Arc::new(SqliteStore::open(&config.database())?);
    let journal = Arc::new(Journal::open(store.clone(), || Clock::of_machine().now())?);
    let ledger = Ledger::open(store, journal.clone())?.with_watermark(config.watermark_file());
    Ok((ledger, journal))
}

fn pve(config: &Config) -> anyhow::Result<Pve> {
    let fingerprint = config.pve.fingerprint.parse().context("configuration: `pve.fingerprint`")?;
    let endpoint = Endpoint::new(&config.pve.url, fingerprint)?;
    let id = config.pve.token_id.parse().context("configuration: `pve.token_id`")?;
    let secret = read_secret("Proxmox API token", &config.pve.token_file)
        .context("without a token nothing can be done; `felhom-executor setup` makes one")?;
    Ok(Pve::new(endpoint, Auth::Token { id, secret })?)
}

fn private_dir(path: &Path) -> anyhow::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).with_context(|| format!("making {}", path.display()))
}

/// The kernel's identity of this boot.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
