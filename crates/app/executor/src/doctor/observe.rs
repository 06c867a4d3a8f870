//! Looks at Proxmox through the token, and at the host as root. What cannot be seen is a text that says why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use felhom_clock::Clock;
use felhom_host::{Host, Space, Survey};
use felhom_model::StorageId;
use felhom_pve::{Auth, Error, Fingerprint, Pve};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;

use super::facts::{Answers, Facts, Seen, Server, Should};
use crate::config::Config;
use crate::keys::read_secret;
use crate::setup::{self, SetupConfig, SetupError, SetupOptions, Wanted};

/// What the configuration asks for.
///
/// # Errors
/// [`SetupError::Config`] with the key that cannot be used.
pub(super) fn should(config: &Config, file: &Path) -> Result<Should, SetupError> {
    let host = SetupConfig::from_config(config)?;
    Ok(Should {
        file: file.to_owned(),
        rights: Wanted::of(&host)?,
        host,
        guest: config.storages.guest.clone(),
        backup: config.storages.backup.clone(),
        golden: config.storages.golden.clone(),
        state_dir: config.state_dir.clone(),
        reserve: config.reserve_bytes,
    })
}

/// Looks at everything; `password` is root@pam's.
///
/// # Errors
/// [`SetupError::WrongPassword`]: what was asked for cannot be told.
pub(super) async fn observe(
    should: Should,
    host: &Host,
    password: Option<&SecretString>,
    clock: &Clock,
) -> Result<Facts, SetupError> {
    let server = server(&should, clock).await;
    let survey = host.survey().map_err(text);
    let setup = match password {
        Some(password) => Some(dry_run(&should.host, password).await?),
        None => None,
    };
    Ok(Facts {
        certificate: survey.as_ref().ok().and_then(certificate),
        clock_is_synchronised: host.clock_is_synchronised().await.map_err(text),
        spaces: spaces(&should, &server, host),
        folders: folders(&should, host),
        real_paths: real_paths(&server, host),
        should,
        server,
        survey,
        setup,
    })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn certificate(survey: &Survey) -> Option<Fingerprint> {
    let pem = survey.certificate.as_ref()?;
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|der| Fingerprint::of_der(&der))
}

async fn dry_run(
    config: &SetupConfig,
    password: &SecretString,
) -> Result<Seen<Vec<setup::Line>>, SetupError> {
    let options = SetupOptions { dry_run: true, new_token: false };
    match setup::run(config, password, options).await {
        Err(error @ SetupError::WrongPassword { .. }) => Err(error),
        ended => Ok(ended.map(|report| report.lines).map_err(text)),
    }
}

async fn server(should: &Should, clock: &Clock) -> Server {
    let endpoint = match should.host.endpoint() {
        Ok(endpoint) => endpoint,
        Err(error) => return Server::Away(text(error)),
    };
    let secret = read_secret("token secret", &should.host.token_file);
    let client = match &secret {
        Ok(secret) => {
            let auth = Auth::Token { id: should.host.token.clone(), secret: secret.clone() };
            Pve::new(endpoint, auth)
        }
        // The handshake alone tells whose certificate it is.
        Err(_) => Pve::anonymous(endpoint),
    };
    let pve = match client {
        Ok(pve) => pve,
        Err(error) => return Server::NoSecret(text(error)),
    };
    match (pve.version().await, secret) {
        (Ok(version), Ok(_)) => {
            Server::Answers(Box::new(answers(&pve, should, version.version, clock).await))
        }
        (Err(Error::PinMismatch { seen, .. }), _) => Server::Shows(seen),
        (Err(error @ Error::Unauthorized(_)), Ok(_)) => Server::Refuses(text(error)),
        (Ok(_) | Err(Error::Unauthorized(_)), Err(error)) => Server::NoSecret(text(error)),
        (Err(error), _) => Server::Away(text(error)),
    }
}

async fn answers(pve: &Pve, should: &Should, version: String, clock: &Clock) -> Answers {
    let node = pve.node(&should.host.node);
    let mut defaults = BTreeMap::new();
    for id in &should.backup {
        defaults.insert(id.clone(), node.vzdump_defaults(id).await.map_err(text));
    }
    let now = || u64::try_from(clock.now().as_second()).unwrap_or_default();
    let before = now();
    let time = node.time().await.map_err(text);
    let asked = (before, now());
    Answers {
        version,
        nodes: pve.node_names().await.map_err(text),
        permissions: pve.own_permissions().await.map_err(text),
        time,
        asked,
        storages: node.storages().await.map_err(text),
        configs: pve.storage_configs().await.map_err(text),
        defaults,
    }
}

/// The file systems below the directory storages that are used.
fn spaces(should: &Should, server: &Server, host: &Host) -> BTreeMap<StorageId, Seen<Space>> {
    let Server::Answers(answers) = server else { return BTreeMap::new() };
    let Ok(configs) = &answers.configs else { return BTreeMap::new() };
    let one = |id: &StorageId| {
        let config = configs.iter().find(|c| c.storage == id.as_str())?;
        let path = config.path.as_deref().filter(|_| matches!(config.kind.as_str(), "dir" | "btrfs"))?;
        Some((id.clone(), host.space(Path::new(path)).map_err(text)))
    };
    should.host.storages.iter().filter_map(one).collect()
}

/// The executor's own directory may not be there yet: then the one that it will be in.
fn folders(should: &Should, host: &Host) -> Vec<(PathBuf, Seen<Space>)> {
    let root = Path::new("/");
    let own = should.state_dir.ancestors().find(|folder| host.has(folder)).unwrap_or(root);
    let space = |folder: &Path| (folder.to_owned(), host.space(folder).map_err(text));
    if own == root { vec![space(root)] } else { vec![space(root), space(own)] }
}

fn real_paths(server: &Server, host: &Host) -> BTreeMap<PathBuf, PathBuf> {
    let Server::Answers(answers) = server else { return BTreeMap::new() };
    let configs = answers.configs.iter().flatten();
    let paths = configs.filter_map(|config| config.path.as_deref()).map(PathBuf::from);
    paths.map(|path| (path.clone(), host.real_path(&path))).collect()
}
