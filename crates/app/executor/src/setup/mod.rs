//! `felhom-executor setup`: makes what the executor needs at the Proxmox host, with the least privileges.
//!
//! 1. log in as root@pam with a password (neither it nor the ticket is kept: a token cannot make tokens);
//! 2. [`observe`]: what is there of ours;
//! 3. [`plan`]: pure, compares it with [`wanted`];
//! 4. [`apply`], unless `--dry-run`: pool, roles, user, token, access list, each line said;
//! 5. observe and plan again: nothing may be left to do, and the token must work.
//!
//! Running it twice changes nothing the second time.

mod apply;
pub mod command;
mod error;
mod observe;
pub(crate) mod password;
mod plan;
mod wanted;

use std::path::PathBuf;

use felhom_model::{StorageId, Vmid};
use felhom_pve::{BridgeName, Endpoint, Fingerprint, NodeName, PoolId, Pve, TokenId, UserId};
use secrecy::SecretString;
use serde::Serialize;

pub use error::SetupError;

pub(crate) use wanted::Wanted;

use crate::config::Config;

/// What setup needs of the configuration, parsed.
#[derive(Debug, Clone)]
pub struct SetupConfig {
    /// `https://HOST[:PORT]`.
    pub url: String,
    /// The pinned certificate; `None` if the configuration names none yet.
    pub fingerprint: Option<Fingerprint>,
    /// The node.
    pub node: NodeName,
    /// Our pool.
    pub pool: PoolId,
    /// Our token; its user is our user.
    pub token: TokenId,
    /// Where the token's secret goes.
    pub token_file: PathBuf,
    /// Every storage that is used.
    pub storages: Vec<StorageId>,
    /// The guests' bridge.
    pub bridge: BridgeName,
    /// The VMID in golden archives' names.
    pub golden_vmid: Vmid,
}

impl SetupConfig {
    /// Reads the executor's configuration.
    ///
    /// # Errors
    /// [`SetupError::Config`] with the key that cannot be used.
    pub fn from_config(config: &Config) -> Result<Self, SetupError> {
        fn parsed<T: std::str::FromStr>(key: &'static str, text: &str) -> Result<T, SetupError>
        where
            T::Err: std::fmt::Display,
        {
            text.parse().map_err(|e: T::Err| SetupError::Config { key, why: e.to_string() })
        }
        let shown = config.pve.fingerprint.trim();
        let fingerprint = if shown.is_empty() { None } else { Some(parsed("pve.fingerprint", shown)?) };
        Ok(Self {
            url: config.pve.url.clone(),
            fingerprint,
            node: parsed("pve.node", &config.pve.node)?,
            pool: parsed("pve.pool", &config.pve.pool)?,
            token: parsed("pve.token_id", &config.pve.token_id)?,
            token_file: config.pve.token_file.clone(),
            storages: config.all_storages(),
            bridge: parsed("bridge", &config.bridge)?,
            golden_vmid: parsed("golden_vmid", &config.golden_vmid.to_string())?,
        })
    }

    /// The server; without a pin it is one that no certificate has, so that the attempt shows the certificate's.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, SetupError> {
        let nobodys = Fingerprint::from_bytes([0; 32]);
        Ok(Endpoint::new(&self.url, self.fingerprint.unwrap_or(nobodys))?)
    }
}

/// What the command line asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetupOptions {
    /// Say what would be done, change nothing.
    pub dry_run: bool,
    /// Replace the token if its secret is lost or does not fit.
    pub new_token: bool,
}

/// What became of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was there as it should be.
    Unchanged,
    /// It was made.
    Created,
    /// It was there and was set.
    Changed,
    /// `--dry-run`: it would be made.
    WouldCreate,
    /// `--dry-run`: it would be set.
    WouldChange,
    /// Only a decision of yours can do it; the detail says which.
    Blocked,
    /// It is there, nobody of ours needs it, and it is left alone.
    Extra,
    /// It was taken away.
    Removed,
    /// `--dry-run`: it would be taken away.
    WouldRemove,
    /// It stays; the detail says why.
    Kept,
}

impl Outcome {
    /// The word that is printed.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Created => "created",
            Self::Changed => "changed",
            Self::WouldCreate => "would create",
            Self::WouldChange => "would change",
            Self::Blocked => "blocked",
            Self::Extra => "extra",
            Self::Removed => "removed",
            Self::WouldRemove => "would remove",
            Self::Kept => "kept",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What became of it.
    pub outcome: Outcome,
    /// Which thing, e.g. `role FelhomStore`.
    pub what: String,
    /// A difference or a hint; may be empty.
    pub detail: String,
    /// What repairs it, where set-up itself does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Line {
    /// For people, with a line's end.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { outcome, what, detail, .. } = self;
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        format!("{:<12}  {what}{detail}\n", outcome.word())
    }
}

/// What was done, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetupReport {
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// The server's version.
    pub version: String,
    /// One for each thing.
    pub lines: Vec<Line>,
}

impl SetupReport {
    /// For people: the version, then a line for each thing.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("Proxmox VE {}\n", self.version);
        text.extend(self.lines.iter().map(Line::text));
        text
    }

    /// Whether something waits for a decision.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.lines.iter().any(|line| line.outcome == Outcome::Blocked)
    }
}

/// Logs in and brings the host to what [`wanted`] says.
///
/// # Errors
/// [`SetupError`]: wrong password, another certificate than the pinned one, unreachable, a storage or node that does not
/// exist, a refused call, a secret that cannot be written, or something that was not so when it was read back.
pub async fn run(
    config: &SetupConfig,
    password: &SecretString,
    options: SetupOptions,
) -> Result<SetupReport, SetupError> {
    let endpoint = config.endpoint()?;
    let root = UserId::new("root@pam").map_err(|e| SetupError::Config { key: "user", why: e.to_string() })?;
    let pve = Pve::login(endpoint, &root, password).await.map_err(|e| SetupError::from_login(e, config))?;
    let version = pve.version().await?.version;
    let wanted = Wanted::of(config)?;
    let observed = observe::observe(&pve, config).await?;
    let planned = plan::plan(&wanted, &observed, options.new_token);
    let lines = if options.dry_run {
        planned.iter().map(plan::Planned::would).collect()
    } else {
        let lines = apply::apply(&pve, config, planned).await?;
        verify(&pve, config, &wanted, &lines).await?;
        lines
    };
    Ok(SetupReport { dry_run: options.dry_run, version, lines })
}

/// Reads everything back; what was said to be blocked is no surprise.
async fn verify(pve: &Pve, config: &SetupConfig, wanted: &Wanted, lines: &[Line]) -> Result<(), SetupError> {
    let said = |what: &str| lines.iter().any(|line| line.what == what && line.outcome == Outcome::Blocked);
    let observed = observe::observe(pve, config).await?;
    let left: Vec<String> = plan::plan(wanted, &observed, false)
        .iter()
        .filter(|planned| !matches!(planned.outcome, Outcome::Unchanged | Outcome::Extra))
        .filter(|planned| !said(&planned.what))
        .map(|planned| format!("{} ({})", planned.what, planned.detail))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(SetupError::NotSo { what: left.join(", ") })
}
