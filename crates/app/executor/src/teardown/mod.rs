//! `felhom-executor teardown`: takes away what `setup` and the executor made at the Proxmox host, as far as it holds no data.
//!
//! 1. log in as root@pam with a password, as set-up does;
//! 2. `observe`: what is there of ours, and what holds data;
//! 3. `plan`: pure. Access list, token, user, roles, empty pool, secret's file go; guests, backups, a pool with guests, roles and
//!    users that somebody else uses stay and are named;
//! 4. each line is carried out, unless `--dry-run`; then it is all read again: nothing that goes may be left.
//!
//! Running it twice changes nothing the second time. `setup` makes all of it again.

pub mod command;
mod observe;
mod plan;

use std::fs;
use std::io::ErrorKind;

use felhom_pve::{Pve, UserId};
use secrecy::SecretString;

use crate::config::Config;
use crate::setup::{Line, SetupConfig, SetupError, SetupReport, Wanted};
use plan::{Going, Step};

/// Logs in and takes it away.
///
/// # Errors
/// [`SetupError`]: an executor serves, a wrong password, another certificate than the pinned one, a refused call, or something
/// that was still there afterwards.
pub async fn run(config: &Config, password: &SecretString, dry_run: bool) -> Result<SetupReport, SetupError> {
    let host = SetupConfig::from_config(config)?;
    if !dry_run {
        nobody_serves(config)?;
    }
    let root = UserId::new("root@pam").map_err(|e| SetupError::Config { key: "user", why: e.to_string() })?;
    let login = Pve::login(host.endpoint()?, &root, password).await;
    let pve = login.map_err(|e| SetupError::from_login(e, &host))?;
    let version = pve.version().await?.version;
    let wanted = Wanted::of(&host)?;
    let planned = plan::plan(&host, &wanted, &observe::observe(&pve, config, &host).await?);
    let lines = if dry_run {
        planned.iter().map(Going::would).collect()
    } else {
        let mut lines: Vec<Line> = Vec::new();
        for going in &planned {
            if let Some(step) = &going.step {
                take(&pve, &host, step).await?;
            }
            lines.push(going.done());
        }
        let observed = observe::observe(&pve, config, &host).await?;
        let left = plan::plan(&host, &wanted, &observed);
        let left: Vec<_> = left.iter().filter(|going| going.step.is_some()).map(|g| g.what.clone()).collect();
        if !left.is_empty() {
            return Err(SetupError::NotSo { what: format!("{} should be gone", left.join(", ")) });
        }
        lines
    };
    Ok(SetupReport { dry_run, version, lines })
}

/// An executor that serves would lose its token in the middle of things.
fn nobody_serves(config: &Config) -> Result<(), SetupError> {
    if !config.database().exists() {
        return Ok(());
    }
    let held = crate::wiring::ledger(config).err();
    held.map_or(Ok(()), |why| Err(SetupError::Serves { why: format!("{why:#}") }))
}

async fn take(pve: &Pve, host: &SetupConfig, step: &Step) -> Result<(), SetupError> {
    match step {
        Step::Revoke(grant) => pve.revoke(grant).await?,
        Step::DeleteToken => pve.delete_token(&host.token).await?,
        Step::DeleteUser => pve.delete_user(&host.token.user).await?,
        Step::DeleteRole(role) => pve.delete_role(role).await?,
        Step::DeletePool => pve.delete_pool(&host.pool).await?,
        Step::RemoveSecret => match fs::remove_file(&host.token_file) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(SetupError::SecretFile { path: host.token_file.clone(), source });
            }
            _ => {}
        },
    }
    Ok(())
}
