//! What is there of ours at the host, read with root's ticket.

use felhom_pve::{AclEntry, Auth, Endpoint, Error, Pve, Roles, Token, User};

use super::{SetupConfig, SetupError};
use crate::keys::read_secret;

/// What the secret's file is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Secret {
    /// There is no file.
    Missing,
    /// The token answers with it.
    Works,
    /// The server refuses it, or the file cannot be read; why.
    Useless(String),
}

/// What is there.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) pool: bool,
    pub(super) roles: Roles,
    pub(super) user: Option<User>,
    pub(super) token: Option<Token>,
    pub(super) secret: Secret,
    pub(super) acl: Vec<AclEntry>,
}

pub(super) async fn observe(pve: &Pve, config: &SetupConfig) -> Result<Observed, SetupError> {
    check_node_and_storages(pve, config).await?;
    let user = pve.user(&config.token.user).await?;
    let token = match user {
        Some(_) => pve.token(&config.token).await?,
        None => None,
    };
    let secret = match token {
        Some(_) => secret(pve.endpoint().clone(), config).await?,
        None => Secret::Missing,
    };
    Ok(Observed {
        pool: pve.pool(&config.pool).await?.is_some(),
        roles: pve.roles().await?,
        acl: pve.acl().await?,
        user,
        token,
        secret,
    })
}

async fn check_node_and_storages(pve: &Pve, config: &SetupConfig) -> Result<(), SetupError> {
    let nodes = pve.node_names().await?;
    if !nodes.iter().any(|name| name == config.node.as_str()) {
        let what = format!("node `{}`", config.node);
        return Err(SetupError::Unknown { what, there: nodes.join(", "), key: "pve.node" });
    }
    let storages = pve.node(&config.node).storages().await?;
    for wanted in &config.storages {
        if !storages.iter().any(|there| there.storage == wanted.as_str()) {
            let names: Vec<_> = storages.iter().map(|s| s.storage.as_str()).collect();
            let what = format!("storage `{wanted}`");
            return Err(SetupError::Unknown { what, there: names.join(", "), key: "storages" });
        }
    }
    Ok(())
}

async fn secret(endpoint: Endpoint, config: &SetupConfig) -> Result<Secret, SetupError> {
    if !config.token_file.exists() {
        return Ok(Secret::Missing);
    }
    let secret = match read_secret("token secret", &config.token_file) {
        Ok(secret) => secret,
        Err(error) => return Ok(Secret::Useless(error.to_string())),
    };
    let client = Pve::new(endpoint, Auth::Token { id: config.token.clone(), secret })?;
    match client.version().await {
        Ok(_) => Ok(Secret::Works),
        Err(Error::Unauthorized(_)) => {
            Ok(Secret::Useless(format!("the server refuses the secret in {}", config.token_file.display())))
        }
        Err(error) => Err(error.into()),
    }
}
