//! `init` and `operator`: makes the state directory and the people who may use the hub. Runs beside a serving hub, too.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use argon2::{Argon2, PasswordHasher as _};
use felhom_clock::Clock;
use felhom_model::{Digest, GuestName};
use serde_json::{Value, json};

use crate::config::Config;
use crate::identity::{self, Made};
use crate::store::{Store, operators};
use crate::{files, random};

/// Shortest password, characters.
const MIN_PASSWORD: usize = 12;

/// What `init` did.
pub(crate) struct Initialised {
    state_dir: String,
    fingerprint: Digest,
    key: felhom_signing::PublicKey,
    certificate: Made,
    hub_key: Made,
}

impl Initialised {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let word = |made| if made == Made::New { "made" } else { "kept as it was" };
        format!(
            "state directory  {}\nTLS certificate  {} ({})\nhub key          {} ({})\n",
            self.state_dir,
            self.fingerprint,
            word(self.certificate),
            self.key,
            word(self.hub_key)
        )
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "state_dir": self.state_dir,
            "tls_fingerprint": self.fingerprint,
            "hub_public_key": self.key,
            "new": self.hub_key == Made::New,
        })
    }
}

/// Makes what is missing: directory, certificate, key, database.
///
/// # Errors
/// What could not be made, and why.
pub(crate) async fn init(config: &Config) -> Result<Initialised> {
    files::make_private_dir(&config.state_dir)?;
    let (certificate, hub_key) = identity::create(&config.state_dir, certificate_names(config))?;
    let identity = identity::load(&config.state_dir)?;
    Store::open(&config.database_file()).await?.close().await;
    Ok(Initialised {
        state_dir: config.state_dir.display().to_string(),
        fingerprint: identity.fingerprint,
        key: identity.key.public(),
        certificate,
        hub_key,
    })
}

fn certificate_names(config: &Config) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !config.listen.ip().is_unspecified() {
        names.push(config.listen.ip().to_string());
    }
    if let Some(host) = config.public_url.as_deref().and_then(host_of) {
        names.push(host);
    }
    names.sort();
    names.dedup();
    names
}

fn host_of(url: &str) -> Option<String> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return Some(address.ip().to_string());
    }
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    Some(authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned())
}

/// Opens the database of a hub that was initialised.
async fn open(config: &Config) -> Result<Store> {
    identity::load(&config.state_dir)?;
    Ok(Store::open(&config.database_file()).await?)
}

/// Makes an operator or gives him a new token; the token is written to `token_file`, if there is one, and returned.
///
/// # Errors
/// What could not be done, and why.
pub(crate) async fn add_operator(
    config: &Config,
    name: &str,
    token_file: Option<&Path>,
    password_file: Option<&Path>,
) -> Result<String> {
    // An operator's name follows the same rule as a guest's.
    name.parse::<GuestName>().map_err(|e| anyhow::anyhow!("operator's name: `{name}`: {}", e.why))?;
    let password_hash = password_file.map(hash_password_file).transpose()?;
    let token = format!("felhom-op-{}", random::hex::<32>()?);
    let store = open(config).await?;
    if let Some(file) = token_file {
        files::write_private(file, format!("{token}\n").as_bytes())?;
    }
    let (digest, name) = (Digest::of(token.as_bytes()), name.to_owned());
    store
        .write("adding an operator", move |c| {
            Box::pin(async move {
                operators::put(c, &name, digest, password_hash.as_deref(), Clock::of_machine().now()).await
            })
        })
        .await?;
    store.close().await;
    Ok(token)
}

fn hash_password_file(file: &Path) -> Result<String> {
    let bytes = files::read_private(file)?;
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{} is not text", file.display()))?;
    let password = text.strip_suffix('\n').unwrap_or(text);
    ensure!(
        password.chars().count() >= MIN_PASSWORD,
        "the password in {} is shorter than {MIN_PASSWORD} characters",
        file.display()
    );
    match Argon2::default().hash_password(password.as_bytes()) {
        Ok(hash) => Ok(hash.to_string()),
        Err(e) => bail!("cannot hash the password: {e}"),
    }
}

/// All operators.
///
/// # Errors
/// What could not be done, and why.
pub(crate) async fn list_operators(config: &Config) -> Result<Vec<operators::Operator>> {
    let store = open(config).await?;
    let all = store.read("listing operators", |c| Box::pin(async move { operators::all(c).await })).await?;
    store.close().await;
    Ok(all)
}

/// Removes an operator.
///
/// # Errors
/// Also if there is none of this name.
pub(crate) async fn remove_operator(config: &Config, name: &str) -> Result<()> {
    let store = open(config).await?;
    let whom = name.to_owned();
    let removed = store
        .write("removing an operator", move |c| Box::pin(async move { operators::remove(c, &whom).await }))
        .await?;
    store.close().await;
    ensure!(removed, "there is no operator `{name}`; `felhom-hub operator list` shows them");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls() {
        for (url, host) in [
            ("https://hub.example:7443", "hub.example"),
            ("https://hub.example", "hub.example"),
            ("https://192.0.2.1:7443", "192.0.2.1"),
            ("https://[2001:db8::1]:7443", "2001:db8::1"),
            ("https://[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(host_of(url).as_deref(), Some(host));
        }
    }
}
