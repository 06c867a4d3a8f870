//! The one place where real parts are built and handed in.

use crate::{
    app::Catalogue,
    config::Config,
    customer::Customer,
    engine::{Engine, ProcessEngine, net::NetSource},
    link::{Sessions, backup::Backups, heartbeat::Heartbeats},
    paths::Paths,
    quiesce::Freezer,
    serve::ServeError,
    state::State,
    web::{Forms, Web},
};
use felhom_signing::Key;
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle};

/// What everything is built from.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The guest's paths.
    pub paths: Paths,
    /// This program's file.
    pub program: PathBuf,
    /// The guest key.
    pub key: Arc<Key>,
    /// What is kept.
    pub state: Arc<State>,
}

/// What runs.
pub struct Running {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Link, backups, page; each for ever.
    pub tasks: Vec<JoinHandle<()>>,
}

/// Where the guest's address on its network is learnt.
fn net_source(config: &Config) -> NetSource {
    match (&config.net0_file, &config.interface) {
        (Some(file), _) => NetSource::File(file.clone()),
        (None, Some(interface)) => NetSource::Interface(interface.clone()),
        (None, None) => NetSource::Any,
    }
}

/// Builds and starts everything but the apps. `reconcile` is rung when there may be new apps to run.
///
/// # Errors
/// When the HTTP client of the health checks cannot be built, or there is no randomness.
pub fn start(parts: Parts, reconcile: Arc<Notify>) -> Result<Running, ServeError> {
    let Parts { config, paths, program, key, state } = parts;
    let net = net_source(&config).watch();
    let catalogue = Catalogue::new(paths.clone(), vec![config.ui_port]);
    let engine: Arc<dyn Engine> = Arc::new(ProcessEngine::new(
        paths.clone(),
        catalogue.clone(),
        program.clone(),
        config.lo,
        net.clone(),
    )?);
    let sessions = Arc::new(Sessions::new(paths.clone(), net.clone(), state.clone()));
    let freezer = Freezer {
        engine: engine.clone(),
        catalogue: catalogue.clone(),
        paths: paths.clone(),
        program,
        longest: Duration::from_secs(config.freeze_max_s.into()),
    };
    let heartbeats = Heartbeats {
        sessions: sessions.clone(),
        engine: engine.clone(),
        state: state.clone(),
        key: key.clone(),
        net: net.clone(),
        ui_port: config.ui_port,
        reconcile,
    };
    let customer = Arc::new(Customer::new(paths.clone(), key.clone(), sessions.clone()));
    let backups = Backups { sessions, freezer, state: state.clone(), key };
    let web = Web {
        paths,
        catalogue,
        engine: engine.clone(),
        state,
        customer,
        forms: Forms::new()?,
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let tasks = vec![
        tokio::spawn(heartbeats.run()),
        tokio::spawn(backups.run()),
        tokio::spawn(web.serve(net, config.ui_port)),
    ];
    Ok(Running { engine, tasks })
}
