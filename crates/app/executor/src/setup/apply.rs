//! Carries a plan out, one line after the other. A failure leaves what was done; running setup again goes on.

use std::fs;
use std::path::Path;

use felhom_pve::Pve;
use secrecy::ExposeSecret as _;

use super::plan::{Planned, Step};
use super::{Line, SetupConfig, SetupError};
use crate::keys::write_secret;

const COMMENT: &str = "Felhom executor";

pub(super) async fn apply(
    pve: &Pve,
    config: &SetupConfig,
    planned: Vec<Planned>,
) -> Result<Vec<Line>, SetupError> {
    let mut lines = Vec::new();
    for one in planned {
        if let Some(step) = &one.step {
            take(pve, config, step).await?;
        }
        lines.push(one.done());
    }
    Ok(lines)
}

async fn take(pve: &Pve, config: &SetupConfig, step: &Step) -> Result<(), SetupError> {
    match step {
        Step::CreatePool => pve.create_pool(&config.pool, "Guests managed by Felhom").await?,
        Step::CreateRole(role) => pve.create_role(&role.id, &role.privileges).await?,
        Step::SetRole(role) => pve.set_role(&role.id, &role.privileges).await?,
        Step::CreateUser => pve.create_user(&config.token.user, COMMENT).await?,
        Step::EnableUser => pve.enable_user(&config.token.user).await?,
        Step::CreateToken => make_token(pve, config).await?,
        Step::RestrictToken => pve.restrict_token(&config.token).await?,
        Step::ReplaceToken => {
            can_write(&config.token_file)?;
            pve.delete_token(&config.token).await?;
            make_token(pve, config).await?;
        }
        Step::Grant(grant) => pve.grant(grant).await?,
    }
    Ok(())
}

/// PVE tells the secret once: that it can be kept is made sure of first.
async fn make_token(pve: &Pve, config: &SetupConfig) -> Result<(), SetupError> {
    can_write(&config.token_file)?;
    let secret = pve.create_token(&config.token, COMMENT).await?;
    let line = format!("{}\n", secret.expose_secret());
    let written = write_secret(&config.token_file, line.as_bytes());
    written.map_err(|source| SetupError::SecretFile { path: config.token_file.clone(), source })
}

fn can_write(path: &Path) -> Result<(), SetupError> {
    let problem = |source| SetupError::SecretFile { path: path.to_owned(), source };
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(problem)?;
    let probe = parent.join(".felhom-setup-probe");
    write_secret(&probe, b"probe\n").and_then(|()| fs::remove_file(&probe)).map_err(problem)
}
