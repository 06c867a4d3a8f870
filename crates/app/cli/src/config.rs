//! The operator's configuration: where the hub is, which certificate it has, and the token's file.

use crate::args::Global;
use crate::exit::Failure;
use crate::known_boxes::KnownBoxes;
use felhom_client::hub::HubClient;
use felhom_model::Digest;
use serde::Deserialize;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    hub_url: Option<String>,
    hub_fingerprint: Option<Digest>,
    token_file: Option<PathBuf>,
    known_boxes: Option<PathBuf>,
    sign_with: Option<PathBuf>,
}

/// What is in force: options over environment over file.
#[derive(Debug)]
pub(crate) struct Config {
    path: PathBuf,
    file: File,
    global: Global,
}

impl Config {
    /// Reads the file, if there is one.
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let path = global.config.clone().map_or_else(default_path, Ok)?;
        let file = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|e| failed(&path, &e))?,
            Err(e) if e.kind() == ErrorKind::NotFound && global.config.is_none() => File::default(),
            Err(e) => return Err(failed(&path, &e)),
        };
        Ok(Self { path, file, global: global.clone() })
    }

    /// A client of the hub.
    pub(crate) fn hub(&self) -> Result<HubClient, Failure> {
        let missing = |key: &str, option: &str| {
            Failure::Failed(format!(
                "no {key} is known: write it into {} or pass {option}; `felhom-hub init` printed it",
                self.path.display()
            ))
        };
        let url = self.global.hub_url.as_ref().or(self.file.hub_url.as_ref());
        let url = url.ok_or_else(|| missing("hub_url", "--hub-url"))?;
        let fingerprint = self.global.hub_fingerprint.or(self.file.hub_fingerprint);
        let fingerprint = fingerprint.ok_or_else(|| missing("hub_fingerprint", "--hub-fingerprint"))?;
        let token_file = self.global.token_file.as_ref().or(self.file.token_file.as_ref());
        let token_file = token_file.ok_or_else(|| missing("token_file", "--token-file"))?;
        let mode = fs::metadata(token_file).map_err(|e| failed(token_file, &e))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let shown = token_file.display();
            return Err(Failure::Failed(format!(
                "{shown} can be read by others (mode {mode:03o}), who then are this operator: chmod 600 {shown}"
            )));
        }
        let token = fs::read_to_string(token_file).map_err(|e| failed(token_file, &e))?;
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            let shown = token_file.display();
            return Err(Failure::Failed(format!(
                "{shown} holds no operator's token: that is one line, as `felhom-hub operator add` writes it"
            )));
        }
        Ok(HubClient::new(url, fingerprint, token.to_owned())?)
    }

    /// The key to sign with: as given, or as configured.
    pub(crate) fn sign_with(&self, given: Option<&Path>) -> Result<PathBuf, Failure> {
        given.or(self.file.sign_with.as_deref()).map(Path::to_owned).ok_or_else(|| {
            Failure::Failed(format!(
                "no key is known to sign with: pass --sign-with KEY, or write sign_with into {}",
                self.path.display()
            ))
        })
    }

    /// The keys that this machine has pinned.
    pub(crate) fn known_boxes(&self) -> KnownBoxes {
        let beside = || self.path.with_file_name("known_boxes");
        let path = self.global.known_boxes.clone().or_else(|| self.file.known_boxes.clone());
        KnownBoxes::at(path.unwrap_or_else(beside))
    }
}

fn failed(path: &Path, why: &dyn std::error::Error) -> Failure {
    Failure::Failed(format!("cannot read {}: {why}", path.display()))
}

fn default_path() -> Result<PathBuf, Failure> {
    let dir = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    dir("XDG_CONFIG_HOME")
        .or_else(|| dir("HOME").map(|home| home.join(".config")))
        .map(|dir| dir.join("felhom/config.toml"))
        .ok_or_else(|| {
            Failure::Failed("neither HOME nor XDG_CONFIG_HOME is set; pass --config FILE".to_owned())
        })
}
